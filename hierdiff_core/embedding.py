"""Conditionings of a batch of prompts, and the mean over a cluster.

Knows named tensors whose first dimension is the prompt; knows nothing of the models that make or
read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch


@dataclass(frozen=True)
class Conditioning:
    """What steers the denoiser, for N prompts: each tensor is (N, ...) float32 on the CPU."""

    tensors: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def mean(self, members: Sequence[int]) -> Conditioning:
        """Return the mean over the members, one row: y_c = 1/|c| sum of y in c (Eq. 4).

        Summed in float64 and in ascending order, so that equal sets give equal bits.
        """
        rows = torch.as_tensor(sorted(members))
        return Conditioning(
            {
                name: tensor[rows].double().mean(dim=0, keepdim=True).float()
                for name, tensor in self.tensors.items()
            }
        )


def stack(rows: Sequence[Conditioning]) -> Conditioning:
    """Return conditionings of one or more prompts each as one, in the order given."""
    names = rows[0].tensors
    return Conditioning({name: torch.cat([row.tensors[name] for row in rows]) for name in names})


def flatten(conditioning: Conditioning) -> npt.NDArray[np.float32]:
    """Return the vectors that trees are built on, (N, D): all tensors side by side."""
    flat = [tensor.flatten(1) for tensor in conditioning.tensors.values()]
    return torch.cat(flat, dim=1).numpy()


def pack(conditioning: Conditioning) -> bytes:
    """Return the tensors as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in conditioning.tensors.items()}
    return safetensors.torch.save(tensors)


def unpack(packed: bytes) -> Conditioning:
    """Return the conditioning that `pack` wrote."""
    return Conditioning(safetensors.torch.load(packed))
