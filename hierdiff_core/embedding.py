"""Embeddings of prompts: their vectors in trees, the conditioning of the network, and its mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

_VECTOR = "tree_vector"  # in a packed embedding, beside the conditioning
_TOKENS = "/tokens"  # ends the name of the number of tokens before padding was dropped
_ONE = torch.ones((), dtype=torch.float64)
_AT_ONCE = 2**28  # bytes of a cluster's rows up to which they are averaged in one call


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor of a family's conditioning, and how a cluster's is made."""

    name: str
    kind: Literal["vector", "tokens", "mask", "constant"]
    mask: str = ""  # for tokens: the slot that masks them; empty: all tokens count


class Members(Protocol):
    """The conditioning of N prompts, wherever it is kept."""

    def blank(self) -> Conditioning:
        """Return one row of zeros."""
        ...

    def mean(self, members: Sequence[int], slots: Sequence[Slot] = ()) -> Conditioning:
        """Return the mean over the members, one row."""
        ...


@dataclass(frozen=True)
class Conditioning:
    """The denoiser's conditioning for N prompts: each tensor is (N, ...) on the CPU.

    Numbers are float32, masks are of any type. It is the `Members` that are held in memory.
    """

    tensors: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def take(self, rows: Sequence[int] | torch.Tensor) -> Conditioning:
        """Return some of the rows."""
        chosen = torch.as_tensor(rows)
        return Conditioning({name: each[chosen] for name, each in self.tensors.items()})

    def blank(self) -> Conditioning:
        """See Members."""
        tensors = self.tensors.items()
        return Conditioning({name: each.new_zeros(1, *each.shape[1:]) for name, each in tensors})

    def mean(self, members: Sequence[int], slots: Sequence[Slot] = ()) -> Conditioning:
        """See Members and `mean_of`."""
        rows = sorted(members)
        if len(rows) * self.bytes > _AT_ONCE * len(self):
            return mean_of((self.take([each]) for each in rows), len(rows), slots)
        return _mean_of_all(self.take(rows), slots)

    @property
    def bytes(self) -> int:
        """The memory that the tensors take."""
        return sum(each.nbytes for each in self.tensors.values())


@dataclass(frozen=True)
class Embedding:
    """One prompt after the text side."""

    vector: npt.NDArray[np.float32]  # (D,) the prompt's position in trees and calibrations
    conditioning: Conditioning  # one row, the network's input


def stack(rows: Sequence[Conditioning]) -> Conditioning:
    """Return one conditioning of all rows, in the order given."""
    names = rows[0].tensors
    return Conditioning({name: torch.cat([row.tensors[name] for row in rows]) for name in names})


def mean_of(rows: Iterable[Conditioning], count: int, slots: Sequence[Slot] = ()) -> Conditioning:
    """Return the mean of a cluster's M rows, one row: y_c = 1/|c| sum of y in c (Eq. 4).

    Summed in float64 and in the order given, which is that of the leaves' numbers, so that equal
    sets give equal bits; a cluster of one keeps its own. Masked tokens are averaged, position by
    position, over the members that have a token there, and a mask is the union of theirs. A slot
    that is not listed is a vector. Of rows that are large together two are held at once.
    """
    waiting = iter(rows)
    first = next(waiting)
    every = chain([first], waiting)
    if count * first.bytes > _AT_ONCE:
        return _running_mean(every, slots)
    return _mean_of_all(stack(list(every)), slots)


def pack(embedding: Embedding) -> bytes:
    """Return an embedding as safetensors, without what can be restored from less.

    Zeros behind the last token are dropped, and numbers of tokens that a half precision holds
    exactly are stored in it.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in embedding.conditioning.tensors.items():
        tensors |= _packed(name, tensor.contiguous())
    # Copied: it may be a view of a tensor that steers, and safetensors refuses shared memory.
    vector = torch.from_numpy(np.array(embedding.vector))
    if not _is_only(vector, tensors):
        tensors[_VECTOR] = vector
    return safetensors.torch.save(tensors)


def pack_vector(vector: npt.NDArray[np.float32]) -> bytes:
    """Return a vector alone, as an embedding without a conditioning."""
    return pack(Embedding(vector, Conditioning({})))


def unpack(packed: bytes) -> Embedding:
    """Return the embedding that `pack` wrote."""
    tensors = safetensors.torch.load(packed)
    vector = tensors.pop(_VECTOR, None)
    lengths = {name: tensors.pop(name) for name in list(tensors) if name.endswith(_TOKENS)}
    whole = {
        name: _unpacked(tensor, lengths.get(name + _TOKENS)) for name, tensor in tensors.items()
    }
    if vector is None:  # the conditioning's only tensor is also the vector
        vector = next(iter(whole.values())).flatten()
    return Embedding(vector.numpy(), Conditioning(whole))


def as_read(conditioning: Conditioning, slots: Sequence[Slot], dtype: torch.dtype) -> Conditioning:
    """Return a conditioning as a network of a precision reads it, in float32.

    Its tokens are rounded to that precision, and zero where their mask hides them; where it hides
    all of them they stay, since attention that is to read nothing reads all alike.
    """
    tensors = dict(conditioning.tensors)
    for slot in slots:
        if slot.kind == "tokens" and slot.name in tensors:
            tokens = tensors[slot.name].to(dtype).float()
            if slot.mask:
                seen = tensors[slot.mask] != 0  # (N, L)
                tokens = tokens * (seen | ~seen.any(dim=1, keepdim=True)).unsqueeze(-1)
            tensors[slot.name] = tokens
    return Conditioning(tensors)


def _is_only(vector: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> bool:
    if len(tensors) != 1:
        return False
    first = next(iter(tensors.values())).flatten()
    return first.dtype == vector.dtype and torch.equal(first, vector)


def _packed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    if tensor.dim() < 3 or tensor.dtype != torch.float32:  # a vector or a mask
        return {name: tensor}
    used = torch.nonzero(tensor.flatten(2).any(dim=2).any(dim=0))
    kept = int(used[-1]) + 1 if len(used) else 0
    stored = {name: _narrowed(tensor[:, :kept].contiguous())}
    if kept < tensor.shape[1]:
        stored[name + _TOKENS] = torch.tensor([tensor.shape[1]])
    return stored


def _narrowed(tensor: torch.Tensor) -> torch.Tensor:
    for half in (torch.bfloat16, torch.float16):
        narrow = tensor.to(half)
        if torch.equal(narrow.float(), tensor):
            return narrow
    return tensor


def _unpacked(tensor: torch.Tensor, length: torch.Tensor | None) -> torch.Tensor:
    whole = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
    if length is None:
        return whole
    padded = whole.new_zeros(whole.shape[0], int(length), *whole.shape[2:])
    padded[:, : whole.shape[1]] = whole
    return padded


def _mean_of_all(rows: Conditioning, slots: Sequence[Slot]) -> Conditioning:
    kinds, tensors = {slot.name: slot for slot in slots}, rows.tensors
    return Conditioning({name: _mean(tensors[name], kinds.get(name), tensors) for name in tensors})


def _running_mean(rows: Iterable[Conditioning], slots: Sequence[Slot]) -> Conditioning:
    """Return what `_mean_of_all` does, from one row after the other."""
    kinds = {slot.name: slot for slot in slots}
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, torch.Tensor] = {}  # of the rows that each number is the sum of
    dtypes: dict[str, torch.dtype] = {}
    for row in rows:
        for name, tensor in row.tensors.items():
            dtypes[name], kind = tensor.dtype, kinds.get(name, Slot(name, "vector"))
            if kind.kind in ("constant", "mask"):
                known = sums.setdefault(name, tensor)
                sums[name] = known if kind.kind == "constant" else torch.maximum(known, tensor)
                continue
            weight = row.tensors[kind.mask].double().unsqueeze(-1) if kind.mask else _ONE
            part = tensor.double() * weight if kind.mask else tensor
            sums[name] = sums[name].add_(part) if name in sums else part.double().clone()
            counts[name] = counts[name] + weight if name in counts else weight
    for name, count in counts.items():
        sums[name] = sums[name] / count.clamp(min=1)
    return Conditioning({name: each.to(dtypes[name]) for name, each in sums.items()})


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
