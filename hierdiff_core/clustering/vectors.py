"""The vectors that trees are built on, and the check for unusable ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hierdiff_core.errors import InvalidEmbedding

# Norms whose squares, and those of the sum of all rows, stay normal numbers in single precision.
_SMALLEST, _LARGEST = 1e-12, 1e12


def check_vectors(vectors: npt.NDArray[np.floating], rows: Sequence[int] | None = None) -> None:
    """Raise InvalidEmbedding, naming the row, where a row of (N, D) cannot be compared with others.

    Such a row is not finite, is zero, or has a norm that is far from that of any embedding.
    """
    with np.errstate(over="ignore", under="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    checks = (
        (np.isfinite(vectors).all(axis=1), "is not finite"),
        ((vectors != 0).any(axis=1), "is zero"),
        (norms >= _SMALLEST, f"has a norm below {_SMALLEST:g}"),
        (norms <= _LARGEST, f"has a norm above {_LARGEST:g}"),
    )
    for good, reason in checks:
        if not good.all():
            index = int(np.argmin(good))
            raise InvalidEmbedding(row=rows[index] if rows else index, reason=reason)
