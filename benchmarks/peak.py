"""What a device can do at most, and what a network asks of it.

Knows matrix products and a counter of FLOP; knows nothing of sampling.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lab import clock
from benchmarks.real_size import Scale, make_unet


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of the fastest large square matrix product, the best of several."""
    side = 8192 if device.type == "cuda" else 256
    left = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(12):
        began = clock(device)
        for _ in range(8):
            left @ left
        seconds.append((clock(device) - began) / 8)
    return 2 * side**3 / min(seconds)


def flops_per_row(scale: Scale) -> float:
    """Return FLOP of one evaluation, a guided pair, counted on a network without weights."""
    with torch.device("meta"):
        unet = make_unet(scale).eval()
        side = scale.pixels // 8
        latents, embeds = torch.zeros(2, 4, side, side), torch.zeros(2, scale.width)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(latents, torch.zeros(2), None, added_cond_kwargs={"image_embeds": embeds})
    return float(counter.get_total_flops())
