"""How well the shipped attribute judge judges: `python -m training.examine`.

Knows drawings that neither the judge nor the model was trained on; trains nothing. Prints markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hierdiff_core.judges.attributes import AttributeJudge, load_attribute_judge
from hierdiff_core.judges.frechet import frechet_distance
from hierdiff_core.miniature import JUDGE
from training.captions import caption
from training.judge import judge_pictures
from training.pictures import Pictures

SEED = 8_000_000_000  # far from those of the judge's training and of the model's

Bytes = NDArray[np.uint8]
Damage = Callable[[Bytes], Bytes]


def _blurred(sigma: float) -> Damage:
    return lambda pictures: gaussian_filter(pictures, (0, sigma, sigma, 0))


def _noised(deviation: float) -> Damage:
    def damage(pictures: Bytes) -> Bytes:
        noise = np.random.default_rng(0).normal(scale=255 * deviation, size=pictures.shape)
        return (pictures + noise).clip(0, 255).round().astype(np.uint8)

    return damage


DAMAGES: Mapping[str, Damage] = MappingProxyType(
    {
        "as drawn": lambda pictures: pictures,
        "blurred, 0.5 pixels": _blurred(0.5),
        "blurred, 1 pixel": _blurred(1.0),
        "noised, 2 %": _noised(0.02),
        "noised, 5 %": _noised(0.05),
    }
)


def main() -> None:
    """Draw afresh, damage, and print what is still told right, and the Frechet distance."""
    asked = _parser().parse_args()
    torch.set_num_threads(asked.threads)
    judge = load_attribute_judge(asked.judge)
    with tempfile.TemporaryDirectory() as scratch:
        drawn = judge_pictures(asked.work or Path(scratch), asked.workers, 2 * asked.count, SEED)
        axes = list(judge.vocabulary.axes)
        print("| drawings |", " | ".join(axes), "| all | score | Frechet distance |")
        print("|---" * (len(axes) + 4) + "|")
        for name, damage in DAMAGES.items():
            print("|", name, "|", " | ".join(examine(judge, drawn, damage)), "|")


def examine(judge: AttributeJudge, drawn: Pictures, damage: Damage) -> list[str]:
    """Judge the damaged first half by its captions, and measure it against the second half."""
    half = len(drawn.labels) // 2
    pictures = damage(np.array(drawn.pixels[:half]))
    texts = [caption(drawn.attributes(row), row) for row in range(half)]
    found = judge.verdicts(pictures, texts)
    every = np.all([each.filled(True) for each in found.right.values()], axis=0)
    shares = [float(each.mean()) for each in [*found.right.values(), every]]
    score = float(found.scores.mean())
    other = judge.features(np.array(drawn.pixels[half:]))
    distance = frechet_distance(judge.features(pictures), other)
    return [*(f"{share:.1%}" for share in shares), f"{score:.3f}", f"{distance:.3f}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.examine", description=main.__doc__)
    parser.add_argument("--judge", type=Path, default=JUDGE)
    parser.add_argument(
        "--count", type=int, default=2_000, help="drawings judged, of twice as many"
    )
    parser.add_argument("--work", type=Path, help="keep the drawings here")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


if __name__ == "__main__":
    main()
