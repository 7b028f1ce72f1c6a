"""Founders: what the ledger knows of the prompts whose embeddings steer what stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hierdiff_core.standing import (
    Founder,
    Ids,
    StandingForest,
    Steering,
    find_substitutes,
    sum_founders,
    unit_vectors,
)
from tasks.embed import LedgerCache
from tasks.errors import LostEmbeddings
from tasks.ledger import find_prompts, lost_embeddings
from tasks.ledger.removal import hold_ground
from tasks.ledger.sums import keep_sums, read_sums
from tasks.stores import Stores

Rows = npt.NDArray[np.float32]

_AT_ONCE = 4096  # segments whose founders' vectors are held at once


@dataclass(frozen=True, eq=False)
class LedgerFounders:
    """The founders of a forest of one recipe; a Founders.

    Sums are kept, so only those of segments that are new since the last night need vectors. Raises
    LostEmbeddings where one is lost that can be made anew, since a night has its prompt.
    """

    stores: Stores
    recipe: str  # compatibility key
    forest: StandingForest
    width: int  # D of new rows' vectors; 0 where there are none

    def sums(self, segments: Ids, units: bool) -> Rows:
        """See Founders."""
        found = np.full((len(segments), self.width), np.nan, np.float32)
        with self.stores.session() as session:
            read_sums(session, [self.forest.keys[each] for each in segments], units, found)
        missing = np.flatnonzero(np.isnan(found[:, :1]).any(axis=1))
        for some in self._together(missing, segments):
            found[some] = self._make(segments[some], units)
        return found

    def vectors(self, prompts: Sequence[Founder]) -> Rows:
        """See Founders."""
        places = {founder: place for place, founder in enumerate(self.forest.prompts)}
        return self._read(np.array([places[founder] for founder in prompts], np.int64))

    def _together(self, missing: Ids, segments: Ids) -> Iterator[Ids]:
        """Yield parts of what is missing; segments of one night, which share founders, together."""
        steering = self.forest.founders
        first = steering.places[steering.ends[segments[missing]]]
        order = missing[np.argsort(first, kind="stable")]
        for start in range(0, len(order), _AT_ONCE):
            yield order[start : start + _AT_ONCE]

    def _make(self, segments: Ids, units: bool) -> Rows:
        """Return sums of founders, and keep those that are known."""
        steering = self.forest.founders.take(segments)
        places, here = np.unique(steering.places, return_inverse=True)
        with self.stores.session() as session:
            hold_ground(session, {self.recipe})  # from here on nobody forgets a founder
            rows = self._read(places)
            sums = sum_founders(
                Steering(steering.ends, here), unit_vectors(rows) if units else rows
            )
            known = np.flatnonzero(~np.isnan(sums[:, :1]).any(axis=1))
            kept = {self.forest.keys[segments[each]]: sums[each] for each in known}
            keep_sums(session, units, kept)
        return sums

    def _read(self, places: Ids) -> Rows:
        """Return the vectors of some prompts; means of others where theirs are lost for good."""
        rows = self._read_plain(places)
        lost = np.flatnonzero(np.isnan(rows[:, :1]).any(axis=1))
        if len(lost):
            self._refuse_remade(places[lost])
        for row in lost:
            others = self._substitutes.get(int(places[row]))
            if others:
                rows[row] = self._read_plain(np.array(others)).mean(axis=0)
        return rows

    def _read_plain(self, places: Ids) -> Rows:
        keys = [self.forest.prompts[place].embedding_key for place in places]
        found = LedgerCache(self.stores).vectors(set(keys))
        width = self.width or len(next(iter(found.values()), ()))
        rows = np.full((len(keys), width), np.nan, np.float32)
        for row, key in enumerate(keys):
            if key in found:
                rows[row] = found[key]
        return rows

    def _refuse_remade(self, places: Ids) -> None:
        lost = {self.forest.prompts[place].embedding_key for place in places}
        with self.stores.session() as session:
            again = set(find_prompts(session, lost))
        if again:
            raise LostEmbeddings(count=len(again), keys=frozenset(again))

    @cached_property
    def _substitutes(self) -> dict[int, tuple[int, ...]]:
        prompts = self.forest.prompts
        with self.stores.session() as session:
            lost = lost_embeddings(session, {each.embedding_key for each in prompts})
        gone = [place for place, each in enumerate(prompts) if each.embedding_key in lost]
        return find_substitutes(self.forest, gone)
