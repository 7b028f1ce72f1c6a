"""A worker's start up to its first evaluation: `python -m benchmarks.first_call STARTED`.

Run in a process of its own, which imports, hashes and loads as a worker does, and prints the
seconds of each stage. STARTED is the clock just before the process was started.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SLOTS = 4


def main(started: float) -> dict[str, float]:
    """Return seconds by stage, in their order."""
    seconds = {"interpreter": time.time() - started}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - began

    with stage("import torch"):
        import torch
    with stage("import diffusers, transformers"):
        from hierdiff_core.models.kandinsky22 import EMBEDDING, fit, load_networks
    with stage("import tasks: SQLAlchemy, boto3"):
        import tasks.worker.denoise  # noqa: F401
        from hierdiff_core.models.recipes import pin_recipe
        from tasks.settings import Settings
    with stage("import flows: Prefect"):
        import flows.subtree  # noqa: F401
    from hierdiff_core.embedding import Conditioning

    settings = Settings()
    with stage("digest of both models' weights"):
        recipe = pin_recipe(settings.recipe)
    with stage("weights"):
        pipeline = load_networks(recipe, settings.device)
    device = pipeline.device
    width = pipeline.unet.config.encoder_hid_dim
    negative = Conditioning({EMBEDDING: torch.zeros(1, width)})
    decoder = fit(pipeline, recipe, negative)
    latents = torch.zeros(SLOTS, *decoder.latent_shape, device=device)
    timesteps = torch.full((SLOTS,), 500, device=device)
    embeds = {EMBEDDING: torch.zeros(SLOTS, width, device=device)}
    for name in ("first evaluation", "an evaluation after that"):
        with stage(name), torch.no_grad():
            decoder.predict(latents, timesteps, embeds).sum().item()
    return seconds


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
