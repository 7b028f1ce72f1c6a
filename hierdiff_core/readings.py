"""Readings: what the denoiser predicts for many prompts on the same noisy latents.

Knows denoisers, solvers and conditionings; knows nothing of maps or plans. Probes are latents from
the trajectories of a few of the prompts. Everything comes in named readings, so that whoever keeps
them can go on after a stop: hand back what is there, and only the rest is measured.
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
from hierdiff_core.levels import as_noise, noise_levels
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.solver import Solver

Reading = npt.NDArray[np.float32]
MakeSolver = Callable[[int], Solver]  # steps -> a solver of one family


@dataclass(frozen=True)
class Design:
    """What is measured; together with the prompts it decides every evaluation."""

    levels: int = 8  # L, noise levels that get a map: those of a run of so many steps
    probes: int = 4  # at the lowest level; one at the highest, where all latents look alike
    branch_steps: int = 6  # K of the runs that fork, for how much an early deviation matters
    branches: int = 10  # prompts that fork
    plain_steps: tuple[int, ...] = (3, 4, 6, 8, 12, 20)  # K of the plain runs ...
    reference_steps: int = 40  # ... that are compared with a run of so many
    plain: int = 4  # prompts of the plain runs
    rows: int = 16  # of one call of the denoiser
    seed: int = 0

    def probes_at(self, level: int) -> int:
        """Return how many probes level 0..L-1 has."""
        return 1 + round(level / max(1, self.levels - 1) * (self.probes - 1))

    @property
    def overhead(self) -> int:
        """Evaluations that do not depend on how many prompts there are."""
        K = self.branch_steps
        branches = self.branches * (K - 1 + K * (K + 1) // 2)
        plain = self.plain * (sum(self.plain_steps) + self.reference_steps)
        return self.levels * self.probes + branches + plain

    @property
    def evaluations_each(self) -> int:
        """Evaluations that one more prompt takes."""
        return sum(map(self.probes_at, range(self.levels)))

    @property
    def prompts_at_least(self) -> int:
        """Prompts without which nothing can be fitted."""
        return max(self.probes, 2 * self.branches, self.plain, 8)

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
    """Yield the readings that are not known yet: probes, level-0 .. level-(L-1), branches, plain.

    probes (L, P, ...): what the network is shown. level-l (p, n, M): predicted noise of n prompts
    on each probe. branches (B, K-1): squared distance of final latents between a prompt that shares
    the steps 1..d with another, d = 1..K-1, and the same prompt alone. plain: mean squared distance
    of final latents between runs of few steps and the reference.
    """
    desk = _Desk(denoiser, make, conditioning, design)
    probes = known.get("probes")
    if probes is None:
        probes = desk.probes()
        yield "probes", probes
    for level in range(design.levels):
        if f"level-{level}" not in known:
            yield f"level-{level}", desk.level(level, torch.from_numpy(probes[level]))
    if "branches" not in known:
        yield "branches", desk.branches()
    if "plain" not in known:
        yield "plain", desk.plain()


def branch_pairs(design: Design) -> list[tuple[int, int]]:
    """Return which prompt shares its first steps with which, by their numbers."""
    return [(row, row + design.branches) for row in range(design.branches)]


@torch.no_grad()
def measure_points(
    denoiser: Denoiser, solver: Solver, conditioning: Conditioning, probes: Conditioning, rows: int
) -> list[Reading]:
    """Return predicted noise of N prompts (N, M) before each step k = 1..K-1 of a solver.

    Probes are the latents that the probes' conditionings lead to, all of one noise each; numbers
    are divided by the root of their count, so that squared distances are means over probes.
    """
    desk = _Desk(denoiser, lambda steps: solver, conditioning, Design(rows=rows))
    steps = len(solver.timesteps)
    shown = desk.trajectories(solver, probes)[: steps - 1]
    sigmas = noise_levels(denoiser.noise_schedule, solver.timesteps)
    scale = np.sqrt(len(probes))
    return [
        np.concatenate(list(desk.predictions(solver, k, shown[k], float(sigmas[k]))), axis=1)
        / scale
        for k in range(steps - 1)
    ]


class _Desk:
    """One calibration's measurements."""

    def __init__(
        self, denoiser: Denoiser, make: MakeSolver, conditioning: Conditioning, design: Design
    ) -> None:
        self.denoiser, self.make = denoiser, make
        self.conditioning, self.design = conditioning, design
        self.shape, self.device = denoiser.latent_shape, denoiser.device

    def probes(self) -> Reading:
        """Return what the network is shown along the first prompts' own runs."""
        chosen = _rows(self.conditioning, range(self.design.probes))
        shown = self.trajectories(self.make(self.design.levels), chosen)
        return np.stack([each.numpy() for each in shown])

    def level(self, level: int, probes: torch.Tensor) -> Reading:
        """Return every prompt's predicted noise on a level's probes, (p, n, M)."""
        solver = self.make(self.design.levels)
        sigma = float(noise_levels(self.denoiser.noise_schedule, solver.timesteps)[level])
        chosen = probes[: self.design.probes_at(level)]
        return np.stack(list(self.predictions(solver, level, chosen, sigma)))

    def branches(self) -> Reading:
        """Return what sharing the first d steps changes in the end, (B, K-1)."""
        K, pairs = self.design.branch_steps, branch_pairs(self.design)
        solver = self.make(K)
        own = _rows(self.conditioning, [each for each, _ in pairs])
        mean = stack([self.conditioning.mean(pair) for pair in pairs])
        state = self._start(solver, len(pairs))
        forks = [state]
        for k in range(K - 1):
            state = self._walk(solver, state, mean, k, k + 1)
            forks.append(state)
        ends = [self._walk(solver, fork, own, d, K)[0] for d, fork in enumerate(forks)]
        return np.stack([_squares(end, ends[0]) for end in ends[1:]], axis=1)

    def plain(self) -> Reading:
        """Return how far runs of few steps end from the reference, one number per K."""
        rows = _rows(self.conditioning, range(self.design.plain))
        ends = []
        for steps in (self.design.reference_steps, *self.design.plain_steps):
            solver = self.make(steps)
            state = self._start(solver, len(rows))
            ends.append(self._walk(solver, state, rows, 0, steps)[0])
        return np.array([_squares(end, ends[0]).mean() for end in ends[1:]], dtype=np.float32)

    def trajectories(self, solver: Solver, rows: Conditioning) -> list[torch.Tensor]:
        """Return what the network is shown before each step of some rows' runs."""
        state, shown = self._start(solver, len(rows)), []
        for k in range(len(solver.timesteps)):
            shown.append(solver.scale(state[0], torch.full((len(rows),), k)))
            state = self._walk(solver, state, rows, k, k + 1)
        return shown

    def predictions(
        self, solver: Solver, k: int, probes: torch.Tensor, sigma: float
    ) -> Iterator[Reading]:
        """Yield every prompt's predicted noise on each probe, (n, M)."""
        size = len(self.conditioning)
        for probe in probes:
            latents = probe.expand(size, *probe.shape)
            predicted = self._predict(solver, latents, k, self.conditioning)
            noise = as_noise(self.denoiser.noise_schedule, predicted, sigma)
            yield noise.flatten(1).numpy().astype(np.float32)

    def _start(self, solver: Solver, rows: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        names = [f"calibration/{row}" for row in range(rows)]
        noise = [initial_noise(self.design.seed, name, self.shape) for name in names]
        latents = torch.stack(noise) * solver.initial_scale
        return latents, tuple(torch.zeros_like(latents) for _ in range(solver.history_size))

    def _walk(
        self,
        solver: Solver,
        state: tuple[torch.Tensor, tuple[torch.Tensor, ...]],
        rows: Conditioning,
        start: int,
        stop: int,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        latents, history = state
        for k in range(start, stop):
            steps = torch.full((len(rows),), k)
            shown = solver.scale(latents, steps)
            predicted = self._predict(solver, shown, k, rows)
            noise = self._noise(len(rows), k) if solver.draws_noise else None
            latents, history = solver.step(latents, predicted, noise, steps, history)
        return latents, history

    def _noise(self, rows: int, k: int) -> torch.Tensor:
        names = [f"calibration/{row}" for row in range(rows)]
        return torch.stack([step_noise(self.design.seed, each, k, self.shape) for each in names])

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
