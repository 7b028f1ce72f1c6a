"""The sampler: a continuous batcher that walks a plan.

Knows slots, rows and the order of segments. Knows nothing of model families, storage or progress:
it is a generator, and the caller owns those. Each round decides which segments take the slots,
computes one call of the denoiser, and records what has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from hierdiff_core.checkpoint import State, node_keys
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning
from hierdiff_core.errors import CorruptCheckpoint, InvalidSetting
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.solver import Solver


@dataclass(frozen=True)
class Finished:
    """A segment and the state that it ended in."""

    segment: Segment
    state: State


@dataclass(frozen=True)
class Round:
    """One call of the denoiser."""

    started: tuple[int, ...]  # segments whose first step this was
    evaluations: int  # rows that were evaluated, padding not counted
    finished: tuple[Finished, ...]


@dataclass(frozen=True)
class Job:
    """What is to be denoised; everything here decides the latents, `only` and `slots` aside."""

    plan: Plan
    conditioning: Conditioning  # N rows, in the order of the leaves' numbers
    content_keys: Sequence[str]  # per leaf
    seed: int = 0
    initial_noise: str = "root"  # one draw per root segment, or one "shared" by all roots
    slots: int = 16  # rows per call; every call has this one shape
    only: Collection[int] | None = None  # segments to run; None for all


def run(
    job: Job, denoiser: Denoiser, solver: Solver, finished: Mapping[int, State] | None = None
) -> Iterator[Finished]:
    """Yield each segment as it ends, leaves early; see `rounds`."""
    for each in rounds(job, denoiser, solver, finished):
        yield from each.finished


@torch.no_grad()
def rounds(
    job: Job, denoiser: Denoiser, solver: Solver, finished: Mapping[int, State] | None = None
) -> Iterator[Round]:
    """Yield the outcome of each call of the denoiser until nothing is left to do.

    To resume, hand the states of finished segments back in; a state is looked up only when a
    child starts from it, so the mapping may load lazily. A row depends on its own segment alone:
    padded to one shape, its bits are the same whatever its neighbours. Rows in memory follow the
    slots and the depth of the plan. Raises InvalidSetting for slots below 1, or for a segment
    whose parent is neither finished nor among `only`.
    """
    if job.slots < 1:
        raise InvalidSetting(setting="slots", value=job.slots, hint="use a whole number above 0")
    frontier = _Frontier(job, {} if finished is None else finished)
    batch = _Batch(job, denoiser, solver)
    while True:
        started = batch.fill(frontier)
        running = batch.running()
        if not running:
            return
        batch.step()
        ended = batch.collect()
        for each in ended:
            frontier.add(each)
        yield Round(tuple(segment.id for segment in started), running, tuple(ended))


@dataclass
class _Frontier:
    """Which segments are ready, last come first served, and the states that they start from."""

    job: Job
    finished: Mapping[int, State]
    ready: list[int] = field(default_factory=list)
    states: dict[int, State] = field(default_factory=dict)
    unstarted: dict[int, int] = field(default_factory=dict)  # children that still need a state

    def __post_init__(self) -> None:
        plan = self.job.plan
        only = range(len(plan.segments)) if self.job.only is None else self.job.only
        self.wanted = {each for each in only if each not in self.finished}
        for each in sorted(self.wanted, reverse=True):
            parent = plan.segments[each].parent
            if parent is None or parent in self.finished:
                self.ready.append(each)
            elif parent not in self.wanted:
                raise InvalidSetting(
                    setting="only", value=each, hint=f"segment {parent} must be finished before it"
                )

    def take(self) -> tuple[Segment, State | None] | None:
        """Return the next ready segment, or None, with its parent's state (None at a root)."""
        if not self.ready:
            return None
        segment = self.job.plan.segments[self.ready.pop()]
        return segment, self._state_above(segment)

    def add(self, ended: Finished) -> None:
        """Make the children of an ended segment ready."""
        here = ended.segment.id
        children = [each for each in self.job.plan.children[here] if each in self.wanted]
        if children:
            self.states[here], self.unstarted[here] = ended.state, len(children)
            self.ready.extend(reversed(children))

    def _state_above(self, segment: Segment) -> State | None:
        parent = segment.parent
        if parent is None:
            return None
        if parent not in self.states:
            return self.finished[parent]
        self.unstarted[parent] -= 1
        return self.states[parent] if self.unstarted[parent] else self.states.pop(parent)


class _Batch:
    """The slots: rows of one fixed shape on the device, each at its own step."""

    def __init__(self, job: Job, denoiser: Denoiser, solver: Solver) -> None:
        self.job, self.denoiser, self.solver = job, denoiser, solver.to(denoiser.device)
        self.node_keys = node_keys(job.plan, job.content_keys)
        self.segments: list[Segment | None] = [None] * job.slots
        self.steps = [0] * job.slots
        self.latents = torch.zeros(job.slots, *denoiser.latent_shape, device=denoiser.device)
        self.history = tuple(torch.zeros_like(self.latents) for _ in range(solver.history_size))
        self.conditioning = {
            name: torch.zeros(job.slots, *tensor.shape[1:], device=denoiser.device)
            for name, tensor in job.conditioning.tensors.items()
        }

    def running(self) -> int:
        """Return how many slots hold a segment."""
        return sum(segment is not None for segment in self.segments)

    def fill(self, frontier: _Frontier) -> list[Segment]:
        """Give free slots to ready segments; return those that were started."""
        started = []
        for slot, occupant in enumerate(self.segments):
            if occupant is None and (taken := frontier.take()) is not None:
                self._place(slot, *taken)
                started.append(taken[0])
        return started

    def step(self) -> None:
        """Take one step of every row in one call."""
        steps = torch.tensor(self.steps, device=self.denoiser.device)
        shown, timesteps = self.solver.scale(self.latents, steps), self.solver.timesteps[steps]
        prediction = self.denoiser.predict(shown, timesteps, self.conditioning)
        noise = self._noise() if self.solver.draws_noise else None
        self.latents, self.history = self.solver.step(
            self.latents, prediction, noise, steps, self.history
        )
        self.steps = [
            step + (segment is not None)
            for step, segment in zip(self.steps, self.segments, strict=True)
        ]

    def collect(self) -> list[Finished]:
        """Free the slots whose segment has ended and return what ended."""
        ended = []
        for slot, segment in enumerate(self.segments):
            if segment is not None and self.steps[slot] == segment.stop:
                ended.append(Finished(segment, self._state(slot, segment.stop)))
                self.segments[slot], self.steps[slot] = None, 0
        return ended

    def _place(self, slot: int, segment: Segment, above: State | None) -> None:
        self.segments[slot], self.steps[slot] = segment, segment.start
        state = self._initial(segment) if above is None else above
        if len(state.history) != len(self.history):
            reason = f"it holds {len(state.history)} past predictions, not {len(self.history)}"
            raise CorruptCheckpoint(key=f"of segment {segment.parent}", reason=reason)
        self.latents[slot] = state.latents.to(self.latents.device)
        for past, row in zip(self.history, state.history, strict=True):
            past[slot] = row.to(past.device)
        mean = self.job.conditioning.mean(self.job.plan.members(segment))
        for name, tensor in mean.tensors.items():
            self.conditioning[name][slot] = tensor[0].to(self.latents.device)

    def _initial(self, segment: Segment) -> State:
        shared = self.job.initial_noise == "shared"
        key = "shared" if shared else self.node_keys[segment.id]
        noise = initial_noise(self.job.seed, key, self.denoiser.latent_shape)
        # Zeros rather than what the slot last held, which may not be finite.
        history = tuple(torch.zeros_like(noise) for _ in self.history)
        return State(noise * self.solver.initial_scale, segment.start, history)

    def _state(self, slot: int, step: int) -> State:
        # No step follows the last one, so its history is of no use.
        history = self.history if step < self.job.plan.steps else ()
        latents, *past = (each[slot].to("cpu", copy=True) for each in (self.latents, *history))
        return State(latents, step, tuple(past))

    def _noise(self) -> torch.Tensor:
        shape = self.denoiser.latent_shape
        rows = [
            torch.zeros(shape)
            if segment is None
            else step_noise(self.job.seed, self.node_keys[segment.id], step, shape)
            for segment, step in zip(self.segments, self.steps, strict=True)
        ]
        return torch.stack(rows).to(self.latents.device)
