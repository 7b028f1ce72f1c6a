"""The protocol of all judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Judge(Protocol):
    """Scores how well a picture shows what its prompt asks for."""

    @property
    def name(self) -> str:
        """Name under which the scores are reported."""

    def scores(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return (B,) for pictures (B, H, W, 3) and as many prompts; higher is better."""
