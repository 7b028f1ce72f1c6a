"""What all work on pictures shares: how many rows at once, which noise, and decoding.

Knows the decoder; knows nothing of judges or plans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hierdiff_core.digest import digest
from tasks.evaluation.subject import Subject

SLOTS = 32
Pictures = NDArray[np.uint8]
Report = Callable[[int], None]  # hears of evaluations


def decode(latents: Sequence[torch.Tensor], subject: Subject) -> Pictures:
    denoiser = subject.denoiser()
    parts = [
        denoiser.decode(torch.stack(list(latents[at : at + SLOTS])).to(denoiser.device))
        for at in range(0, len(latents), SLOTS)
    ]
    return np.concatenate(parts)


def noise_key(text: str) -> str:
    # Of the prompt alone: runs with other solvers and steps start from the same noise.
    return digest("evaluation", text)
