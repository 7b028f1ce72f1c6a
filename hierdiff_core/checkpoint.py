"""Checkpoints: the state at the end of a segment, and the bytes of several states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any

import safetensors
import safetensors.torch
import torch

from hierdiff_core.digest import digest
from hierdiff_core.errors import CorruptCheckpoint

_ENTRY = "hierdiff"


@dataclass(frozen=True, eq=False)
class State:
    """One row between two steps: everything that a restart needs."""

    latents: torch.Tensor  # (*latent_shape) float32 on the CPU
    step: int  # steps taken, 0 to K
    history: tuple[torch.Tensor, ...] = ()  # past predictions that the solver still needs


def pack(states: Mapping[str, State]) -> bytes:
    """Return states under their segments' keys as one safetensors file, equal for equal states."""
    tensors: dict[str, torch.Tensor] = {}
    for key, state in states.items():
        tensors[f"{key}.latents"] = state.latents.contiguous()
        for place, past in enumerate(state.history):
            tensors[f"{key}.history.{place}"] = past.contiguous()
    header = {"steps": {key: state.step for key, state in states.items()}}
    sealed = header | {"digest": _seal(tensors, header)}
    # One entry only: safetensors writes several in a random order, and equal states would differ.
    return safetensors.torch.save(tensors, {_ENTRY: json.dumps(sealed, sort_keys=True)})


def unpack(packed: bytes, name: str = "without a name") -> dict[str, State]:
    """Return the states that `pack` wrote; raises CorruptCheckpoint with the name given."""
    try:
        tensors = safetensors.torch.load(packed)
        header = _read_header(packed)
        if header.pop("digest") != _seal(tensors, header):
            raise ValueError("the digest differs")
        return {key: _state(tensors, key, int(step)) for key, step in header["steps"].items()}
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpoint(key=name, reason=f"its bytes are damaged ({error})") from None


def _state(tensors: Mapping[str, torch.Tensor], key: str, step: int) -> State:
    past = (f"{key}.history.{place}" for place in count())
    history = tuple(tensors[name] for name in takewhile(tensors.__contains__, past))
    return State(tensors[f"{key}.latents"], step, history)


def _seal(tensors: Mapping[str, torch.Tensor], header: Mapping[str, object]) -> str:
    # safetensors has no checksum: any bytes of the right length load as numbers.
    facts = {
        name: [str(tensor.dtype), list(tensor.shape), _bytes_digest(tensor)]
        for name, tensor in tensors.items()
    }
    return digest("states", facts, dict(header))


def _bytes_digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy().data).hexdigest()


def _read_header(packed: bytes) -> dict[str, Any]:
    # safetensors reads the metadata of files only: 8 bytes of length, then JSON.
    length = int.from_bytes(packed[:8], "little")
    return dict(json.loads(json.loads(packed[8 : 8 + length])["__metadata__"][_ENTRY]))
