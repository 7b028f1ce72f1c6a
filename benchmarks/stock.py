"""The stock diffusers pipeline, called as its users call it: embeddings in, pictures out.

Knows KandinskyV22Pipeline and how DDIM is put into it. Knows nothing of plans or of our sampler,
whose initial noise it is handed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, KandinskyV22Pipeline

from benchmarks.lab import clock
from hierdiff_core.models.kandinsky22 import Decoder


@dataclass(frozen=True)
class Stock:
    """The pipeline over the same networks as a decoder of ours."""

    pipeline: Any  # KandinskyV22Pipeline
    decoder: Decoder
    steps: int

    def generate(
        self, embeds: torch.Tensor, noise: torch.Tensor, batch: int
    ) -> tuple[list[np.ndarray[Any, Any]], dict[str, float]]:
        """Return pictures of N embeddings, `batch` at a time, and seconds.

        The seconds of `denoise` end with the last step's callback, those of `whole` with pictures.
        """
        pictures: list[np.ndarray[Any, Any]] = []
        seconds = {"denoise": 0.0, "whole": 0.0}
        for rows, start in zip(embeds.split(batch), noise.split(batch), strict=True):
            denoised: list[float] = []
            began = clock(self.decoder.device)
            made = self._call(rows, start, "pil", denoised.append)
            seconds["whole"] += clock(self.decoder.device) - began
            seconds["denoise"] += denoised[-1] - began
            pictures += map(np.asarray, made)
        return pictures, seconds

    def latents(self, embeds: torch.Tensor, noise: torch.Tensor, batch: int) -> torch.Tensor:
        """Return the final latents of N embeddings."""
        parts = zip(embeds.split(batch), noise.split(batch), strict=True)
        return torch.cat([self._call(*each, "latent", lambda at: None) for each in parts]).cpu()

    def _call(
        self,
        embeds: torch.Tensor,
        noise: torch.Tensor,
        output: str,
        ended: Callable[[float], None],
    ) -> Any:
        device, dtype = self.decoder.device, self.pipeline.unet.dtype

        def callback(
            pipeline: Any, step: int, timestep: Any, kept: dict[str, Any]
        ) -> dict[str, Any]:
            if step == self.steps - 1:
                ended(clock(device))
            return kept

        return self.pipeline(
            image_embeds=embeds.to(device, dtype),
            negative_image_embeds=self.decoder.negative.to(device, dtype).expand_as(embeds),
            latents=noise.to(device, dtype),
            height=self.decoder.recipe.height,
            width=self.decoder.recipe.width,
            num_inference_steps=self.steps,
            guidance_scale=self.decoder.recipe.guidance,
            output_type=output,
            callback_on_step_end=callback,
        ).images


def make_stock(decoder: Decoder, steps: int) -> Stock:
    """Return the stock pipeline with DDIM of the decoder's own noise schedule."""
    # A scheduler that knows no variance is told of none, or the pipeline would hand it one.
    told = {k: v for k, v in decoder.noise_schedule.config.items() if k != "variance_type"}
    pipeline: Any = KandinskyV22Pipeline(
        unet=decoder.pipeline.unet,
        scheduler=DDIMScheduler.from_config(told),
        movq=decoder.pipeline.movq,
    )
    pipeline.set_progress_bar_config(disable=True)
    return Stock(pipeline, decoder, steps)
