"""The denoiser: the sampler's view of a model family.

Families differ in latents (channels and pixels, packed tokens, plain pixels) and in conditioning
(embeddings, token states with masks). All of that stays behind these few names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.embedding import Slot
from hierdiff_core.solver import NoiseSchedule


class Flagged(ValueError):
    """A picture that may not be stored; the fault is its own, and no other picture's."""


class Denoiser(Protocol):
    """A loaded model for one recipe."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one row's latents, such as (4, 64, 64)."""
        ...

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        ...

    @property
    def noise_schedule(self) -> NoiseSchedule:
        """The schedule that solvers take their noise levels from."""
        ...

    @property
    def slots(self) -> Sequence[Slot]:
        """The tensors of its conditioning, and how those of a cluster are made."""
        ...

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return the guided prediction, (B, C or 2C, ...) float32: one evaluation per row.

        Latents (B, *latent_shape) float32, timesteps (B,) int64 or float32, conditioning
        (B, ...) by slot; a row's result may depend on that row alone.
        """
        ...

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Return pictures (B, height, width, 3) of final latents (B, *latent_shape).

        A picture depends on its own latents and its own name alone, which stands for all that the
        family draws while it decodes: the content key of the prompt or cluster, and the recipe's
        seed. Raises Flagged where one of them may not be stored.
        """
        ...
