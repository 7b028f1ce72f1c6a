"""The probe: how many rows at once suit a device.

More slots are tried until they are no longer worth their memory; the clock is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning

FEWEST = 4  # slots that are tried first
_GAIN = 1.05  # rows per second that doubled slots must bring
_CALLS = 2  # per width; the faster one counts


@dataclass(frozen=True)
class Probe:
    """A device's throughput by the width of a call."""

    slots: int  # the best number
    rates: dict[int, float]  # rows per second, by width of the call


@torch.no_grad()
def probe_slots(
    denoiser: Denoiser, conditioning: Conditioning, most: int, clock: Callable[[], float]
) -> Probe:
    """Double the slots until it gains less than 5 %, the memory ends or `most` is reached.

    Only the first row of `conditioning` is used. `clock` returns seconds.
    """
    width = min(FEWEST, most)
    _seconds(denoiser, conditioning, width, clock)  # the first call of all is slower
    rates: dict[int, float] = {}
    best = width
    while width <= most:
        try:
            seconds = min(_seconds(denoiser, conditioning, width, clock) for _ in range(_CALLS))
        except torch.OutOfMemoryError:
            break
        rates[width] = width / seconds
        if width > best and rates[width] < _GAIN * rates[best]:
            break
        best, width = width, 2 * width
    if denoiser.device.type == "cuda":
        torch.cuda.empty_cache()
    return Probe(best, rates)


def _seconds(
    denoiser: Denoiser, conditioning: Conditioning, width: int, clock: Callable[[], float]
) -> float:
    device = denoiser.device
    latents = torch.zeros(width, *denoiser.latent_shape, device=device)
    steering = {
        name: tensor[:1].to(device).expand(width, *tensor.shape[1:]).contiguous()
        for name, tensor in conditioning.tensors.items()
    }
    timesteps = torch.full((width,), 500, device=device)
    _await(device)
    began = clock()
    denoiser.predict(latents, timesteps, steering)
    _await(device)
    return clock() - began


def _await(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
