"""Who steers a segment where a founder was forgotten."""

from __future__ import annotations

import numpy as np

from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.plan import make_plan
from hierdiff_core.schedule import make_schedule
from tasks.worker.steering import find_others

VECTORS = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
PLAN = make_plan(build_tree(VECTORS, "average"), make_schedule(8, 1.5))
SEGMENTS = range(len(PLAN.segments))


def test_those_who_are_left_steer_and_where_none_is_those_who_share_the_segment() -> None:
    founders = {tuple(sorted(PLAN.founders(each))) for each in PLAN.segments}
    assert founders >= {(0, 1, 2, 3), (0, 1), (0,)}
    found = find_others(PLAN, SEGMENTS, {0})
    assert found == {(0, 1, 2, 3): (1, 2, 3), (0, 1): (1,), (0,): (0,)}
    found = find_others(PLAN, SEGMENTS, {0, 1})
    assert (found[0, 1, 2, 3], found[0, 1]) == ((2, 3), (0, 1))


def test_nothing_changes_where_nobody_was_forgotten() -> None:
    assert find_others(PLAN, SEGMENTS, set()) == {}
