"""Steering: what the segments of a shard are denoised under, where a founder was forgotten, too."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hierdiff_core.embedding import Conditioning, Members, Slot
from hierdiff_core.plan import Plan
from hierdiff_core.streamed import StreamedConditioning
from tasks.embed import read_conditionings
from tasks.ledger import erased_embeddings
from tasks.stores import Stores
from tasks.worker.shard import Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Left:
    """The conditioning where some founders were forgotten: others steer in their place."""

    members: Members
    instead: Mapping[tuple[int, ...], tuple[int, ...]]  # who steers, by ascending founders

    def blank(self) -> Conditioning:
        """See Members."""
        return self.members.blank()

    def mean(self, members: Sequence[int], slots: Sequence[Slot] = ()) -> Conditioning:
        """See Members."""
        founders = tuple(sorted(members))
        return self.members.mean(self.instead.get(founders, founders), slots)


def open_conditioning(stores: Stores, work: Work, segments: Iterable[int]) -> Members:
    """Return what steers the named segments, of which no more is held than there is room for.

    Here, and where more is read later, raises LostEmbeddings; of forgotten rows nothing is wanted.
    """
    wanted = list(segments)
    keys = [leaf.embedding_key for leaf in (*work.night.leaves, *work.night.guests)]
    founders = {leaf for each in wanted for leaf in work.plan.founders(work.plan.segments[each])}
    with stores.session() as session:
        erased = erased_embeddings(session, {keys[leaf] for leaf in founders})
    instead = find_others(work.plan, wanted, {leaf for leaf in founders if keys[leaf] in erased})
    if instead:
        log.warning("%d segments are steered without rows that were forgotten", len(instead))
        founders = founders.union(*instead.values())
    needed = sorted(leaf for leaf in founders if keys[leaf] not in erased)
    return Left(StreamedConditioning(keys, partial(read_conditionings, stores), needed), instead)


def find_others(
    plan: Plan, segments: Iterable[int], gone: Collection[int]
) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return who steers segments that `gone` founders would, by the founders of each.

    Those that are left; or else the prompts that share the segment tonight.
    """
    found = {}
    for segment in (plan.segments[each] for each in segments):
        founders = tuple(sorted(plan.founders(segment)))
        left = tuple(each for each in founders if each not in gone)
        if left != founders:
            found[founders] = left or tuple(sorted(plan.members(segment)))
    return found
