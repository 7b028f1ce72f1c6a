"""A night on many GPUs, simulated: the trunk on one, then each shard on the next that is free.

The sampler's own queue says which rows share a call. What a call takes is an assumption, what a
shard takes beside its calls was measured.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.ready_queue import ReadyQueue
from hierdiff_core.shard import make_shards

# Seconds of a call of n rows, as of a UNet of 512 pixels on a data centre's GPU: an assumption.
CALL, ROW = 0.04, 0.06
START = 1.0  # seconds from a flow run's turn to its first read, with a warm worker
MOST_SHARDS = 1000  # of a night, as HIERDIFF_SHARDS allows
GOALS = {8: 0.97, 64: 0.95, 512: 0.85}
# Assumptions, of no provider: dollars an hour, and how often a spot machine is taken away.
PRICE, SPOT, TAKEN = 3.00, 1.20, 0.10  # the last: times an hour
AWAY = 120.0  # seconds until another machine stands in its place and has the weights


@dataclass(frozen=True)
class Rates:
    """What was measured of workers."""

    loading: float  # seconds in which a shard reads the night's plan
    waiting: float  # share of its time that a device waits for the ledger


@dataclass(frozen=True)
class Night:
    """A simulated night."""

    gpus: int
    shards: int
    seconds: float
    losses: Mapping[str, float]  # seconds of it that are not the work divided by the GPUs

    @property
    def bound(self) -> str:
        """What most keeps the night from being shorter."""
        name = max(self.losses, key=self.losses.__getitem__)
        return f"{name}: {self.losses[name] / self.seconds:.1%} of the night"


def simulate(plan: Plan, slots: int, rates: Rates, gpus: Sequence[int]) -> Outcome:
    """Return speed over linear and cost of a plan's night on so many GPUs."""
    alone = _run(plan, range(len(plan.segments)), slots, rates)
    nights = [_fastest(plan, slots, rates, count) for count in gpus]
    speeds = [alone / (night.gpus * night.seconds) for night in nights]
    return Outcome(
        figures=tuple(
            Figure(
                f"{night.gpus} GPUs, {plan.size:,} prompts, simulated: speed over linear",
                speed,
                ".3f",
                goal=Goal(least=GOALS[night.gpus]) if night.gpus in GOALS else None,
            )
            for night, speed in zip(nights, speeds, strict=True)
        ),
        tables=(_table(plan, alone, nights, speeds),),
        notes=(
            f"The simulated night: a call of n rows takes {CALL} + {ROW} n s, a flow run's start "
            f"{START} s, reading the plan {rates.loading:.1f} s (measured above, and as many times "
            f"longer as the plan is larger), and devices wait for the ledger as measured. Prices "
            f"are assumptions: {PRICE:.2f} an hour, {SPOT:.2f} on spot machines, of which each is "
            f"taken away {TAKEN} times an hour and replaced in {AWAY:.0f} s; no evaluation is lost "
            "then (`python -m benchmarks.faults leaving`). Planning, embedding and publishing are "
            "not in it.",
        ),
    )


def _fastest(plan: Plan, slots: int, rates: Rates, gpus: int) -> Night:
    """Return the night with the best number of shards."""
    counts = {min(gpus * times, MOST_SHARDS) for times in (1, 2, 4)}
    return min((_night(plan, slots, rates, gpus, each) for each in counts), key=_seconds)


def _seconds(night: Night) -> float:
    return night.seconds


def _night(plan: Plan, slots: int, rates: Rates, gpus: int, count: int) -> Night:
    trunk, *shards = make_shards(plan, count)
    first = _run(plan, trunk, slots, rates) if trunk else 0.0
    done = frozenset(trunk)
    seconds = [_run(plan, shard, slots, rates, done) for shard in shards if shard]
    free = [first] * gpus
    for each in seconds:  # in the order of their flow runs
        heapq.heappush(free, heapq.heappop(free) + each)
    longest = max(free)
    losses = {
        "the trunk, on one GPU": first * (1 - 1 / gpus),
        "shards that end at different times": longest - sum(free) / gpus,
        "starts, and reading the plan": len(seconds) * (START + rates.loading) / gpus,
    }
    return Night(gpus, count, longest, losses)


def _run(
    plan: Plan,
    segments: Collection[int],
    slots: int,
    rates: Rates,
    finished: Collection[int] = frozenset(),
) -> float:
    """Return the seconds of a shard on one GPU."""
    queue, calls = ReadyQueue(plan, segments, finished, slots), 0.0
    while queue.ready or queue.rows:
        queue.fill(slots)
        # As many steps as all rows have left before one of them ends.
        steps = min(row.segment.stop - row.step for row in queue.rows)
        calls += steps * (CALL + ROW * len(queue.rows))
        for row in queue.rows:
            row.step += steps
        queue.collect()
    return START + rates.loading + calls / (1 - rates.waiting)


def _table(plan: Plan, alone: float, nights: Sequence[Night], speeds: Sequence[float]) -> Table:
    one = [("1", "1", alone / 3600, 1.0, alone / 3600 * PRICE, *_on_spot(1, alone), "the work")]
    return Table(
        f"A night of {plan.size:,} prompts and {plan.evaluations:,} evaluations, simulated",
        (
            Column("GPUs"),
            Column("shards"),
            Column("hours", ".2f"),
            Column("speed over linear", ".3f"),
            Column("cost", ".0f"),
            Column("hours on spot machines", ".2f"),
            Column("cost on these", ".0f"),
            Column("bound by"),
        ),
        one
        + [
            (
                str(night.gpus),
                str(night.shards),
                night.seconds / 3600,
                speed,
                night.gpus * night.seconds / 3600 * PRICE,
                *_on_spot(night.gpus, night.seconds),
                night.bound,
            )
            for night, speed in zip(nights, speeds, strict=True)
        ],
    )


def _on_spot(gpus: int, seconds: float) -> tuple[float, float]:
    """Return hours and cost where machines are taken away now and then."""
    hours = seconds / 3600 / (1 - TAKEN * AWAY / 3600)
    return hours, gpus * hours * SPOT
