"""The sampler: a continuous batcher that walks a plan.

It is a generator: storage and progress are the caller's. Each round decides which segments take the
slots (`ready_queue`), computes calls of the denoiser (`batch`, in the widths of `call_widths`), and
records what has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from hierdiff_core.checkpoint import State
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Members
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.sampling.batch import NoiseSource, RowBatch
from hierdiff_core.sampling.call_widths import CallWidths
from hierdiff_core.sampling.isolate import NOT_FINITE, Failure, by_halves, reason_of, try_call
from hierdiff_core.sampling.ready_queue import ReadyQueue, Row
from hierdiff_core.sampling.transfers import Finished, Transfers
from hierdiff_core.solver import Solver

_HOPELESS = 8  # results that are not finite, and none that is, after which all rows are given up

__all__ = ["Failure", "Finished", "Job", "Round", "rounds", "run"]


@dataclass(frozen=True)
class Round:
    """One step of every row."""

    started: tuple[int, ...]  # segments whose first step this was
    evaluations: int  # rows that were evaluated, padding not counted
    padding: int  # rows that were computed for the shape of a call alone
    finished: tuple[Finished, ...]  # on a GPU those of the previous round
    slots: int  # rows that fit the device, fewer than the job's once its memory ran out
    failed: tuple[Failure, ...] = ()  # segments that failed alone; nothing below them is run
    parked: tuple[Finished, ...] = ()  # segments left between two steps, in the last round alone


@dataclass(frozen=True)
class Job:
    """One plan to denoise; all fields but `only` decide the latents.

    Slots, parts, `forwards` and `few_shapes` decide only their last bits: they set the shapes of
    calls.
    """

    plan: Plan
    conditioning: Members  # N rows, in the order of the leaves' numbers
    content_keys: Sequence[str]  # per leaf
    seed: int = 0
    initial_noise: str = "root"  # one draw per root segment, or one "shared" by all roots
    slots: int = 16  # rows in flight at once
    only: Collection[int] | None = None  # segments to run; None for all
    parts: Sequence[Collection[int]] | None = None  # segments that are run apart; None for one part
    forwards: Sequence[int] = ()  # passes of each step (K,), of which a call has one number
    few_shapes: bool = False  # calls of 1, 2, 4, 8 ... rows only, for a compiled network
    noise: torch.Tensor | None = None  # (N, *latent_shape) instead of draws; a root's lowest leaf
    isolate: bool = False  # continue without what fails alone or is not finite, and name it
    undisturbed: Plan | None = None  # sets the widths where clusters of the plan are bypassed
    text_keys: Sequence[str] = ()  # per leaf, where some are variants; see `node_key`
    noise_names: Sequence[str] = ()  # per segment, by which it draws noise; see `PlainPlan`


def run(
    job: Job, denoiser: Denoiser, solver: Solver, finished: Mapping[int, State] | None = None
) -> Iterator[Finished]:
    """Yield each segment as it ends, leaves early; see `rounds`."""
    for step in rounds(job, denoiser, solver, finished):
        yield from step.finished


@torch.no_grad()
def rounds(
    job: Job,
    denoiser: Denoiser,
    solver: Solver,
    finished: Mapping[int, State] | None = None,
    starting: Callable[[tuple[int, ...]], None] | None = None,
    parked: Mapping[int, State] | None = None,
    stopping: Callable[[], bool] | None = None,
) -> Iterator[Round]:
    """Yield the outcome of each round until no segment is left, or `stopping` says so.

    To resume, pass in the states of finished segments, and of those that were parked; a state is
    read only when a segment starts from it, so the mappings may load lazily. `starting` is called
    with the numbers of segments before their first step. A row depends on its own segment alone:
    its calls have the shapes that the plan gives them, so its bits are the same whatever its
    neighbours and interruptions. Rows in memory follow the slots and the depth of the plan. Where
    the device runs out of memory, later calls are half as wide (their last bits may then differ);
    no step is lost. With `isolate` a call that fails for one of its rows is halved until that row
    stands alone; it is named in `failed`, as is a segment that ends in latents that are not finite.
    Raises RuntimeError where that is all that comes of many.
    Raises InvalidSetting for slots below 1, or for a segment whose parent is neither finished nor
    among `only`.
    """
    if job.slots < 1:
        raise InvalidSetting(setting="slots", value=job.slots, hint="use a whole number above 0")
    state = _RunState(job, denoiser, solver, finished, parked)
    while state.queue.ready or state.queue.rows:
        if stopping is not None and stopping():
            state.park()
            break
        started = state.fill()
        if starting is not None and started:
            starting(started)
        evaluations, padding = state.step()
        state.collect()
        ended = state.arrived()
        yield Round(started, evaluations, padding, ended, state.limit, state.failures())
    late, failures = state.arrived(all_of_it=True), state.failures()
    if late or failures:
        ended = tuple(each for each in late if each.state.step == each.segment.stop)
        left = tuple(each for each in late if each.state.step < each.segment.stop)
        yield Round((), 0, 0, ended, state.limit, failures, left)


class _RunState:
    """One job under way: decide, compute, record."""

    def __init__(
        self,
        job: Job,
        denoiser: Denoiser,
        solver: Solver,
        finished: Mapping[int, State] | None,
        parked: Mapping[int, State] | None,
    ) -> None:
        finished = finished or {}
        everything = range(len(job.plan.segments))
        only = everything if job.only is None else job.only
        parts = [everything] if job.parts is None else job.parts
        shared = job.initial_noise == "shared"
        keys = (job.content_keys, job.seed, shared, job.noise, job.text_keys, job.noise_names)
        draws = NoiseSource(job.plan, *keys)
        self.queue = ReadyQueue(job.plan, only, finished, job.slots)
        rehearsed = job.plan if job.undisturbed is None else job.undisturbed
        self.forwards = job.forwards or (1,) * job.plan.steps
        self.widths = CallWidths(
            rehearsed, parts, job.slots, few=job.few_shapes, forwards=self.forwards
        )
        self.batch = RowBatch(job.slots, denoiser, solver, job.conditioning, draws)
        self.transfers = Transfers(denoiser.device)
        self.parents, self.parked = _ParentStates(finished), parked or {}
        self.limit, self.isolate = job.slots, job.isolate
        self.failed: list[Failure] = []
        self.sound = False  # whether any segment has ended in latents that are finite
        self.broken: set[int] = set()  # segments that ended in latents that are not finite

    def fill(self) -> tuple[int, ...]:
        """Start ready segments in free slots; return their ids."""
        started = self.queue.fill(self.limit)
        for row in started:
            own = self.parked.get(row.segment.id)
            row.step = row.step if own is None else own.step
            self.batch.place(row, self.parents.take(row.segment) if own is None else own)
        return tuple(row.segment.id for row in started)

    def step(self) -> tuple[int, int]:
        """Take one step of every row; return the number of rows, and of padding rows."""
        waiting, evaluations, padding = list(self.queue.rows), 0, 0
        while waiting:
            width, passes = self._width(waiting[0]), self.forwards[waiting[0].step]
            alike = (row for row in waiting if self.forwards[row.step] == passes)
            call = [row for row in alike if self._width(row) == width][:width]
            taken = self._isolate(call, width) if self.isolate else self._fit(call, width)
            if taken is None:
                continue
            evaluations += len(taken)
            padding += width - len(call)
            waiting = [row for row in waiting if row not in call]
            for row in taken:
                row.step += 1
        return evaluations, padding

    def collect(self) -> None:
        """Send off the states of ended segments and keep them for their children."""
        ended = self.queue.collect()
        for row, state in zip(ended, self.batch.states(ended), strict=True):
            self.transfers.put(row.segment, state)
            self.parents.keep(row.segment, state, len(self.queue.children(row.segment)))
        self.transfers.close_round()

    def park(self) -> None:
        """Send off the states of rows that have taken steps and not ended."""
        under_way = [row for row in self.queue.rows if row.step > row.segment.start]
        for row, state in zip(under_way, self.batch.states(under_way), strict=True):
            self.transfers.put(row.segment, state)
        self.transfers.close_round()

    def arrived(self, *, all_of_it: bool = False) -> tuple[Finished, ...]:
        """Return the segments whose states have arrived; those that are not finite have failed."""
        arrived = self.transfers.take(all_of_it=all_of_it)
        if not self.isolate:
            return arrived
        for each in arrived:
            if each.finite:
                self.sound = True
                continue
            # What started from such a state meanwhile is not to blame.
            if each.segment.parent not in self.broken:
                self._fail(each.segment, NOT_FINITE)
            self.broken.add(each.segment.id)
        if len(self.broken) >= _HOPELESS and not self.sound:
            raise RuntimeError(
                f"all of {len(self.broken)} results have latents that are not finite numbers"
            )
        return tuple(each for each in arrived if each.finite)

    def failures(self) -> tuple[Failure, ...]:
        """Return what has failed since the last call."""
        failed, self.failed = tuple(self.failed), []
        return failed

    def _width(self, row: Row) -> int:
        return min(self.limit, self.widths.width(row.segment.id, row.step))

    def _fit(self, call: Sequence[Row], width: int) -> Sequence[Row] | None:
        """Take a step; return the rows, or None where later calls have to be narrower."""
        try:
            self.batch.step(call, width)
        except torch.OutOfMemoryError:
            if width == 1:
                raise
        else:
            return call
        # Outside the handler, whose traceback keeps the failed call's memory.
        self._narrow(width)
        return None

    def _isolate(self, call: Sequence[Row], width: int) -> Sequence[Row] | None:
        """Take a step; return the rows that did not fail alone, or None as `_fit` does.

        Raises the call's error where rows without content fail too.
        """
        error = try_call(lambda: self.batch.step(call, width))
        if error is None:
            return call
        self._free_memory()
        if isinstance(try_call(lambda: self.batch.step_blank(width)), Exception):
            if width == 1 or not isinstance(error, torch.OutOfMemoryError):
                raise error
            self._narrow(width)
            return None
        taken: list[Row] = []
        for part, outcome in by_halves(call, lambda rows: self.batch.step(rows, width)):
            if outcome is not None and width > 1:  # alone, it may need a call of its own
                outcome = try_call(lambda row=part[0]: self.batch.step([row], 1))  # type: ignore[misc]
            if outcome is None:
                taken += part
            else:
                self._fail(part[0].segment, reason_of(outcome))
        return taken

    def _fail(self, segment: Segment, reason: str) -> None:
        self.failed.append(Failure(segment, reason))
        self.parents.forget([segment.id, *self.queue.drop(segment)])

    def _narrow(self, width: int) -> None:
        self.limit = (width + 1) // 2
        self._free_memory()

    def _free_memory(self) -> None:
        if self.batch.on_gpu:
            torch.cuda.empty_cache()


@dataclass
class _ParentStates:
    """The states that segments start from: passed in, or kept until the last child has started."""

    finished: Mapping[int, State]
    states: dict[int, State] = field(default_factory=dict)
    unstarted: dict[int, int] = field(default_factory=dict)  # children that still need a state

    def keep(self, segment: Segment, state: State, children: int) -> None:
        """Keep a segment's final state for its children."""
        if children:
            self.states[segment.id], self.unstarted[segment.id] = state, children

    def forget(self, segments: Iterable[int]) -> None:
        """Drop the states of segments that nothing starts from any more."""
        for segment in segments:
            self.states.pop(segment, None)
            self.unstarted.pop(segment, None)

    def take(self, segment: Segment) -> State | None:
        """Return the state that a segment starts from, None at a root."""
        parent = segment.parent
        if parent is None:
            return None
        if parent not in self.states:
            return self.finished[parent]
        self.unstarted[parent] -= 1
        return self.states[parent] if self.unstarted[parent] else self.states.pop(parent)
