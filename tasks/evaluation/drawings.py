"""Drawings of the same prompts: what the miniature's pictures are compared with in detail.

Knows the program that drew what the miniature was trained on, where it is at hand (in a clone of
the project); other models, and prompts of one's own, have no drawings.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.digest import digest
from hierdiff_core.evaluation.prompt_sets import Entry
from tasks.evaluation.panel import Panel
from tasks.evaluation.work_folder import Vectors, WorkFolder

_SEED = 7_700_000  # far from the seeds that training and judges use
_EACH = 2  # drawings of a prompt: one to compare with, one to know the distance among drawings


def drawn_features(
    entries: Sequence[Entry], panel: Panel, fingerprint: str, folder: WorkFolder
) -> Vectors | None:
    """Return features (2 P, F), the two drawings of a prompt side by side; kept between runs.

    None where nothing can be drawn: no drawing program, prompts that name no attributes, or no
    judge with features.
    """
    if not entries or not all(e.attributes for e in entries) or not _can_draw():
        return None
    texts = [entry.text for entry in entries]
    first = hashlib.sha256(_draw(entries[0], 0).tobytes()).hexdigest()
    name = "drawings-" + digest("drawings", first, fingerprint, texts)[:16]
    known = folder.load_vectors(name)
    if not known:
        pictures = [_draw(e, at * _EACH + n) for at, e in enumerate(entries) for n in range(_EACH)]
        features = panel.features(np.stack(pictures))
        if features is None:
            return None
        known = {f"{at:06d}": row for at, row in enumerate(features)}
        folder.save_vectors(name, known)
    return np.stack([known[each] for each in sorted(known)])


def _can_draw() -> bool:
    """Tell whether the drawing program is at hand."""
    clone = Path(__file__).resolve().parents[2]
    # An installed command finds the packages that are shipped, and no others beside them.
    if find_spec("training") is None and (clone / "training" / "drawings.py").is_file():
        sys.path.append(str(clone))
    return find_spec("training") is not None


def _draw(entry: Entry, number: int) -> NDArray[np.uint8]:
    vocabulary = import_module("training.vocabulary")
    rng = np.random.default_rng([_SEED, number])
    # What a prompt leaves open is drawn at random.
    values = {
        axis: entry.attributes.get(axis) or list(known)[int(rng.integers(len(known)))]
        for axis, known in vocabulary.AXES.items()
    }
    picture = import_module("training.drawings").draw(
        vocabulary.Attributes(**values), _SEED + number
    )
    return np.asarray(picture, dtype=np.uint8)
