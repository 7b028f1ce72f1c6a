"""Devices and precisions that networks are loaded to."""

from __future__ import annotations

from typing import Any

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.allocator import keep_freed_memory
from hierdiff_core.recipe import Recipe


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the first GPU, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidSetting(
            setting="device", value=name, hint="use auto, cpu, cuda or cuda:N"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSetting(setting="device", value=name, hint="no GPU can be seen; use cpu")
    return device


def put_on(pipeline: Any, device: str) -> Any:
    """Return the pipeline on the named device; on a CPU the process keeps memory that it frees."""
    chosen = choose_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    return pipeline.to(chosen)


def choose_dtype(recipe: Recipe, device: str) -> torch.dtype:
    """Return the precision of the networks; raises InvalidSetting for float16 on a CPU."""
    if recipe.dtype == "float16" and choose_device(device).type == "cpu":
        raise InvalidSetting(
            setting="dtype", value="float16", hint="a CPU needs float32 or bfloat16"
        )
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    return dtype


def prepare_network(network: Any, autoencoder: Any, *, compiled: bool) -> None:
    """Lay out a network and an autoencoder for the device that they are on; compile the network.

    On a GPU convolutions read channels last; a CPU was measured to be slower that way. Attention is
    torch's own fused kernel, which diffusers chooses by itself.
    """
    if network.device.type == "cuda":
        network.to(memory_format=torch.channels_last)
        autoencoder.to(memory_format=torch.channels_last)
    if compiled:
        network.compile(dynamic=False)
