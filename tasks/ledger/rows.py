"""Rows: how a night's plan is laid out in the tables; `plans` writes them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.ledger.stored_plan import NightPlan, Node
from tasks.states import SegmentState, SubtreeState


@dataclass(frozen=True, slots=True)
class Done:
    """The end state of a segment that an earlier run finished."""

    sha256: str | None = None
    bytes: int | None = None
    preview: str | None = None
    finished_at: datetime | None = None


def run_row(run: uuid.UUID, batch: int, night: NightPlan) -> dict[str, Any]:
    """Return the row of table runs."""
    return {
        "id": run,
        "batch_id": batch,
        "recipe": night.recipe.to_json(),
        "planner": night.plan.planner,
        "linkage": night.plan.linkage,
        "tau": night.plan.tau,
        "price": night.plan.price,
        "steps": night.plan.steps,
        "saving_asked": night.saving_asked,
        "steps_per_image": night.steps_per_image,
        "tuned": night.tuned or None,
        "shards": len(night.shards) - 1,
        "leaves": night.plan.size,
        "plan_order": list(night.plan.order),
        "evaluations_planned": night.plan.evaluations,
        "evaluations_standard": night.plan.evaluations_standard,
    }


def tree_rows(run: uuid.UUID, night: NightPlan) -> list[dict[str, Any]]:
    """Return the rows of table trees."""
    return [
        {
            "run_id": run,
            "index": index,
            "compatibility_key": tree.compatibility_key,
            "recipe": tree.recipe.to_json(),
            "first_leaf": tree.first_leaf,
            "leaves": tree.leaves,
        }
        for index, tree in enumerate(night.trees)
    ]


def leaf_rows(run: uuid.UUID, night: NightPlan) -> list[dict[str, Any]]:
    """Return the rows of table leaves."""
    return [
        {
            "run_id": run,
            "leaf": number,
            "content_key": leaf.content_key,
            "embedding_key": leaf.embedding_key,
            "text_key": leaf.text_key or None,
            "loss": leaf.loss,
        }
        for number, leaf in enumerate((*night.leaves, *night.guests))
    ]


def node_rows(run: uuid.UUID, nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return the rows of table nodes."""
    return [
        {
            "run_id": run,
            "node": number,
            "tree": node.tree,
            "left": node.left,
            "right": node.right,
            "height": node.height,
            "size": node.size,
        }
        for number, node in enumerate(nodes)
    ]


def subtree_rows(
    run: uuid.UUID, night: NightPlan, done: Collection[str], pictures: Collection[int]
) -> list[dict[str, Any]]:
    """Return the rows of table subtrees, one for each shard.

    `done` are keys of segments, and `pictures` leaves, that earlier runs have made.
    """

    def is_made(segment: int) -> bool:
        plan, here = night.plan, night.plan.segments[segment]
        drawn = not plan.is_leaf(here) or plan.order[here.first] in pictures
        return drawn and segment not in night.anew and night.keys[segment] in done

    return [
        {
            "run_id": run,
            "shard": shard,
            # A shard of which nothing is left to make has nothing that anyone could run.
            "state": SubtreeState.COMPLETED
            if all(map(is_made, segments))
            else SubtreeState.WAITING,
            "evaluations_planned": sum(night.plan.segments[each].steps for each in segments),
        }
        for shard, segments in enumerate(night.shards)
    ]


def segment_rows(
    run: uuid.UUID, night: NightPlan, done: Mapping[str, Done]
) -> list[dict[str, Any]]:
    """Return the rows of table segments; those whose key is `done` have nothing left to do."""
    shard_of = {each: shard for shard, segments in enumerate(night.shards) for each in segments}
    tree_of = [index for index, tree in enumerate(night.trees) for _ in range(tree.leaves)]
    return [
        {
            "run_id": run,
            "segment": segment.id,
            "tree": tree_of[night.plan.order[segment.first]],
            "node": segment.node,
            "start": segment.start,
            "stop": segment.stop,
            "parent": segment.parent,
            "first": segment.first,
            "last": segment.last,
            "founders": None if segment.founders is None else list(segment.founders),
            "key": key,
            "shard": shard_of[segment.id],
            "failures": 0,
            "anew": segment.id in night.anew,
            **_progress(None if segment.id in night.anew else done.get(key)),
        }
        for segment, key in zip(night.plan.segments, night.keys, strict=True)
    ]


def _progress(done: Done | None) -> dict[str, Any]:
    state = SegmentState.WAITING if done is None else SegmentState.DONE
    known = done or Done()
    return {
        "state": state,
        "reused": done is not None,
        "sha256": known.sha256,
        "bytes": known.bytes,
        "preview": known.preview,
        "finished_at": known.finished_at,
    }
