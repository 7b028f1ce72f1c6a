"""The work folder: results by content key, so that nothing is measured twice.

A file appears whole or not at all, so several processes may share a folder.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.evaluation.unit import Outcome
from hierdiff_core.whole_file import write_whole

Vectors = NDArray[np.float32]
_DAMAGED = (ValueError, KeyError, OSError, EOFError)


@dataclass(frozen=True)
class WorkFolder:
    """Where results are kept between runs."""

    path: Path

    def load(self, key: str) -> Outcome | None:
        """Return a result, or None where it is missing or damaged: it is then made again."""
        try:
            return Outcome.unpack(self._unit(key).read_bytes())
        except _DAMAGED:
            return None

    def save(self, key: str, outcome: Outcome) -> None:
        """Keep a result."""
        write_whole(self._unit(key), outcome.pack())

    def refusal(self, key: str) -> str | None:
        """Return the reason why a unit cannot be made, if one was kept."""
        file = self.path / "refused" / f"{key}.json"
        return str(json.loads(file.read_text())) if file.is_file() else None

    def refuse(self, key: str, reason: str) -> None:
        """Keep why a unit cannot be made."""
        write_whole(self.path / "refused" / f"{key}.json", json.dumps(reason).encode())

    def load_vectors(self, name: str) -> dict[str, Vectors]:
        """Return the vectors of this name by text; empty where there are none."""
        try:
            with np.load(self._vectors(name), allow_pickle=False) as file:
                return dict(zip(file["texts"].tolist(), file["vectors"], strict=True))
        except _DAMAGED:
            return {}

    def save_vectors(self, name: str, vectors: Mapping[str, Vectors]) -> None:
        """Keep vectors by text."""
        texts: Sequence[str] = list(vectors)
        file = io.BytesIO()
        np.savez(file, texts=np.array(texts), vectors=np.stack([vectors[each] for each in texts]))
        write_whole(self._vectors(name), file.getvalue())

    def _unit(self, key: str) -> Path:
        return self.path / "units" / f"{key}.npz"

    def _vectors(self, name: str) -> Path:
        return self.path / "vectors" / f"{name}.npz"
