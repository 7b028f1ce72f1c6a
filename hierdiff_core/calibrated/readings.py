"""Readings: what pictures become when prompts share their first steps, measured on a few.

Each reading has a name, so that a measurement can be resumed after a stop: pass in the readings
that are kept, and only the missing ones are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning, stack
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.family import EmbedPictures
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.sampling.step import advance
from hierdiff_core.solver import Solver

Reading = npt.NDArray[np.float32]
MakeSolver = Callable[[int], Solver]  # steps -> a solver of one name


@dataclass(frozen=True)
class Design:
    """The measurements of a calibration; with the prompts it decides every evaluation."""

    steps: int = 8  # K of the runs that fork
    together: int = 4  # prompts that share one run
    first: int = 2  # shared steps of the earliest fork; before it almost nothing is settled
    every: int = 4  # every fourth reading has all forks, the others the late ones alone
    plain_steps: tuple[int, ...] = (2, 3, 4, 6, 12)  # K of the plain runs
    plain: int = 32  # prompts of the plain runs, spread over all parties
    rows: int = 16  # most rows of one call of the denoiser, and of one reading
    seed: int = 0

    @property
    def forks(self) -> range:
        """The numbers of shared steps before a fork."""
        return range(self.first, self.steps)

    def forks_of(self, block: int) -> range:
        """Return the forks of a reading; the late ones cost least and are most informative."""
        late = max(self.first, self.steps - max(1, 3 * self.steps // 8))
        return range(self.first if block % self.every == 0 else late, self.steps)

    @property
    def parties_at_once(self) -> int:
        """Parties of one reading."""
        return max(1, self.rows // self.together)

    @property
    def prompts_at_least(self) -> int:
        """The fewest prompts that a calibration can be fitted to."""
        return max(self.plain, 16) // self.together * self.together

    def evaluations(self, prompts: int) -> int:
        """Return how many evaluations a calibration on so many prompts takes."""
        parties = range(prompts // self.together)
        return self.plain * sum(self.plain_steps) + sum(map(self._of_party, parties))

    def _of_party(self, party: int) -> int:
        """Return a party's evaluations: shared once, then each prompt alone and forked."""
        K, forks = self.steps, self.forks_of(party // self.parties_at_once)
        return (K - 1) + self.together * (K + sum(K - fork for fork in forks))

    def prompts(self, evaluations: int) -> int:
        """Return how many prompts the evaluations allow; raises InvalidSetting for too few."""
        prompts = self.prompts_at_least
        if evaluations < self.evaluations(prompts):
            hint = f"use {self.evaluations(prompts)} or more"
            raise InvalidSetting(setting="evaluations", value=evaluations, hint=hint)
        left = evaluations - self.evaluations(prompts)
        while (left := left - self._of_party(prompts // self.together)) >= 0:
            prompts += self.together
        return prompts

    def check(self) -> None:
        """Raise InvalidSetting where there is no step to fork after."""
        if self.steps <= self.first:
            hint = f"use {self.first + 1} or more"
            raise InvalidSetting(setting="levels", value=self.steps, hint=hint)


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    embed_pictures: EmbedPictures,
    make: MakeSolver,
    conditioning: Conditioning,
    design: Design,
    known: Mapping[str, Reading],
) -> Iterator[tuple[str, Reading]]:
    """Yield those readings of `names` that are not known yet.

    forked-b (1 + F, B, D): embeddings of B prompts' pictures, one noise per party: made alone, then
    after each fork's shared steps, NaN for forks that the reading leaves out. plain-K (P, D): of
    the P prompts of `plain_places`, made alone, in K steps.
    """
    measurements = _Measurements(denoiser, embed_pictures, make, conditioning, design)
    for name in names(len(conditioning), design):
        if name not in known:
            kind, number = name.split("-")
            read = measurements.forked if kind == "forked" else measurements.plain
            yield name, read(int(number))


def names(prompts: int, design: Design) -> list[str]:
    """Return the names of the readings on this many prompts."""
    parties = prompts // design.together
    blocks = range(-(-parties // design.parties_at_once))
    return [f"forked-{each}" for each in blocks] + [f"plain-{each}" for each in design.plain_steps]


def plain_places(prompts: int, design: Design) -> list[int]:
    """Return the prompts of the plain runs: each party's first, then each party's second, ..."""
    parties = prompts // design.together
    return [at % parties * design.together + at // parties for at in range(design.plain)]


@dataclass(frozen=True)
class _State:
    """Rows between two steps."""

    latents: torch.Tensor
    history: tuple[torch.Tensor, ...]
    keys: Sequence[str]  # of the rows' noise

    def take(self, rows: torch.Tensor) -> _State:
        history = tuple(each[rows] for each in self.history)
        return _State(self.latents[rows], history, [self.keys[row] for row in rows.tolist()])


class _Measurements:
    """One calibration's measurements."""

    def __init__(
        self,
        denoiser: Denoiser,
        embed_pictures: EmbedPictures,
        make: MakeSolver,
        conditioning: Conditioning,
        design: Design,
    ) -> None:
        self.denoiser, self.embed_pictures, self.make = denoiser, embed_pictures, make
        self.conditioning, self.design = conditioning, design

    def forked(self, block: int) -> Reading:
        """Return the reading of a block of parties, (1 + F, B, D)."""
        design, solver = self.design, self.make(self.design.steps)
        size, at_once = design.together, design.parties_at_once
        last = len(self.conditioning) // size
        parties = range(block * at_once, min(last, (block + 1) * at_once))
        places = [party * size + each for party in parties for each in range(size)]
        own = self.conditioning.take(places)
        chunks = [places[at : at + size] for at in range(0, len(places), size)]
        slots = self.denoiser.slots
        mean = stack([self.conditioning.mean(chunk, slots) for chunk in chunks])
        start = self._start(solver, places)
        members = torch.arange(len(places)) // size  # which shared run a prompt forks from
        ends = [self._walk(solver, start, own, 0)]
        shared, here = start.take(torch.arange(0, len(places), size)), 0
        for fork in design.forks_of(block):
            shared, here = self._walk(solver, shared, mean, here, fork), fork
            ends.append(self._walk(solver, shared.take(members), own, fork))
        seen = np.stack([self._embed(each) for each in ends])
        absent = np.full((len(design.forks) + 1 - len(seen), *seen.shape[1:]), np.nan, np.float32)
        return np.concatenate([seen[:1], absent, seen[1:]])

    def plain(self, steps: int) -> Reading:
        """Return the reading of the plain runs in K steps, (P, D)."""
        places = plain_places(len(self.conditioning), self.design)
        solver = self.make(steps)
        start = self._start(solver, places)
        return self._embed(self._walk(solver, start, self.conditioning.take(places), 0))

    def _embed(self, state: _State) -> Reading:
        return self.embed_pictures(self.denoiser.decode(state.latents, state.keys)).astype(
            np.float32
        )

    def _start(self, solver: Solver, places: Sequence[int]) -> _State:
        keys = [f"calibration/party-{at // self.design.together}" for at in places]
        shape = self.denoiser.latent_shape
        drawn = {key: initial_noise(self.design.seed, key, shape) for key in set(keys)}
        latents = torch.stack([drawn[key] for key in keys]) * solver.initial_scale
        history = tuple(torch.zeros_like(latents) for _ in range(solver.history_size))
        return _State(latents, history, keys)

    def _walk(
        self, solver: Solver, state: _State, rows: Conditioning, start: int, stop: int | None = None
    ) -> _State:
        """Return rows after the steps from `start` to `stop`, in calls of at most `rows` rows."""
        steps = range(start, len(solver.timesteps) if stop is None else stop)
        parts = torch.arange(len(rows)).split(self.design.rows)
        ends = [self._run(solver, state.take(part), rows.take(part), steps) for part in parts]
        history = zip(*(end.history for end in ends), strict=True)
        latents = torch.cat([end.latents for end in ends])
        return _State(latents, tuple(map(torch.cat, history)), state.keys)

    def _run(self, solver: Solver, state: _State, rows: Conditioning, steps: range) -> _State:
        device = self.denoiser.device
        latents = state.latents.to(device)
        history = tuple(each.to(device) for each in state.history)
        steering = {name: each.to(device) for name, each in rows.tensors.items()}
        solver = solver.to(device)
        for k in steps:
            at = torch.full((len(latents),), k, device=device)
            noise = self._noise(state, k).to(device) if solver.draws_noise else None
            latents, history, _ = advance(
                self.denoiser, solver, latents, history, at, steering, noise
            )
        return _State(latents.cpu(), tuple(each.cpu() for each in history), state.keys)

    def _noise(self, state: _State, k: int) -> torch.Tensor:
        seed, shape = self.design.seed, self.denoiser.latent_shape
        drawn = {key: step_noise(seed, key, k, shape) for key in set(state.keys)}
        return torch.stack([drawn[key] for key in state.keys])
