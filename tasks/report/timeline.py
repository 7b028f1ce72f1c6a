"""Where a night's time went: lines that add up to the time from its first stage to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tasks.states import Stage

BEFORE = (Stage.READ, Stage.EMBED, Stage.PLAN)  # stages before the run was stored
# Stages that hold the device.
PAID = (Stage.LOAD, Stage.PROBE, Stage.DENOISE, Stage.DECODE, Stage.SAMPLE)
WAIT, STORE, PUBLISH = "wait for a worker", "ledger and storage", "check and publish"

Span = tuple[datetime, datetime]


def make_timeline(
    seconds: Mapping[str, float], spans: Sequence[Span], created: datetime, end: datetime
) -> dict[str, float]:
    """Return the seconds of each part of a night, in the order in which they came.

    `seconds` are those of stages, summed over workers; `spans` are from the first start of each
    subtree to its end. Until the run was `created` stages follow each other. After that, as long as
    any subtree is under way, the time is divided as the stages divide all workers' time; a worker
    is waited for while none is, the start of its process and a holder's reading of weights
    included; and what comes after the last one is the check and the report.
    """
    ends = [stop for _, stop in spans]
    last = max(ends, default=created)
    busy = _covered(spans)
    work = sum((stop - start).total_seconds() for start, stop in spans)
    share = busy / work if work else 0.0
    within: dict[str, float] = {stage: seconds.get(stage, 0.0) * share for stage in PAID}
    return {
        **{stage: seconds.get(stage, 0.0) for stage in BEFORE},
        WAIT: max(0.0, (last - created).total_seconds() - busy),
        **within,
        STORE: max(0.0, busy - sum(within.values())),
        PUBLISH: max(0.0, (end - last).total_seconds()),
    }


def _covered(spans: Iterable[Span]) -> float:
    """Return the seconds in which at least one span is open."""
    covered, until = 0.0, None
    for start, stop in sorted(spans):
        begin = start if until is None else max(start, until)
        covered += max(0.0, (stop - begin).total_seconds())
        until = stop if until is None else max(until, stop)
    return covered
