"""Drawings of the same prompts: what the miniature's pictures are compared with in detail.

They come from the program that drew what the miniature was trained on; other models have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.prompt_sets import PaperEntry
from hierdiff_core.digest import digest
from hierdiff_core.models.folder import SHIPPED
from tasks.evaluation.crew import Bench
from tasks.evaluation.panel import Panel
from tasks.evaluation.work_folder import Vectors, WorkFolder
from training.drawings import draw
from training.vocabulary import AXES, Attributes

_SEED = 7_700_000  # far from the seeds that training and judges use
_EACH = 2  # drawings of a prompt: one to compare with, one to know the distance among drawings


def drawings_of(study: PaperStudy, bench: Bench, fingerprint: str) -> dict[str, Vectors]:
    """Return features of drawings by set; none of a model that was not trained on them."""
    found: dict[str, Vectors] = {}
    if bench.recipe.model not in SHIPPED:
        return found
    for prompts in study.sets:
        entries = [prompts.entries[place] for place in study.sample(prompts)]
        features = drawn_features(entries, bench.panel, fingerprint, bench.folder)
        if features is not None:
            found[prompts.name] = features
    return found


def drawn_features(
    entries: Sequence[PaperEntry], panel: Panel, fingerprint: str, folder: WorkFolder
) -> Vectors | None:
    """Return features (2 P, F), the two drawings of a prompt side by side; kept between runs.

    None where prompts name no attributes, or no judge has features.
    """
    if not entries or not all(each.attributes for each in entries):
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


def _draw(entry: PaperEntry, number: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng([_SEED, number])
    # What a prompt leaves open is drawn at random.
    values = {
        axis: entry.attributes.get(axis) or list(known)[int(rng.integers(len(known)))]
        for axis, known in AXES.items()
    }
    return np.asarray(draw(Attributes(**values), _SEED + number), dtype=np.uint8)
