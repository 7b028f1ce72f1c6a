"""Devices and precisions that networks are loaded to."""

from __future__ import annotations

from typing import Any

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.allocator import keep_freed_memory
from hierdiff_core.recipe import Recipe

HOST = "host"  # main memory, whatever the device: `bring` puts the networks on it later
_LAID_OUT = "_hierdiff_laid_out"  # attribute of a part that is laid out for its device


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the first GPU, or the CPU where there is none.

    Raises InvalidSetting, also for a device that torch does not see here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        hint = "use auto, cpu, cuda or cuda:N"
    elif device.type == "cpu":
        return device
    elif not torch.cuda.is_available():
        hint = "no GPU can be seen; use cpu"
    elif (device.index or 0) >= torch.cuda.device_count():
        hint = f"the last GPU that can be seen is cuda:{torch.cuda.device_count() - 1}"
    else:
        return device
    raise InvalidSetting(setting="device", value=name, hint=hint)


def put_on(pipeline: Any, device: str) -> Any:
    """Return the pipeline on the named device; on a CPU the process keeps memory that it frees."""
    if device == HOST:
        return pipeline
    chosen = choose_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    return pipeline.to(chosen)


def choose_dtype(recipe: Recipe, device: str) -> torch.dtype:
    """Return the precision of the networks; raises InvalidSetting for float16 on a CPU."""
    if device != HOST and recipe.dtype == "float16" and choose_device(device).type == "cpu":
        raise InvalidSetting(
            setting="dtype", value="float16", hint="a CPU needs float32 or bfloat16"
        )
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    return dtype


def choose_text_dtype(recipe: Recipe, device: str) -> torch.dtype:
    """Return the precision of the text side: the recipe's, or float32 where a CPU has none of it.

    What it makes is rounded to the recipe's precision, see `embedding.as_read`.
    """
    on_cpu = choose_device(device).type == "cpu"
    return torch.float32 if on_cpu and recipe.dtype == "float16" else choose_dtype(recipe, device)


def prepare_network(network: Any, autoencoder: Any, *, compiled: bool) -> None:
    """Lay out a network and an autoencoder for the device that they are on; compile the network.

    On a GPU convolutions read channels last; a CPU was measured to be slower that way. Attention is
    torch's own fused kernel, which diffusers chooses by itself.
    """
    for part in (network, autoencoder):
        _lay_out(part)
    if compiled:
        network.compile(dynamic=False)


def bring(pipeline: Any, recipe: Recipe, device: str) -> Any:
    """Return networks that were loaded to HOST as they would be, had they been loaded to a device.

    They are not compiled. Raises InvalidSetting for float16 on a CPU.
    """
    choose_dtype(recipe, device)
    put_on(pipeline, device)
    for part in pipeline.components.values():
        if hasattr(part, _LAID_OUT):
            _lay_out(part)
    return pipeline


def _lay_out(part: Any) -> None:
    setattr(part, _LAID_OUT, True)
    on_gpu = part.device.type == "cuda"
    if on_gpu and all(
        weight.dim() < 5 for weight in part.parameters()
    ):  # those of a video's have 5
        part.to(memory_format=torch.channels_last)
