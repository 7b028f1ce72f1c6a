"""The splits of a plan that get a preview: the largest, and not too many.

A preview costs about as much as an evaluation, so they must stay few.
"""

from __future__ import annotations

from hierdiff_core.plan import Plan

_FEWEST, _MOST = 24, 400  # more would make the report heavy
_SHARE = 0.01  # of the plan's evaluations


def choose_splits(plan: Plan) -> tuple[int, ...]:
    """Return the splits that previews are made of: those with the most leaves below, ascending."""
    count = min(_MOST, max(_FEWEST, round(_SHARE * plan.evaluations)))
    splits = [segment for segment in plan.segments if not plan.is_leaf(segment)]
    largest = sorted(splits, key=lambda segment: (-segment.size, segment.id))[:count]
    return tuple(sorted(segment.id for segment in largest))
