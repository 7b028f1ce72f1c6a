"""Loads what transformers saved, by folder or hub name, for the judges of real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.folder import SHIPPED

_REFUSALS = (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError, SafetensorError)
_UNREACHABLE = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)


def load_pretrained(kind: Any, model: str, **options: Any) -> Any:
    """Return `kind.from_pretrained(model)`; raises UnknownModel."""
    place = str(SHIPPED.get(model, Path(model).expanduser() if Path(model).exists() else model))
    try:
        return kind.from_pretrained(place, **options)
    except _REFUSALS as error:
        reason = " ".join(str(error).split())
        hint = (
            f"{kind.__name__} refuses it ({reason}); name a folder or a hub name that it can read"
        )
        raise UnknownModel(model=model, hint=hint) from None


def load_network(kind: Any, model: str, device: torch.device, **options: Any) -> Any:
    """Return a network for inference, on its device: float32 on a CPU, bfloat16 on a GPU.

    Weights are read from safetensors only, since pickles run code.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    network = load_pretrained(kind, model, dtype=dtype, use_safetensors=True, **options)
    return network.to(device).eval().requires_grad_(False)


def is_pipeline(model: str) -> bool:
    """Return whether a folder or hub name holds a pipeline of diffusers."""
    if model in SHIPPED:
        return True
    folder = Path(model).expanduser()
    if folder.is_dir():
        return (folder / "model_index.json").is_file()
    try:
        return bool(hf_hub_download(model, "model_index.json"))
    except _UNREACHABLE:
        return False  # a model of transformers, or no model at all: loading it raises then
