"""The vectors that trees are built on, and the check for unusable ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hierdiff_core.errors import InvalidEmbedding


def check_vectors(vectors: npt.NDArray[np.floating], rows: Sequence[int] | None = None) -> None:
    """Raise InvalidEmbedding, naming the row, where a row of (N, D) is not finite or is zero."""
    finite = np.isfinite(vectors).all(axis=1)
    nonzero = (vectors != 0).any(axis=1)
    for good, reason in ((finite, "is not finite"), (nonzero, "is zero")):
        if not good.all():
            index = int(np.argmin(good))
            raise InvalidEmbedding(row=rows[index] if rows else index, reason=reason)
