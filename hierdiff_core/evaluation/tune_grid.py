"""What a tuning may choose from, as data: standard settings, and ladders of sharing settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.evaluation.setting import Setting, standard

SavingLadder = tuple[Setting, ...]  # alike but for the saving, mildest (dearest) first


@dataclass(frozen=True)
class TuneGrid:
    """The settings that are tried on a catalogue."""

    name: str
    standards: Mapping[str, tuple[int, ...]]  # K of the standard settings under each solver
    shared: Mapping[str, tuple[int, ...]]  # K of the sharing settings under each solver
    savings: tuple[float, ...]
    linkages: tuple[str, ...]


TUNE_GRIDS: Mapping[str, TuneGrid] = {
    grid.name: grid
    for grid in (
        TuneGrid(
            name="quick",
            standards={"ddim": (2, 4, 8), "dpmsolver++": (2, 4, 8)},
            shared={"ddim": (4, 8), "dpmsolver++": (4, 8)},
            savings=(0.25, 0.5),
            linkages=("ward",),
        ),
        TuneGrid(
            name="default",
            standards={
                "ddpm": (16, 25, 40),
                "ddim": (3, 4, 6, 8, 12, 25),
                "dpmsolver++": (3, 4, 6, 8, 12, 20),
            },
            shared={"ddpm": (25, 40), "ddim": (6, 12), "dpmsolver++": (4, 6, 8, 12, 20)},
            savings=(0.2, 0.35, 0.5, 0.65),
            linkages=("ward", "average"),
        ),
        TuneGrid(
            name="full",
            standards={
                "ddpm": (8, 12, 16, 20, 25, 31, 40),
                "ddim": (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 40),
                "dpmsolver++": (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25),
            },
            shared={
                "ddpm": (16, 25, 40),
                "ddim": (4, 6, 8, 12, 20),
                "dpmsolver++": (4, 6, 8, 12, 20),
            },
            savings=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
            linkages=tuple(LINKAGES),
        ),
    )
}


@dataclass(frozen=True)
class Candidates:
    """The settings to try, in a fixed order."""

    standards: tuple[Setting, ...]
    ladders: tuple[SavingLadder, ...]


def make_candidates(
    grid: TuneGrid, solvers: Sequence[str], methods: Sequence[str], initial_noise: str = "root"
) -> Candidates:
    """Return the candidates of a grid under some solvers (none: all) and methods of sharing."""
    chosen = [each for each in grid.standards if not solvers or each in solvers]
    alone = [
        replace(standard(each, K), initial_noise=initial_noise)
        for each in chosen
        for K in grid.standards[each]
    ]
    ladders = tuple(
        tuple(
            Setting(method, solver, K, saving=saving, initial_noise=initial_noise)
            for saving in sorted(grid.savings)
        )
        for solver in chosen
        for K in grid.shared.get(solver, ())
        for method in methods
    )
    return Candidates(tuple(alone), ladders)


def cost(setting: Setting) -> float:
    """Return the evaluations per image that a setting asks for."""
    return setting.evaluations * (1 - (setting.saving or 0.0))
