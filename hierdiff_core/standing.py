"""The standing forest: what earlier nights have made of a recipe, which a night goes on from.

A stored split is a state that the mean of its founders has steered so far. A prompt that is near
enough to that mean may go on from it as if it had shared those steps: the mean does not move, and
the steps are paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]
Gains = npt.NDArray[np.floating]

_BLOCK = 2**25  # numbers in a block of gains
_PART = 2**13  # segments whose gains are found at once
NO_SPLIT = -1  # stands for noise, which every prompt may start from


@dataclass(frozen=True, slots=True)
class Founder:
    """A prompt whose embedding steers stored segments, tonight's or of an earlier night."""

    content_key: str
    embedding_key: str


@dataclass(frozen=True, slots=True)
class StandingSegment:
    """A segment of an earlier night."""

    key: str
    parent: str | None  # the key of the segment that it starts from
    start: int
    stop: int
    founders: tuple[Founder, ...]
    stored: bool  # whether its end state, or its picture, is stored
    coming: bool = False  # whether a night that is under way makes it
    made: float = 0.0  # when, on any clock


@dataclass(frozen=True, eq=False)
class Steering:
    """The founders of S segments, as places among prompts, in one array: millions of them."""

    ends: Ids  # (S + 1,) where the founders of each segment begin
    places: Ids

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, segment: int) -> tuple[int, ...]:
        if not 0 <= segment < len(self):
            raise IndexError(segment)
        return tuple(self.places[self.ends[segment] : self.ends[segment + 1]].tolist())

    @property
    def sizes(self) -> Ids:
        """The number of founders of each segment, (S,)."""
        return np.diff(self.ends)

    @property
    def segments(self) -> Ids:
        """The segment that each of the places is of."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def take(self, segments: Ids) -> Steering:
        """Return the founders of some segments."""
        return gather([self.places[self.ends[each] : self.ends[each + 1]] for each in segments])


def gather(founders: Sequence[Ids]) -> Steering:
    """Return the founders of segments, given as the places of each."""
    sizes = np.fromiter(map(len, founders), np.int64, len(founders))
    places = np.concatenate([np.zeros(0, dtype=np.int64), *founders])
    return Steering(np.concatenate([[0], np.cumsum(sizes)]), places)


@dataclass(frozen=True, eq=False)
class StandingForest:
    """Segments of earlier nights, S of one recipe; parents come before their children."""

    keys: tuple[str, ...]
    parents: Ids  # (S,), -1 at a root
    starts: Ids  # (S,)
    stops: Ids  # (S,)
    founders: Steering  # of each segment: places in `prompts`
    stored: npt.NDArray[np.bool_]  # (S,) whether the end state, or the picture, is stored
    coming: npt.NDArray[np.bool_]  # (S,) whether a night that is under way makes it
    prompts: tuple[Founder, ...]
    made: npt.NDArray[np.float64]  # (S,) when, on any clock

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def levels(self) -> tuple[Ids, ...]:
        """The segments by their depth: those of the roots, their children, and so on."""
        depths = np.zeros(len(self), dtype=np.int64)
        for segment, parent in enumerate(self.parents.tolist()):
            depths[segment] = 0 if parent == NO_SPLIT else depths[parent] + 1
        return tuple(np.flatnonzero(depths == each) for each in range(depths.max(initial=-1) + 1))

    def pictures(self, steps: int) -> dict[str, int]:
        """Return the segments of K steps that end in a picture, by its content key.

        It is stored, of one that was made anew the last one, or else coming.
        """
        last = self.stops == steps
        stored = np.flatnonzero(self.stored & last)
        stored = stored[np.argsort(self.made[stored], kind="stable")]
        ends = [*np.flatnonzero(self.coming & last), *stored]
        return {self.prompts[self.founders[end][0]].content_key: int(end) for end in ends}

    def before(self, steps: int) -> Ids:
        """Return the segments that end before step K, whose ends are no pictures."""
        return np.flatnonzero(self.stops < steps)

    def splits(self, steps: int) -> Ids:
        """Return the stored segments that prompts of K steps may go on from."""
        return np.flatnonzero(self.stored & (self.stops < steps))

    def path(self, segment: int) -> list[int]:
        """Return the segments from the root down to this one."""
        path = []
        while segment != NO_SPLIT:
            path.append(segment)
            segment = int(self.parents[segment])
        return path[::-1]

    def last_split(self, end: int, steps: int) -> int:
        """Return the last stored split of no more steps on the way to an end, or -1."""
        before = (each for each in reversed(self.path(end)[:-1]) if self.stops[each] <= steps)
        return next((each for each in before if self.stored[each]), NO_SPLIT)

    @cached_property
    def sizes(self) -> Ids:
        """The number of founders of each segment, (S,)."""
        return self.founders.sizes


class Founders(Protocol):
    """What is known of a standing forest's prompts."""

    def sums(self, segments: Ids, units: bool) -> Vectors:
        """Return the sum of the founders of some segments, (M, D), float32, NaN where not known.

        Of their vectors, or of these scaled to length 1.
        """

    def vectors(self, prompts: Sequence[Founder]) -> Vectors:
        """Return the vectors of some prompts, (P, D), NaN where not known."""


@dataclass(frozen=True, eq=False)
class KnownFounders:
    """Founders whose vectors (F, D) are all at hand."""

    forest: StandingForest
    rows: Vectors

    def sums(self, segments: Ids, units: bool) -> Vectors:
        """See Founders."""
        rows = unit_vectors(self.rows) if units else self.rows
        return sum_founders(self.forest.founders.take(segments), rows)

    def vectors(self, prompts: Sequence[Founder]) -> Vectors:
        """See Founders."""
        places = {founder: place for place, founder in enumerate(self.forest.prompts)}
        return self.rows[[places[founder] for founder in prompts]]


def unit_vectors(vectors: Vectors) -> Vectors:
    """Return vectors (N, D) scaled to length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def sum_founders(founders: Steering, vectors: Vectors) -> Vectors:
    """Return the sum of each segment's founders, (M, D), of vectors (F, D) that their places name.

    The product of a sparse matrix of ones: no founder's vector is copied.
    """
    from scipy.sparse import csr_array

    ones = np.ones(len(founders.places), dtype=vectors.dtype)
    shape = (len(founders), len(vectors))
    return np.asarray(csr_array((ones, founders.places, founders.ends), shape=shape) @ vectors)


def make_standing(segments: Iterable[StandingSegment]) -> StandingForest:
    """Return the forest of segments whose parents are among them; of equal keys one is taken."""
    distinct: dict[str, StandingSegment] = {}
    for segment in segments:
        distinct.setdefault(segment.key, segment)
    found = list(distinct.values())
    places: dict[Founder, int] = {}
    for founder in chain.from_iterable(each.founders for each in found):
        places.setdefault(founder, len(places))
    founders = [np.array([places[f] for f in each.founders], np.int64) for each in found]
    spans = [(each.key, each.parent, each.start, each.stop) for each in found]
    states = [(each.stored, each.coming, each.made) for each in found]
    return arrange(spans, states, founders, tuple(places))


def arrange(
    spans: Sequence[tuple[str, str | None, int, int]],
    states: Sequence[tuple[bool, bool, float]],
    founders: Sequence[Ids],
    prompts: tuple[Founder, ...],
) -> StandingForest:
    """Return the forest of distinct segments, whose parents are among them.

    `spans` are their keys, those of their parents, starts and stops; `states` whether each is
    stored or coming, and when it was made; `founders` places among the prompts.
    """
    # A parent stops where its child starts, so it has started before.
    order = sorted(range(len(spans)), key=lambda each: (spans[each][2], spans[each][0]))
    place = {spans[segment][0]: number for number, segment in enumerate(order)}
    parents = [NO_SPLIT if (key := spans[each][1]) is None else place[key] for each in order]
    stored, coming, made = np.array(states, np.float64).reshape(-1, 3)[order].T
    return StandingForest(
        tuple(place),
        np.array(parents, np.int64),
        np.array([spans[each][2] for each in order], np.int64),
        np.array([spans[each][3] for each in order], np.int64),
        gather([founders[each] for each in order]),
        stored.astype(bool),
        coming.astype(bool),
        prompts,
        made,
    )


def find_substitutes(forest: StandingForest, lost: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Return, for founders whose vectors are lost, those whose mean stands for them.

    A lost founder counts as the mean of those that it steered its smallest segment with, which
    leaves their mean where it is. One that steered with lost ones alone has none.
    """
    steering, gone = forest.founders, set(lost)
    here = np.isin(steering.places, np.fromiter(gone, np.int64, len(gone)))
    concerned = np.unique(steering.segments[here])
    waiting, found = set(lost), dict[int, tuple[int, ...]]()
    for segment in concerned[np.argsort(steering.sizes[concerned], kind="stable")].tolist():
        founders = steering[segment]
        left = tuple(each for each in founders if each not in gone)
        for each in waiting.intersection(founders) if left else ():
            found[each] = left
        waiting -= found.keys()
    return found


def best_splits(
    forest: StandingForest, steps: int, size: int, gains: Callable[[slice, Ids], Gains]
) -> Ids:
    """Return, for each of N prompts, the split that it gains most by going on from; -1 for none.

    `gains(rows, segments)` returns what some of the prompts gain by sharing each segment's steps,
    (rows, segments), -inf where they may not. The gain of a split is the sum down to it, and one
    that is not above 0 is none. Memory is bounded: prompts are taken in blocks.
    """
    best = np.full(size, NO_SPLIT)
    splits = forest.splits(steps)
    if not len(splits):
        return best
    block = max(1, _BLOCK // len(forest))
    levels = [level[forest.stops[level] < steps] for level in forest.levels]
    parts = [level[i : i + _PART] for level in levels for i in range(0, len(level), _PART)]
    for first in range(0, size, block):
        rows = slice(first, min(first + block, size))
        # The last column is noise, which is the parent of roots.
        total = np.zeros((rows.stop - first, len(forest) + 1), dtype=np.float32)
        for part in parts:
            above = total[:, forest.parents[part]]
            reached = np.isfinite(above).any(axis=0)
            above[:, reached] += gains(rows, part[reached])
            total[:, part] = above
        chosen = total[:, splits]
        places = chosen.argmax(axis=1)
        gained = chosen[np.arange(len(chosen)), places] > 0
        best[rows] = np.where(gained, splits[places], NO_SPLIT)
    return best
