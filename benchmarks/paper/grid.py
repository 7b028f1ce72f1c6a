"""Grids and studies of the paper's sections: what they measure beside the product's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.paper.prompt_sets import PaperSet
from hierdiff_core.evaluation import grid as plain
from hierdiff_core.evaluation.grid import FAST, PAPER_METHOD, Grid, Study, cut, known_solvers
from hierdiff_core.evaluation.prompt_sets import PromptSet, sample
from hierdiff_core.evaluation.setting import Setting


@dataclass(frozen=True, kw_only=True)
class PaperGrid(Grid):
    """What is measured on each set."""

    development_sample: int  # prompts of a development set whose pictures are made and judged
    random_savings: tuple[float, ...]
    taus: tuple[float, ...]  # of Figure 5
    sizes: tuple[int, ...]  # N, of one template; the first are parts of the sample
    emergence: int  # prompts whose steps are looked at one by one
    growth_rung: float  # evaluations per image at which calibrated plans are compared against N


def _extended(name: str, **more: Any) -> PaperGrid:
    known = {each.name: getattr(plain.GRIDS[name], each.name) for each in fields(Grid)}
    return PaperGrid(**known, **more)


GRIDS: Mapping[str, PaperGrid] = {
    "quick": _extended(
        "quick",
        development_sample=8,
        random_savings=(0.1, 0.3),
        taus=(0.5, 1.0),
        sizes=(4, 12, 16),
        emergence=4,
        growth_rung=2.0,
    ),
    "default": _extended(
        "default",
        development_sample=100,
        random_savings=(0.05, 0.2, 0.5, 0.7),
        taus=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
        sizes=(16, 48, 144, 500, 1000, 2000),
        emergence=64,
        growth_rung=2.4,
    ),
    "full": _extended(
        "full",
        development_sample=300,
        random_savings=(0.02, 0.05, 0.1, 0.15, 0.3, 0.5, 0.7),
        taus=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
        sizes=(16, 48, 96, 240, 480, 1000, 2000),
        emergence=128,
        growth_rung=2.4,
    ),
}


@dataclass(frozen=True)
class PaperStudy(Study):
    """A grid over the built-in sets, some of which are there to choose defaults from."""

    grid: PaperGrid
    sets: tuple[PaperSet, ...]

    @property
    def report(self) -> tuple[PaperSet, ...]:
        """The sets whose figures are told."""
        return tuple(each for each in self.sets if not each.development)

    @property
    def development(self) -> tuple[PaperSet, ...]:
        """The sets from which defaults are chosen."""
        return tuple(each for each in self.sets if each.development)

    def most_fast_steps(self, solver: str) -> int:
        """Return the greatest K of the sharing runs under a solver of few steps."""
        steps = self.grid.fast_steps
        return max(steps.get(solver, steps[FAST[0]]))

    def sample(self, prompts: PromptSet) -> tuple[int, ...]:
        """Return the places of the prompts that are scored; fewer on development sets."""
        most = self.grid.development_sample if _develops(prompts) else self.grid.sample
        return sample(prompts, most)

    def typical(self, prompts: PromptSet) -> Setting:
        """Return the sharing run that saves what the paper saves on that kind of set."""
        own = self.papers_own(prompts)
        return own[0] if own else super().typical(prompts)

    def papers_own(self, prompts: PromptSet) -> list[Setting]:
        """Return that run, none where the paper reports no such set."""
        if not isinstance(prompts, PaperSet) or prompts.paper_saving is None:
            return []
        solver, K = self.paper_solver, self.grid.paper_steps
        return [Setting(PAPER_METHOD, solver, K, saving=prompts.paper_saving)]

    def sharing(self, prompts: PromptSet) -> list[Setting]:
        """Return the sharing runs of a set's frontier; by one linkage on development sets.

        Those have their linkages compared among the ablations.
        """
        if _develops(prompts):
            return self.paper_sharing() + self.fast_sharing()
        return super().sharing(prompts)


def make_study(
    grid: PaperGrid, sets: Sequence[PaperSet], solvers: Sequence[str] = ()
) -> PaperStudy:
    """Return the study over the sets, cut to the grid's largest; all known solvers for none."""
    return PaperStudy(grid, cut(sets, grid.largest), tuple(solvers) or known_solvers())


def _develops(prompts: PromptSet) -> bool:
    return isinstance(prompts, PaperSet) and prompts.development
