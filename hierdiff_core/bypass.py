"""Bypassing: what becomes of a cluster's members where the cluster itself cannot be denoised."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from hierdiff_core.plan import Plan


def bypass(plan: Plan, clusters: Collection[int]) -> Plan:
    """Return the plan in which the members of some segments go on from the split above those.

    Segments keep their numbers; a bypassed one keeps its place and has nothing below it. Its
    members take its steps each for itself.
    """
    if not clusters:
        return plan
    segments = list(plan.segments)
    for segment in plan.segments:
        if segment.parent is not None and segment.parent in clusters:
            above = segments[segment.parent]
            segments[segment.id] = replace(segment, start=above.start, parent=above.parent)
    return replace(plan, segments=tuple(segments))
