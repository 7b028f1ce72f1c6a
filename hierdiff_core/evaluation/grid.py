"""Grids: which settings are measured, as data; and the study that a grid makes of prompt sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.evaluation.prompt_sets import PromptSet, Set, sample
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.evaluation.unit import Unit, make_unit
from hierdiff_core.solvers import SOLVERS


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The settings and sample sizes that are measured on each set."""

    name: str
    sample: int  # most prompts of a set whose pictures are made and judged
    held_out: int  # prompts on which each attribute is judged by itself
    standards: Mapping[str, tuple[int, ...]]  # K of the standard runs under each solver
    paper_steps: int  # K of the paper's reference, under DDPM
    paper_savings: tuple[float, ...]  # of the sharing runs under it, by the paper's method
    other_savings: tuple[float, ...]  # and by the other linkages
    fast_steps: Mapping[str, tuple[int, ...]]  # K of the sharing runs under solvers of few steps
    fast_savings: tuple[float, ...]
    linkages: tuple[str, ...]
    diversity: int  # most pictures that are compared with each other
    rungs: tuple[float, ...]  # evaluations per image at which calibrated plans are measured
    plan_steps: Mapping[str, tuple[int, ...]]  # K of those plans under each solver
    tree_steps: Mapping[str, int]  # K of the trees that they are compared with
    plan_sample: int  # `sample` where plans are compared
    largest: int | None = None  # most prompts of a set that are used; None: all


_STANDARDS = {
    "ddpm": (8, 16, 25, 40),
    "ddim": (2, 3, 4, 6, 8, 12, 25),
    "dpmsolver++": (2, 3, 4, 6, 8, 12, 20),
}
# A fifth to seven tenths of 6 to 8 evaluations, which the best standard settings take.
_RUNGS = (1.2, 1.6, 1.8, 2.4, 3.0, 4.0, 4.2, 5.6)
_PLAN_STEPS = {"dpmsolver++": (6, 8, 12), "ddim": (6, 8)}
_TREE_STEPS = {"dpmsolver++": 8, "ddim": 8}
DEFAULT = Grid(
    name="default",
    sample=150,
    held_out=300,
    standards=_STANDARDS,
    paper_steps=40,
    paper_savings=(0.3, 0.5, 0.7, 0.85),
    other_savings=(0.5, 0.7),
    fast_steps={"dpmsolver++": (6, 12), "ddim": (6, 8)},
    fast_savings=(0.1, 0.25, 0.5, 0.7),
    linkages=tuple(LINKAGES),
    diversity=100,
    rungs=_RUNGS,
    plan_steps=_PLAN_STEPS,
    tree_steps=_TREE_STEPS,
    plan_sample=300,
)
FULL = Grid(
    name="full",
    sample=500,
    held_out=300,
    standards={
        "ddpm": (5, 8, 10, 12, 16, 20, 25, 31, 40),
        "ddim": (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 40),
        "dpmsolver++": (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25),
    },
    paper_steps=40,
    paper_savings=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    other_savings=(0.3, 0.5, 0.7, 0.85),
    fast_steps={"dpmsolver++": (4, 6, 8, 12, 20), "ddim": (4, 5, 6, 8, 12)},
    fast_savings=(0.15, 0.3, 0.45, 0.6, 0.75),
    linkages=tuple(LINKAGES),
    diversity=100,
    rungs=_RUNGS,
    plan_steps=_PLAN_STEPS,
    tree_steps=_TREE_STEPS,
    plan_sample=500,
)
QUICK = Grid(
    name="quick",
    sample=12,
    held_out=12,
    standards={"ddpm": (3, 6), "ddim": (2, 4), "dpmsolver++": (2, 4)},
    paper_steps=6,
    paper_savings=(0.3, 0.6),
    other_savings=(0.6,),
    fast_steps={"dpmsolver++": (4,), "ddim": (4,)},
    fast_savings=(0.25, 0.5),
    linkages=tuple(LINKAGES),
    diversity=12,
    rungs=(1.2, 2.0, 2.8),
    plan_steps={"dpmsolver++": (4, 6), "ddim": (4,)},
    tree_steps={"dpmsolver++": 4, "ddim": 4},
    plan_sample=12,
    largest=16,
)
GRIDS: Mapping[str, Grid] = {grid.name: grid for grid in (QUICK, DEFAULT, FULL)}
# The paper's solver, and those that need few steps.
PAPER_SOLVER, FAST = "ddpm", ("dpmsolver++", "ddim")
PAPER_METHOD = "ward"  # as in the authors' code


@dataclass(frozen=True)
class Study:
    """A grid over prompt sets, and the units to run for it."""

    grid: Grid
    sets: tuple[PromptSet, ...]
    solvers: tuple[str, ...]
    calibrated: bool = False  # whether the model has a calibration to plan by

    @cached_property
    def fast(self) -> str:
        """The first solver of few steps among those asked for."""
        return next((each for each in FAST if each in self.solvers), self.solvers[0])

    @cached_property
    def paper_solver(self) -> str:
        """DDPM, or the first solver where DDPM was not asked for."""
        return PAPER_SOLVER if PAPER_SOLVER in self.solvers else self.solvers[0]

    @property
    def reference(self) -> Setting:
        """The paper's standard run: 40 steps of DDPM for everybody."""
        return standard(self.paper_solver, self.grid.paper_steps)

    def sample(self, prompts: PromptSet) -> tuple[int, ...]:
        """Return the places of the prompts that are scored."""
        return sample(prompts, self.grid.sample)

    def unit(self, prompts: PromptSet, setting: Setting) -> Unit:
        """Return the unit of a setting on a set's sample."""
        return make_unit(prompts.texts, self.sample(prompts), setting)

    def standards(self) -> list[Setting]:
        """Return the standard settings, the paper's reference among them."""
        grid = self.grid
        found = [standard(each, K) for each in self.solvers for K in grid.standards.get(each, ())]
        return list(dict.fromkeys([*found, self.reference]))

    def typical(self, prompts: PromptSet) -> Setting:
        """Return one sharing run to show for a set: it saves half."""
        return Setting(PAPER_METHOD, self.paper_solver, self.grid.paper_steps, saving=0.5)

    def paper_sharing(self, method: str = PAPER_METHOD) -> list[Setting]:
        """Return the sharing runs under the paper's solver and K."""
        solver, K = self.paper_solver, self.grid.paper_steps
        grid = self.grid
        savings = grid.paper_savings if method == PAPER_METHOD else grid.other_savings
        return [Setting(method, solver, K, saving=each) for each in savings]

    def fast_sharing(self, method: str = PAPER_METHOD) -> list[Setting]:
        """Return the sharing runs under the solvers of few steps."""
        grid = self.grid
        return [
            Setting(method, solver, K, saving=each)
            for solver in self.solvers
            for K in grid.fast_steps.get(solver, ())
            for each in grid.fast_savings
        ]

    def sharing(self, prompts: PromptSet) -> list[Setting]:
        """Return the sharing runs of a set's frontier."""
        found = []
        for method in self.grid.linkages:
            found += self.paper_sharing(method) + self.fast_sharing(method)
        return found


def make_study(grid: Grid, sets: Sequence[PromptSet], solvers: Sequence[str] = ()) -> Study:
    """Return the study over the sets, cut to the grid's largest; all known solvers for none."""
    return Study(grid, cut(sets, grid.largest), tuple(solvers) or known_solvers())


def known_solvers() -> tuple[str, ...]:
    """Return the solvers that grids have steps for."""
    return tuple(each for each in _STANDARDS if each in SOLVERS)


def cut(sets: Sequence[Set], largest: int | None) -> tuple[Set, ...]:
    """Return the sets with at most `largest` prompts each."""
    return tuple(_cut(each, largest) for each in sets)


def _cut(prompts: Set, largest: int | None) -> Set:
    if largest is None or len(prompts) <= largest:
        return prompts
    chosen = np.sort(np.random.default_rng(0).permutation(len(prompts))[:largest])
    return replace(prompts, entries=tuple(prompts.entries[int(each)] for each in chosen))
