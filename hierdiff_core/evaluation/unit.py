"""Units of work (a set, a sample of it and a setting) and their outcomes."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.digest import digest
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.plan import Plan

# Incremented whenever equal keys would no longer mean equal results.
VERSION = 1


class Trial(Protocol):
    """A piece of work with an `Outcome`: a unit, or another measurement of a model.

    It is hashable, and equal trials are the same work.
    """

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts whose embeddings it needs."""
        ...

    @property
    def weight(self) -> int:
        """Roughly how many evaluations it takes, for a progress bar."""
        ...

    def key(self, context: Sequence[object]) -> str:
        """Return the content key; `context` names the model, the judges and the recipe."""
        ...


@dataclass(frozen=True)
class Unit:
    """Pictures of a sample of prompts, made as a member of its whole catalogue."""

    texts: tuple[str, ...]  # the catalogue; groups that share nothing stand one after another
    scored: tuple[int, ...]  # places of the prompts whose pictures are made and judged
    setting: Setting
    groups: tuple[int, ...] = ()  # sizes of the groups; none: all prompts are one group

    @property
    def scored_texts(self) -> tuple[str, ...]:
        """The prompts whose pictures are judged."""
        return tuple(self.texts[place] for place in self.scored)

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """Half-open range of each group."""
        stops = np.cumsum(self.groups or (len(self.texts),)).tolist()
        return tuple(zip([0, *stops[:-1]], stops, strict=True))

    @property
    def weight(self) -> int:
        """See Trial."""
        setting = self.setting
        spared = setting.saving if setting.saving is not None else 0.5 * setting.shares
        return max(1, round(len(self.scored) * setting.evaluations * min(1.0, 1.15 - spared)))

    def key(self, context: Sequence[object]) -> str:
        """See Trial."""
        setting = self.setting.to_json()
        facts = (VERSION, self.texts, self.scored, self.groups, setting, list(context))
        return digest("evaluation unit", *facts)


def make_unit(texts: Sequence[str], scored: Sequence[int], setting: Setting) -> Unit:
    """Return the unit; where nothing is shared the rest of the catalogue does not matter."""
    if setting.shares:
        return Unit(tuple(texts), tuple(scored), setting)
    chosen = tuple(texts[place] for place in scored)
    return Unit(chosen, tuple(range(len(chosen))), setting)


def needed_segments(plan: Plan, leaves: Collection[int]) -> frozenset[int]:
    """Return the segments on the paths of some leaves: all that their pictures need."""
    return frozenset(
        segment.id for leaf in leaves for segment in plan.path(plan.leaf_segment(leaf))
    )


@dataclass(frozen=True)
class Outcome:
    """The outcome of a unit; a row for each scored prompt, NaN where its picture failed."""

    scores: Mapping[str, NDArray[np.float64]]  # by judge, the first is the one that counts
    features: NDArray[np.float32] | None  # (P, F), of the pictures that were made
    right: Mapping[str, NDArray[np.float64]]  # by attribute: 1, 0, or NaN where not named
    pictures: NDArray[np.uint8]  # a few, for people
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def main(self) -> NDArray[np.float64]:
        """(P,) scores of the judge that counts."""
        return next(iter(self.scores.values()))

    @property
    def missing(self) -> int:
        """Pictures that failed."""
        return int(np.isnan(self.main).sum())

    @property
    def per_image(self) -> float:
        """Evaluations per image of the whole catalogue, by its plan."""
        return self.facts["evaluations"] / self.facts["images"]

    def pack(self) -> bytes:
        """Return the arrays as one .npz."""
        arrays: dict[str, NDArray[np.generic]] = {"pictures": self.pictures}
        arrays |= {f"score.{name}": each for name, each in self.scores.items()}
        arrays |= {f"right.{name}": each for name, each in self.right.items()}
        if self.features is not None:
            arrays["features"] = self.features.astype(np.float16)
        head = json.dumps({"scores": list(self.scores), "facts": dict(self.facts)})
        file = io.BytesIO()
        np.savez_compressed(file, head=np.array(head), **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @staticmethod
    def unpack(packed: bytes) -> Outcome:
        """Return the outcome that `pack` wrote; raises ValueError, KeyError, OSError for damage."""
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            rights = {name[6:]: file[name] for name in file.files if name.startswith("right.")}
            features = file["features"].astype(np.float32) if "features" in file.files else None
            scores = {name: file[f"score.{name}"] for name in head["scores"]}
            return Outcome(scores, features, rights, file["pictures"], head["facts"])
