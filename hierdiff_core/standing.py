"""The standing forest: what earlier nights have made of a recipe, which a night goes on from.

A stored split is a state that the mean of its founders has steered so far. A prompt that is near
enough to that mean may go on from it as if it had shared those steps: the mean does not move, and
the steps are paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]
Gains = npt.NDArray[np.floating]

_BLOCK = 2**25  # numbers in a block of gains
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
class StandingForest:
    """Segments of earlier nights, S of one recipe; parents come before their children."""

    keys: tuple[str, ...]
    parents: Ids  # (S,), -1 at a root
    starts: Ids  # (S,)
    stops: Ids  # (S,)
    founders: tuple[tuple[int, ...], ...]  # of each segment: places in `prompts`
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

    def sums(self, vectors: Vectors, segments: Ids) -> Vectors:
        """Return the sum of the founders of some segments, (M, D), of vectors (F, D) of `prompts`.

        The product of a sparse matrix of ones: no founder's vector is copied.
        """
        from scipy.sparse import csr_array

        founders = [self.founders[segment] for segment in segments.tolist()]
        columns = np.fromiter(chain.from_iterable(founders), np.int64)
        ends = np.concatenate([[0], np.cumsum(self.sizes[segments])])
        ones = np.ones(len(columns), dtype=vectors.dtype)
        members = csr_array((ones, columns, ends), shape=(len(segments), len(vectors)))
        return np.asarray(members @ vectors)

    @cached_property
    def sizes(self) -> Ids:
        """The number of founders of each segment, (S,)."""
        return np.array([len(each) for each in self.founders], dtype=np.int64)


def make_standing(segments: Iterable[StandingSegment]) -> StandingForest:
    """Return the forest of segments whose parents are among them; of equal keys one is taken."""
    distinct: dict[str, StandingSegment] = {}
    for segment in segments:
        distinct.setdefault(segment.key, segment)
    # A parent stops where its child starts, so it has started before.
    ordered = sorted(distinct.values(), key=lambda each: (each.start, each.key))
    place = {segment.key: number for number, segment in enumerate(ordered)}
    prompts, founders = _number_founders(ordered)
    return StandingForest(
        tuple(place),
        np.array([place[each.parent] if each.parent else NO_SPLIT for each in ordered], np.int64),
        np.array([each.start for each in ordered], np.int64),
        np.array([each.stop for each in ordered], np.int64),
        founders,
        np.array([each.stored for each in ordered], bool),
        np.array([each.coming for each in ordered], bool),
        prompts,
        np.array([each.made for each in ordered], np.float64),
    )


def _number_founders(
    segments: Iterable[StandingSegment],
) -> tuple[tuple[Founder, ...], tuple[tuple[int, ...], ...]]:
    """Return the distinct founders, and those of each segment as places among them."""
    places: dict[Founder, int] = {}
    known: dict[int, int] = {}  # by identity: most equal founders are one object, found sooner so

    def place(founder: Founder) -> int:
        number = known.get(id(founder))
        if number is None:
            number = known[id(founder)] = places.setdefault(founder, len(places))
        return number

    numbers = tuple(tuple(map(place, each.founders)) for each in segments)
    return tuple(places), numbers


def without_founders(
    forest: StandingForest, vectors: Vectors, lost: Collection[int]
) -> tuple[StandingForest, Vectors]:
    """Return a forest, and vectors (F, D) of its prompts, that do without those of lost ones.

    A lost founder counts as the mean of those that it steered its smallest segment with, which
    leaves their mean where it is; what lost ones steered alone counts as not stored.
    """
    gone, filled, stored = set(lost), vectors.copy(), forest.stored.copy()
    waiting = set(lost)
    for segment in np.argsort(forest.sizes, kind="stable").tolist():
        founders = forest.founders[segment]
        if gone.isdisjoint(founders):
            continue
        left = [each for each in founders if each not in gone]
        stored[segment] &= bool(left)
        for each in waiting.intersection(founders) if left else ():
            filled[each] = vectors[left].mean(axis=0)
            waiting.discard(each)
    return replace(forest, stored=stored), filled


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
    for first in range(0, size, block):
        rows = slice(first, min(first + block, size))
        # The last column is noise, which is the parent of roots.
        total = np.zeros((rows.stop - first, len(forest) + 1), dtype=np.float32)
        for level in levels:
            total[:, level] = total[:, forest.parents[level]] + gains(rows, level)
        chosen = total[:, splits]
        places = chosen.argmax(axis=1)
        gained = chosen[np.arange(len(chosen)), places] > 0
        best[rows] = np.where(gained, splits[places], NO_SPLIT)
    return best
