"""The work of one shard: its part of the plan, what is done of it, and the names of its results."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hierdiff_core.bypass import bypass
from hierdiff_core.checkpoint import State, unpack
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.keys import node_key
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.png import encode_png, trace
from hierdiff_core.prompt import Prompt, content_key
from tasks.errors import CorruptObject, MissingObject
from tasks.ledger import (
    NightPlan,
    SegmentFailure,
    StoredSegment,
    Tree,
    load_failures,
    load_images,
    load_plan,
    load_previews,
    load_run_prompts,
    parked_segments,
    stored_segments,
)
from tasks.object_keys import checkpoint_key, picture_key
from tasks.storage import Bucket
from tasks.stores import Stores
from tasks.worker.write_batch import Object, Picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What a worker needs to run a shard."""

    run: uuid.UUID
    shard: int
    night: NightPlan  # its plan goes around clusters that are set aside
    undisturbed: Plan  # the plan as it was made, which sets the shapes of calls
    prompts: tuple[Prompt, ...]  # the first one of each leaf
    done: dict[int, StoredSegment]  # of all segments; those found damaged are taken out
    parked: dict[int, StoredSegment]  # segments of the shard that were left between two steps
    pictures: frozenset[int]  # leaves that have one
    previews: frozenset[int]  # splits that have one
    failures: dict[int, SegmentFailure]  # of all segments that are not done

    @property
    def plan(self) -> Plan:
        """The whole plan."""
        return self.night.plan

    @cached_property
    def content_keys(self) -> tuple[str, ...]:
        """One for each leaf, then for each founder that wants no picture."""
        return self.night.content_keys

    @cached_property
    def picture_bytes(self) -> int:
        """The memory of the largest picture's pixels."""
        return max(3 * tree.recipe.height * tree.recipe.width for tree in self.night.trees)

    def tree(self, segment: int) -> Tree:
        """Return the tree that a segment belongs to."""
        leaf = self.plan.order[self.plan.segments[segment].first]
        return next(t for t in self.night.trees if t.first_leaf <= leaf < t.first_leaf + t.leaves)

    def is_set_aside(self, segment: int) -> bool:
        """Return whether a segment has failed and is not tried again in this attempt."""
        return segment in self.failures and self.failures[segment].set_aside

    def wanted(self) -> set[int]:
        """Return the segments to run: the shard's unfinished ones, and lost ones above them."""
        wanted: set[int] = set()
        for segment in self.night.shards[self.shard]:
            here: int | None = None if self.is_set_aside(segment) else segment
            while here is not None and here not in self.done and here not in wanted:
                wanted.add(here)
                here = self.plan.segments[here].parent
        return wanted

    def chosen(self, wanted: Collection[int]) -> list[int]:
        """Return those of the wanted segments to run next: all that have never failed.

        Where nothing else is left, one that has failed before is run alone.
        """
        suspect = {each for each in wanted if each in self.failures}
        below = {under for each in suspect for under in self.plan.subtree(each)}
        if free := sorted(set(wanted) - below):
            return free
        ready = [each for each in suspect if self.plan.segments[each].parent not in wanted]
        # Who failed most often first: the sooner it is done or set aside.
        return sorted(ready, key=lambda each: (-self.failures[each].failures, each))[:1]

    def undrawn(self) -> list[int]:
        """Return the shard's leaves that are done but have no picture of this run."""
        ends = [each for each in self.night.shards[self.shard] if each in self.done]
        # One that nobody asks for any more is done and has no object.
        ends = [each for each in ends if self.done[each].sha256]
        return [leaf for leaf in self.leaves_of(ends) if leaf not in self.pictures]

    def leaves_of(self, segments: Iterable[int]) -> list[int]:
        """Return the leaves that segments of the plan end in."""
        plan = self.plan
        ends = (plan.segments[each] for each in sorted(segments))
        return [plan.order[segment.first] for segment in ends if plan.is_leaf(segment)]


def load_work(stores: Stores, run: uuid.UUID, shard: int) -> Work:
    """Return a shard's work as it stands now; raises UnknownRun."""
    with stores.session() as session:
        night = load_plan(session, run)
        prompts = {content_key(each): each for each in reversed(load_run_prompts(session, run))}
        done, pictures = stored_segments(session, run), load_images(session, run)
        previews, parked = load_previews(session, run), parked_segments(session, run, shard)
        failures = load_failures(session, run)
    clusters = {
        each
        for each, failure in failures.items()
        if failure.set_aside and not night.plan.is_leaf(night.plan.segments[each])
    }
    return Work(
        run=run,
        shard=shard,
        night=replace(night, plan=bypass(night.plan, clusters)),
        undisturbed=night.plan,
        # One that was forgotten is never drawn.
        prompts=tuple(
            prompts.get(leaf.content_key, Prompt(0, "", "", night.recipe)) for leaf in night.leaves
        ),
        done=done,
        parked=parked,
        pictures=frozenset(pictures),
        previews=frozenset(previews),
        failures=failures,
    )


class StoredStates(Mapping[int, State]):
    """The states of finished splits, fetched when they are asked for.

    Splits of one moment share an object, and the last one fetched is kept: neighbours ask for it
    again. Fetching raises MissingObject, CorruptObject or CorruptCheckpoint, and leaves the
    segment's number in `damaged`.
    """

    def __init__(self, bucket: Bucket, done: Mapping[int, StoredSegment]) -> None:
        self.bucket, self.done = bucket, done
        self.damaged: int | None = None
        self._fetched = ""  # sha256 of the object whose states are kept
        self._states: dict[str, State] = {}

    def __getitem__(self, segment: int) -> State:
        entry = self.done[segment]
        self.damaged = segment
        if entry.sha256 != self._fetched:
            packed = self.bucket.get(checkpoint_key(entry.sha256), entry.sha256)
            self._states, self._fetched = unpack(packed, entry.key), entry.sha256
        if entry.key not in self._states:
            raise CorruptCheckpoint(key=entry.key, reason="its object does not hold it")
        self.damaged = None
        return self._states[entry.key]

    def __iter__(self) -> Iterator[int]:
        return iter(self.done)

    def __len__(self) -> int:
        return len(self.done)


class ParkedStates(StoredStates):
    """The states of segments that were left between two steps; a damaged one counts as not there.

    Such a segment is started anew.
    """

    def __getitem__(self, segment: int) -> State:
        try:
            return super().__getitem__(segment)
        except (MissingObject, CorruptObject, CorruptCheckpoint) as damage:
            log.warning("%s", damage)
            raise KeyError(segment) from None


def name_noise(work: Work, segment: Segment) -> str:
    """Return the name by which a segment draws noise, here and in the sampler alike."""
    return node_key(work.plan, segment, work.content_keys, work.night.text_keys)


def picture(work: Work, leaf: int, pixels: npt.NDArray[np.uint8], *, with_prompt: bool) -> Picture:
    """Return a leaf's picture as the object to store, under the digest of its bytes."""
    prompt, key = work.prompts[leaf], work.content_keys[leaf]
    facts = trace(work.plan, leaf, prompt=prompt, run=str(work.run), content_key=key)
    body = encode_png(pixels, facts, with_prompt=with_prompt)
    made = Object(picture_key(hashlib.sha256(body).hexdigest()), body, "image/png")
    height, width = pixels.shape[:2]
    return Picture(work.plan.leaf_segment(leaf).id, leaf, made, width, height)


def by_tree(work: Work, segments: Sequence[int]) -> dict[Tree, list[int]]:
    """Return segments under the tree that they belong to."""
    trees: dict[Tree, list[int]] = {}
    for segment in sorted(segments):
        trees.setdefault(work.tree(segment), []).append(segment)
    return trees


def parts_of(work: Work, tree: Tree) -> tuple[list[int], ...]:
    """Return a tree's segments in the trunk and in each shard, which are run apart."""
    return tuple(by_tree(work, shard).get(tree, []) for shard in work.night.shards)
