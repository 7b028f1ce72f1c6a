"""What failed alone: it is set aside, the rest goes around it, and its rows are named."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable

from hierdiff_core.bypass import bypass
from hierdiff_core.keys import segment_keys
from hierdiff_core.sampling.isolate import reason_of, try_call
from tasks.errors import RowsSetAside
from tasks.lease import Hold
from tasks.ledger import (
    MOST,
    SetAside,
    change_keys,
    fail_segments,
    list_set_aside,
    start_segments,
    stored_segments,
)
from tasks.stores import Stores
from tasks.worker.shard import Work

NAMED = 5  # rows that an error names

# Errors that a recipe may be to blame for: not those of a database, a network or a disk.
_FAULTS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def set_tree_aside(
    hold: Hold,
    work: Work,
    segments: Collection[int],
    denoise: Callable[[], None],
    others: Iterable[Callable[[], object]],
) -> None:
    """Denoise segments of a tree; where that fails and one of `others` does not, set them aside.

    Raises the error otherwise: then the machine is to blame, not the tree's recipe.
    """
    failure = try_call(denoise)
    if failure is None:
        return
    blamed = isinstance(failure, _FAULTS) and any(
        not isinstance(try_call(each), Exception) for each in others
    )
    if not blamed:
        raise failure
    with hold.session() as session:
        unfinished = set(segments) - set(stored_segments(session, work.run))
        fail_segments(session, work.run, dict.fromkeys(unfinished, reason_of(failure)))


def go_around(hold: Hold, work: Work) -> bool:
    """Give what is below set-aside clusters the keys of the steps that it will take now.

    Returns False where there is no such cluster that the work's plan does not go around already.
    """
    plan, aside = work.undisturbed, {each for each in work.failures if work.is_set_aside(each)}
    if not any(work.plan.children[each] for each in aside):
        return False
    clusters = {each for each in aside if not plan.is_leaf(plan.segments[each])}
    recipes = [tree.compatibility_key for tree in work.night.trees for _ in range(tree.leaves)]
    around = bypass(plan, clusters)
    keys = segment_keys(around, work.content_keys, recipes, work.night.text_keys)
    below = {under for each in clusters for under in plan.subtree(each)} - clusters
    with hold.session() as session:
        change_keys(session, work.run, {each: keys[each] for each in below})
    return True


def write_started(hold: Hold, run: uuid.UUID, segments: tuple[int, ...]) -> None:
    """Note segments before their first step, so that a crash shows what was in flight."""
    with hold.session() as session:
        start_segments(session, run, segments)


def check_set_aside(stores: Stores, work: Work) -> None:
    """Raise RowsSetAside where rows of a shard have no picture since they failed alone."""
    with stores.session() as session:
        found = list_set_aside(session, work.run)
    mine = [each for each in found if each.shard == work.shard]
    if mine:
        raise RowsSetAside(count=len(mine), rows=name_rows(mine), most=MOST)


def name_rows(rows: Collection[SetAside]) -> str:
    """Return the first rows and their reasons as one line."""
    named = [str(each) for each in rows]
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    return "; ".join(named[:NAMED] + more)
