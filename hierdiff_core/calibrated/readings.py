"""Readings: where many prompts' own runs stand at each noise level, from the same noises.

Knows denoisers, solvers and conditionings; knows nothing of maps or plans. Everything comes in
named readings, so that whoever keeps them can go on after a stop: hand back what is there, and only
the rest is measured.
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
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.solver import Solver

Reading = npt.NDArray[np.float32]
MakeSolver = Callable[[int], Solver]  # steps -> a solver of one family


@dataclass(frozen=True)
class Design:
    """What is measured; together with the prompts it decides every evaluation."""

    levels: int = 8  # L, steps of the prompts' own runs
    noises: int = 1  # that each prompt starts from; the same for all prompts
    branch_steps: int = 6  # K of the runs that fork, for how much an early deviation matters
    branches: int = 10  # prompts that fork
    plain_steps: tuple[int, ...] = (3, 4, 6, 8, 12, 20)  # K of the plain runs ...
    reference_steps: int = 40  # ... that are compared with a run of so many
    plain: int = 4  # prompts of the plain runs
    rows: int = 16  # of one call of the denoiser
    seed: int = 0

    @property
    def overhead(self) -> int:
        """Evaluations that do not depend on how many prompts there are."""
        K = self.branch_steps
        branches = self.branches * (K - 1 + K * (K + 1) // 2)
        plain = self.plain * (sum(self.plain_steps) + self.reference_steps)
        return branches + plain

    @property
    def evaluations_each(self) -> int:
        """Evaluations that one more prompt takes."""
        return self.noises * (self.levels - 1)

    @property
    def prompts_at_least(self) -> int:
        """Prompts without which nothing can be fitted."""
        return max(2 * self.branches, self.plain, 8)

    def evaluations(self, prompts: int) -> int:
        """Return how many evaluations a calibration on so many prompts takes."""
        return self.overhead + prompts * self.evaluations_each

    def prompts(self, evaluations: int) -> int:
        """Return how many prompts so many evaluations are enough for; raises InvalidSetting."""
        least = self.prompts_at_least
        prompts = (evaluations - self.overhead) // self.evaluations_each
        if prompts < least:
            hint = f"use {self.evaluations(least)} or more"
            raise InvalidSetting(setting="evaluations", value=evaluations, hint=hint)
        return prompts


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    make: MakeSolver,
    conditioning: Conditioning,
    design: Design,
    known: Mapping[str, Reading],
) -> Iterator[tuple[str, Reading]]:
    """Yield the readings that are not known yet: run-0 .. run-(P-1), branches, plain.

    run-p (L-1, n, M): what the network is shown of n prompts after each step but the last of their
    own runs, all from one noise. branches (B, K-1): squared distance of final latents between a
    prompt that shares the steps 1..d with another, d = 1..K-1, and the same prompt alone. plain:
    mean squared distance of final latents between runs of few steps and the reference.
    """
    desk = _Desk(denoiser, make, conditioning, design)
    for noise in range(design.noises):
        if f"run-{noise}" not in known:
            yield f"run-{noise}", desk.runs(make(design.levels), noise)
    if "branches" not in known:
        yield "branches", desk.branches()
    if "plain" not in known:
        yield "plain", desk.plain()


def branch_pairs(design: Design) -> list[tuple[int, int]]:
    """Return which prompt shares its first steps with which, by their numbers."""
    return [(row, row + design.branches) for row in range(design.branches)]


@torch.no_grad()
def measure_points(
    denoiser: Denoiser, solver: Solver, conditioning: Conditioning, design: Design
) -> list[Reading]:
    """Return where N prompts stand (N, M) after each step k = 1..K-1 of a solver.

    From the design's noises, stacked and divided by the root of their count, so that squared
    distances are means over noises. Takes (K-1) evaluations for each prompt and noise.
    """
    desk = _Desk(denoiser, lambda steps: solver, conditioning, design)
    runs = np.concatenate([desk.runs(solver, noise) for noise in range(design.noises)], axis=2)
    return list(runs / np.sqrt(design.noises).astype(np.float32))


@dataclass(frozen=True)
class _State:
    """Rows between two steps."""

    latents: torch.Tensor
    history: tuple[torch.Tensor, ...]
    keys: Sequence[str]  # of the rows' noise


class _Desk:
    """One calibration's measurements."""

    def __init__(
        self, denoiser: Denoiser, make: MakeSolver, conditioning: Conditioning, design: Design
    ) -> None:
        self.denoiser, self.make = denoiser, make
        self.conditioning, self.design = conditioning, design
        self.shape, self.device = denoiser.latent_shape, denoiser.device

    def runs(self, solver: Solver, noise: int) -> Reading:
        """Return what the network is shown after each step but the last, (K-1, n, M)."""
        rows = len(self.conditioning)
        state = self._start(solver, rows * [f"noise-{noise}"])
        shown = []
        for k in range(len(solver.timesteps) - 1):
            state = self._walk(solver, state, self.conditioning, k, k + 1)
            here = solver.scale(state.latents, torch.full((rows,), k + 1))
            shown.append(here.flatten(1).numpy().astype(np.float32))
        return np.stack(shown)

    def branches(self) -> Reading:
        """Return what sharing the first d steps changes in the end, (B, K-1)."""
        K, pairs = self.design.branch_steps, branch_pairs(self.design)
        solver = self.make(K)
        own = _rows(self.conditioning, [each for each, _ in pairs])
        mean = stack([self.conditioning.mean(pair) for pair in pairs])
        state = self._start(solver, [f"branch-{row}" for row in range(len(pairs))])
        forks = [state]
        for k in range(K - 1):
            state = self._walk(solver, state, mean, k, k + 1)
            forks.append(state)
        ends = [self._walk(solver, fork, own, d, K).latents for d, fork in enumerate(forks)]
        return np.stack([_squares(end, ends[0]) for end in ends[1:]], axis=1)

    def plain(self) -> Reading:
        """Return how far runs of few steps end from the reference, one number per K."""
        rows, ends = _rows(self.conditioning, range(self.design.plain)), []
        for steps in (self.design.reference_steps, *self.design.plain_steps):
            solver = self.make(steps)
            state = self._start(solver, [f"plain-{row}" for row in range(len(rows))])
            ends.append(self._walk(solver, state, rows, 0, steps).latents)
        return np.array([_squares(end, ends[0]).mean() for end in ends[1:]], dtype=np.float32)

    def _start(self, solver: Solver, names: Sequence[str]) -> _State:
        keys = [f"calibration/{name}" for name in names]
        drawn = {key: initial_noise(self.design.seed, key, self.shape) for key in set(keys)}
        latents = torch.stack([drawn[key] for key in keys]) * solver.initial_scale
        history = tuple(torch.zeros_like(latents) for _ in range(solver.history_size))
        return _State(latents, history, keys)

    def _walk(
        self, solver: Solver, state: _State, rows: Conditioning, start: int, stop: int
    ) -> _State:
        latents, history = state.latents, state.history
        for k in range(start, stop):
            steps = torch.full((len(rows),), k)
            predicted = self._predict(solver, solver.scale(latents, steps), k, rows)
            noise = self._noise(state, k) if solver.draws_noise else None
            latents, history = solver.step(latents, predicted, noise, steps, history)
        return _State(latents, history, state.keys)

    def _noise(self, state: _State, k: int) -> torch.Tensor:
        seed, keys = self.design.seed, state.keys
        drawn = {key: step_noise(seed, key, k, self.shape) for key in set(keys)}
        return torch.stack([drawn[key] for key in keys])

    def _predict(
        self, solver: Solver, shown: torch.Tensor, k: int, rows: Conditioning
    ) -> torch.Tensor:
        """Return predictions without a variance, on the CPU, in calls of at most `rows` rows."""
        found, time = [], solver.timesteps[k].to(self.device)
        for first in range(0, len(shown), self.design.rows):
            here = slice(first, first + self.design.rows)
            latents = shown[here].to(self.device)
            steering = {name: each[here].to(self.device) for name, each in rows.tensors.items()}
            found.append(self.denoiser.predict(latents, time.expand(len(latents)), steering).cpu())
        return torch.cat(found)[:, : self.shape[0]]


def _rows(conditioning: Conditioning, rows: Sequence[int]) -> Conditioning:
    chosen = torch.as_tensor(list(rows))
    return Conditioning({name: each[chosen] for name, each in conditioning.tensors.items()})


def _squares(a: torch.Tensor, b: torch.Tensor) -> Reading:
    return ((a - b) ** 2).flatten(1).sum(dim=1).numpy().astype(np.float32)
