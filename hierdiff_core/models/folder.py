"""Folders of weights: their location, their revisions, and how a pipeline is loaded from one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from hierdiff_core import miniature
from hierdiff_core.digest import digest
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.models.digest_cache import file_digests
from hierdiff_core.models.family import Parts

# Shipped with the package, under names that mean the same on every machine.
SHIPPED = {miniature.MODEL: miniature.DECODER, miniature.PRIOR_MODEL: miniature.PRIOR}

_INDEX = "model_index.json"
# Chat templates count: they decide what an encoder reads.
_LOADED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
# Other precisions of the same weights, such as model.fp16.safetensors, and their indices.
_TWINS = ("*.*.safetensors", "*.index.*.json")
_ADAPTERS = "*.safetensors"
_CLASSIFIER = ("*.json", "*.safetensors")
_UNREACHABLE = (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OSError,
    RuntimeError,  # the home of a user who is not known
    ValueError,
)


def find_folder(model: str, parts: tuple[str, ...] = ()) -> Path:
    """Return the folder of a model: shipped, or the one named, or the hub's snapshot of that name.

    Raises UnknownModel where there is no such folder, or a part is missing (no parts: any part).
    """
    folder = _locate(model, parts)
    wanted = parts or tuple(_parts(_read_index(model, folder)))
    # Without this check, libraries make up a tokenizer where there is none.
    missing = [part for part in wanted if not (folder / part).is_dir()]
    if missing:
        hint = f"its part {missing[0]} is missing; fetch it again"
        raise UnknownModel(model=model, hint=hint)
    return folder


def find_revision(parts: Parts, cache: Path | None = None) -> str:
    """Return the revision that pins the weights: a digest of every loaded file, 16 hex digits.

    It depends on content alone, so equal weights have equal revisions in any folder. With a `cache`
    only files that have changed since they were last read are read again. Of a whole model that is
    its index and its parts: what else lies in its folder is not loaded.
    """
    folder = find_folder(parts.model, parts.folders)
    index = [] if parts.folders else [folder / _INDEX]
    places = [folder / part for part in parts.folders or _parts(_read_index(parts.model, folder))]
    files = sorted({*index, *(file for place in places for file in _loaded_files(place))})
    digests = file_digests(files, cache)
    facts = [[str(file.relative_to(folder)), digests[file]] for file in files]
    if parts.adapter is not None:
        file = find_adapter(parts.adapter.name)
        facts.append(["adapter", file_digests([file], cache)[file], f"{parts.adapter.scale:g}"])
    if parts.classifier:
        place = find_classifier(parts.classifier)
        named = sorted(file for name in _CLASSIFIER for file in place.glob(name))
        found = file_digests(named, cache)
        facts += [["classifier", file.name, found[file]] for file in named]
    return digest("weights", facts)[:16]


def find_adapter(name: str) -> Path:
    """Return the file of a LoRA adapter: the one named, or the only one of a folder or hub name.

    Raises UnknownModel, and InvalidSetting where the package that reads adapters is missing.
    """
    if find_spec("peft") is None:
        hint = "it needs the package peft: install hierdiff[lora]"
        raise InvalidSetting(setting="lora", value=name, hint=hint)
    place = Path(name).expanduser()
    if place.is_file():
        return place
    try:
        allowed = [_ADAPTERS]
        folder = place if place.is_dir() else Path(snapshot_download(name, allow_patterns=allowed))
    except _UNREACHABLE:
        hint = "it is neither a folder, a file nor a hub name that can be reached"
        raise UnknownModel(model=name, hint=hint) from None
    files = sorted(folder.glob(_ADAPTERS))
    if len(files) != 1:
        hint = f"it has {len(files)} files *.safetensors; name the file of one adapter"
        raise UnknownModel(model=name, hint=hint)
    return files[0]


def find_classifier(name: str) -> Path:
    """Return the folder of a classifier of transformers, by folder or hub name.

    Raises UnknownModel, also for one without safetensors.
    """
    place = Path(name).expanduser()
    try:
        folder = place if place.is_dir() else _fetch_classifier(name)
    except _UNREACHABLE:
        hint = "it is neither a folder nor a hub name that can be reached"
        raise UnknownModel(model=name, hint=hint) from None
    if not any(folder.glob(_ADAPTERS)):
        raise UnknownModel(model=name, hint="it has no *.safetensors, and others are not read")
    return folder


@cache
def _fetch_classifier(name: str) -> Path:
    return Path(snapshot_download(name, allow_patterns=list(_CLASSIFIER)))


def read_index(model: str) -> Mapping[str, Any]:
    """Return a model's index: its class, its parts, settings of its own; raises UnknownModel."""
    return _read_index(model, _locate(model, None))


def read_class_name(model: str) -> str:
    """Return the pipeline class that a model's folder names; raises UnknownModel."""
    return str(read_index(model).get("_class_name", "nameless pipeline"))


def existing_parts(model: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the parts that a model has; some models leave an encoder out."""
    known = _parts(read_index(model))
    return tuple(name for name in names if name in known)


def read_config(model: str, part: str, file: str = "config.json") -> dict[str, Any]:
    """Return the config of one part of a model; raises UnknownModel."""
    config = _read_json(find_folder(model, (part,)) / part / file)
    if config is None:
        hint = f"the {file} of its part {part} is missing or damaged; fetch it again"
        raise UnknownModel(model=model, hint=hint)
    return config


def read_number(model: str, part: str, name: str) -> int:
    """Return a whole number of a part's config; raises UnknownModel where there is none."""
    number = read_config(model, part).get(name)
    if not isinstance(number, int):
        hint = f"the config.json of its part {part} has no number {name}; fetch it again"
        raise UnknownModel(model=model, hint=hint)
    return number


def load_pipeline(kind: Any, model: str, parts: tuple[str, ...], dtype: torch.dtype) -> Any:
    """Return `kind.from_pretrained(model)` with these parts alone; an empty tuple means all parts.

    Raises UnknownModel. Weights are read from safetensors only: pickles run code, and revisions do
    not cover them.
    """
    index = _read_index(model, find_folder(model, parts))
    absent = {part: None for part in _parts(index) if parts and part not in parts}
    pipeline = _load(kind, model, parts, dtype=dtype, use_safetensors=True, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_part(kind: Any, model: str, part: str) -> Any:
    """Return one part of a pipeline that has no weights; raises UnknownModel."""
    return _load(kind, model, (part,), subfolder=part)


def load_parts(kind: Any, model: str, parts: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Return what `load_pipeline` does, loading each part by its class.

    It is for pipelines whose classes diffusers does not find by the names in their index.
    """
    find_folder(model, tuple(parts))
    made = {}
    for part, of_part in parts.items():
        weights = {"dtype": dtype, "use_safetensors": True}
        options = weights if issubclass(of_part, torch.nn.Module) else {}
        made[part] = _load(of_part, model, (part,), subfolder=part, **options)
    wanted = inspect.signature(kind.__init__).parameters.keys() - {"self"}
    pipeline = kind(**{part: made.get(part) for part in wanted})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _locate(model: str, parts: tuple[str, ...] | None) -> Path:
    """Return a folder with these parts of a model: all for none named, its index for None."""
    try:
        folder = SHIPPED.get(model) or Path(model).expanduser()
        return folder if folder.is_dir() else _fetch(model, parts)
    except _UNREACHABLE:
        hint = "it is neither a folder nor a hub name that can be reached; name one that is"
        raise UnknownModel(model=model, hint=hint) from None


@cache
def _fetch(model: str, parts: tuple[str, ...] | None) -> Path:
    # Once a process: every fetch asks the hub whether there is something newer.
    folder = Path(snapshot_download(model, allow_patterns=[_INDEX]))
    if parts is None:
        return folder
    names = parts or _parts(_read_index(model, folder))
    wanted = [_INDEX, *(f"{part}/{name}" for part in names for name in _LOADED)]
    return Path(snapshot_download(model, allow_patterns=wanted, ignore_patterns=list(_TWINS)))


def _loaded_files(place: Path) -> Iterator[Path]:
    """Yield the files of a part that are loaded."""
    for file in (file for name in _LOADED for file in place.rglob(name)):
        if not any(fnmatch(file.name, twin) for twin in _TWINS):
            yield file


def _load(kind: Any, model: str, parts: tuple[str, ...], **options: Any) -> Any:
    try:
        return kind.from_pretrained(find_folder(model, parts), local_files_only=True, **options)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UnknownModel(model=model, hint=f"{kind.__name__} refuses it ({reason})") from None


def _read_index(model: str, folder: Path) -> Mapping[str, Any]:
    index = folder / _INDEX
    if not index.is_file():
        hint = "the folder has no model_index.json; name a folder that a pipeline was saved to"
        raise UnknownModel(model=model, hint=hint)
    read = _read_json(index)
    if read is None:
        hint = "its model_index.json is damaged; fetch it again"
        raise UnknownModel(model=model, hint=hint)
    return read


def _read_json(file: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None where the file does not hold one."""
    try:
        read = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _parts(index: Mapping[str, Any]) -> list[str]:
    return [name for name, kind in index.items() if isinstance(kind, list) and any(kind)]
