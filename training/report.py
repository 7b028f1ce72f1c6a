"""What a training has come to: a plot of its losses and a sheet of generated pictures.

Knows the log and the exported folders; trains nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import torch
from diffusers import DDIMScheduler, KandinskyV22Pipeline, KandinskyV22PriorPipeline
from PIL import Image

from training.captions import caption
from training.vocabulary import AXES, Attributes

matplotlib.use("Agg")
from matplotlib import pyplot

TILE = 96


def plot_losses(log: Path, picture: Path) -> None:
    """Draw each stage's losses over its steps, smoothed over ten entries, logarithmic."""
    stages: dict[str, list[dict[str, float]]] = defaultdict(list)
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        stages[entry.pop("stage")].append(entry)
    figure, axes = pyplot.subplots(1, len(stages), figsize=(4 * len(stages), 3), squeeze=False)
    for axis, (name, entries) in zip(axes[0], stages.items(), strict=True):
        for key in entries[-1].keys() - {"step", "seconds", "rate"}:
            points = np.array([(entry["step"], entry[key]) for entry in entries if key in entry])
            window = min(10, len(points))
            smooth = np.convolve(points[:, 1], np.ones(window) / window, mode="valid")
            axis.plot(points[window - 1 :, 0], smooth, label=key)
        axis.set(title=name, xlabel="step", yscale="log")
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)


def contact_sheet(
    folder: Path, picture: Path, seed: int, rows: int = 6, steps: int = 25, guidance: float = 4.0
) -> None:
    """Generate a row of all products a few times through both stock pipelines, with DDIM."""
    prior = KandinskyV22PriorPipeline.from_pretrained(folder / "prior")
    decoder = KandinskyV22Pipeline.from_pretrained(folder / "decoder")
    decoder.scheduler = DDIMScheduler.from_config(decoder.scheduler.config)
    for pipeline in (prior, decoder):
        pipeline.set_progress_bar_config(disable=True)
    wanted = sheet_attributes(rows)
    sheet = Image.new("RGB", (TILE * len(AXES["product"]), TILE * rows))
    for at in range(0, len(wanted), 10):
        generator = torch.Generator().manual_seed(seed + at)
        texts = [caption(attributes, 0) for attributes in wanted[at : at + 10]]
        found = prior(texts, generator=generator)
        tiles = decoder(
            image_embeds=found.image_embeds,
            negative_image_embeds=found.negative_image_embeds,
            height=64,
            width=64,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
        ).images
        for column, tile in enumerate(tiles):
            large = tile.resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(large, (column * TILE, at // 10 * TILE))
    sheet.save(picture)


def sheet_attributes(rows: int) -> list[Attributes]:
    """Return `rows` times ten combinations: every product, the other attributes walking along."""
    products, colours, patterns, backgrounds, styles = (list(axis) for axis in AXES.values())
    return [
        Attributes(
            product,
            colours[(3 * row + at) % len(colours)],
            patterns[(row + at) % len(patterns)],
            backgrounds[(5 * row + at) % len(backgrounds)],
            styles[row % len(styles)],
        )
        for row in range(rows)
        for at, product in enumerate(products)
    ]
