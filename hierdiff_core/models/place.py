"""Where weights are, what pins them, and the device and precision they are loaded to.

Knows folders, hub names and torch devices; knows no model family.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from hierdiff_core import miniature
from hierdiff_core.digest import digest
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.models.allocator import keep_freed_memory
from hierdiff_core.models.digest_cache import file_digests
from hierdiff_core.prompt import Recipe

# Shipped with the package, under names that mean the same on every machine.
SHIPPED = {
    "hierdiff/miniature-decoder": miniature.DECODER,
    "hierdiff/miniature-prior": miniature.PRIOR,
}

_LOADED = ("*.json", "*.safetensors", "*.txt", "*.model")
_UNREACHABLE = (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OSError,
    RuntimeError,  # the home of a user who is not known
    ValueError,
)


def find_folder(model: str) -> Path:
    """Return the folder of a model: shipped, or the one named, or the hub's snapshot of that name.

    Raises UnknownModel.
    """
    try:
        folder = SHIPPED.get(model) or Path(model).expanduser()
        if not folder.is_dir():
            folder = Path(snapshot_download(model, allow_patterns=list(_LOADED)))
    except _UNREACHABLE:
        hint = "it is neither a folder nor a hub name that can be reached; name one that is"
        raise UnknownModel(model=model, hint=hint) from None
    _check_is_pipeline(model, folder)
    return folder


def find_revision(model: str, memory: Path | None = None) -> str:
    """Return what pins the weights: a digest of every file that is loaded, 16 hex digits.

    The content is read, so the same weights have the same revision wherever they lie; with a
    `memory` only where a file has changed since it was read last.
    """
    folder = find_folder(model)
    files = sorted({path for pattern in _LOADED for path in folder.rglob(pattern)})
    digests = file_digests(files, memory)
    facts = [[str(path.relative_to(folder)), digests[path]] for path in files]
    return digest("weights", facts)[:16]


def load_pipeline(kind: Any, model: str, dtype: torch.dtype) -> Any:
    """Return `kind.from_pretrained(model)` without progress bars; raises UnknownModel.

    Weights are read from safetensors only: pickles run code, and revisions do not cover them.
    """
    pipeline = _load(kind, model, dtype=dtype, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_part(kind: Any, model: str, subfolder: str) -> Any:
    """Return one part of a pipeline; raises UnknownModel."""
    return _load(kind, model, subfolder=subfolder)


def _load(kind: Any, model: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(find_folder(model), local_files_only=True, **options)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UnknownModel(model=model, hint=f"{kind.__name__} refuses it ({reason})") from None


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
    """Return the pipeline on the device of a name; on a CPU its process keeps what it frees."""
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


def _check_is_pipeline(model: str, folder: Path) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        hint = "the folder has no model_index.json; name a folder that a pipeline was saved to"
        raise UnknownModel(model=model, hint=hint)
    try:
        parts = _parts(json.loads(index.read_bytes()))
    except (ValueError, AttributeError):
        hint = "its model_index.json is damaged; fetch it again"
        raise UnknownModel(model=model, hint=hint) from None
    # Left to themselves, libraries make up a tokenizer where there is none.
    missing = [part for part in parts if not (folder / part).is_dir()]
    if missing:
        hint = f"its part {missing[0]} is missing; fetch it again"
        raise UnknownModel(model=model, hint=hint)


def _parts(index: dict[str, Any]) -> list[str]:
    return [name for name, kind in index.items() if isinstance(kind, list) and any(kind)]
