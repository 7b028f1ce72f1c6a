"""Embeddings of prompts: their vectors in trees, the conditioning of the network, and its mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

_VECTOR = "tree_vector"  # in a packed embedding, beside the conditioning


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor of a family's conditioning, and how a cluster's is made."""

    name: str
    kind: Literal["vector", "tokens", "mask", "constant"]
    mask: str = ""  # for tokens: the slot that masks them; empty: all tokens count


@dataclass(frozen=True)
class Conditioning:
    """The denoiser's conditioning for N prompts: each tensor is (N, ...) on the CPU."""

    tensors: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def take(self, rows: Sequence[int] | torch.Tensor) -> Conditioning:
        """Return some of the rows."""
        chosen = torch.as_tensor(rows)
        return Conditioning({name: each[chosen] for name, each in self.tensors.items()})

    def mean(self, members: Sequence[int], slots: Sequence[Slot] = ()) -> Conditioning:
        """Return the mean over the members, one row: y_c = 1/|c| sum of y in c (Eq. 4).

        Summed in float64 and in ascending order, so that equal sets give equal bits; a cluster of
        one keeps its own. Masked tokens are averaged, position by position, over the members that
        have a token there, and a mask is the union of theirs. A slot that is not listed is a
        vector.
        """
        rows = self.take(sorted(members))
        kinds = {slot.name: slot for slot in slots}
        return Conditioning(
            {
                name: _mean(tensor, kinds.get(name), rows.tensors)
                for name, tensor in rows.tensors.items()
            }
        )


@dataclass(frozen=True)
class Embedding:
    """One prompt after the text side."""

    vector: npt.NDArray[np.float32]  # (D,) the prompt's position in trees and calibrations
    conditioning: Conditioning  # one row, the network's input


def stack(rows: Sequence[Conditioning]) -> Conditioning:
    """Return one conditioning of all rows, in the order given."""
    names = rows[0].tensors
    return Conditioning({name: torch.cat([row.tensors[name] for row in rows]) for name in names})


def pack(embedding: Embedding) -> bytes:
    """Return an embedding as safetensors."""
    tensors = {name: each.contiguous() for name, each in embedding.conditioning.tensors.items()}
    vector = torch.from_numpy(np.ascontiguousarray(embedding.vector))
    if not _is_only(vector, tensors):
        tensors[_VECTOR] = vector
    return safetensors.torch.save(tensors)


def unpack(packed: bytes) -> Embedding:
    """Return the embedding that `pack` wrote."""
    tensors = safetensors.torch.load(packed)
    vector = tensors.pop(_VECTOR, None)
    if vector is None:  # the conditioning's only tensor is also the vector
        vector = next(iter(tensors.values())).flatten()
    return Embedding(vector.numpy(), Conditioning(tensors))


def _is_only(vector: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> bool:
    first = next(iter(tensors.values())).flatten()
    return len(tensors) == 1 and first.dtype == vector.dtype and torch.equal(first, vector)


def _mean(
    rows: torch.Tensor, slot: Slot | None, tensors: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    if len(rows) == 1 or (slot is not None and slot.kind == "constant"):
        return rows[:1]
    if slot is not None and slot.kind == "mask":
        return rows.amax(dim=0, keepdim=True)
    if slot is None or not slot.mask:
        return rows.double().mean(dim=0, keepdim=True).to(rows.dtype)
    counts = tensors[slot.mask].double().unsqueeze(-1)  # (M, L, 1)
    total = counts.sum(dim=0, keepdim=True).clamp(min=1)
    return ((rows.double() * counts).sum(dim=0, keepdim=True) / total).to(rows.dtype)
