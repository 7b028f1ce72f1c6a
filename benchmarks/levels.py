"""Which noise level tells what sharing costs: a fork's own, or the one its first own step lands on.

Knows readings of forks under several K; knows nothing of calibrations or plans. Each K is left out
once and predicted from the others, by a curve over either level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from benchmarks.lab import Lab
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Plot, Table
from benchmarks.paper.prompt_sets import built_in_sets
from hierdiff_core.calibrated.readings import Design
from hierdiff_core.calibrated.readings import measure as measure_forks
from hierdiff_core.evaluation.prompt_sets import choose_sets, sample
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.noise_levels import landing_levels, noise_levels
from hierdiff_core.solver import make_solver
from tasks.evaluation.subject import Subject, embed_texts, load_subject
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import read_settings

TITLE = "What sharing costs, by the level of the fork and by the level landed on"
SOLVERS, STEPS, PROMPTS = ("ddim", "dpmsolver++"), (6, 8, 12, 16), 80
FORK, LANDING = "the fork's level", "the level landed on"
_SET = "diverse-dev"
_FLOOR = 0.1  # sigma beyond which levels are told apart by their ratio

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Forks:
    """Excess of the forks of runs of K steps, (F,) each."""

    shared: Array  # steps
    levels: Mapping[str, Array]  # by what the level is of
    excess: Array  # per image


def measure(lab: Lab) -> Outcome:
    """Fork parties of four after every step from the second on, under each solver and K."""
    steps, prompts = ((4, 6), 4) if lab.quick else (STEPS, PROMPTS)
    recipe = pin_recipe(read_settings(device=lab.device).recipe)
    folder = WorkFolder(lab.folder("levels"))
    subject = load_subject(recipe, lab.device, folder)
    chosen = choose_sets(built_in_sets(), [_SET])[0]
    texts = [chosen.texts[place] for place in sample(chosen, prompts)]
    embed_texts(subject, texts)
    found = {}
    for solver in SOLVERS[:1] if lab.quick else SOLVERS:
        found[solver] = {K: _forks(subject, texts, solver, K) for K in steps}
        lab.say(f"{solver}: off by {_off(found[solver], LANDING):.0f} % by {LANDING}")
    return _tell(found)


def _forks(subject: Subject, texts: Sequence[str], solver: str, steps: int) -> Forks:
    design = Design(steps=steps, every=1, plain=0, plain_steps=())
    embed_pictures = subject.embed_pictures
    if embed_pictures is None:
        raise TypeError("the miniature's pictures are embedded where its prompts are")
    conditioning, denoiser = subject.conditioning(texts), subject.denoiser()
    make = partial(make_solver, solver, denoiser.noise_schedule)
    found = dict(measure_forks(denoiser, embed_pictures, make, conditioning, design, {}))
    seen = np.concatenate([found[f"forked-{block}"] for block in range(len(found))], axis=1)
    missed = ((seen - subject.vectors(texts)) ** 2).sum(axis=2).mean(axis=1)
    own, forks = noise_levels(denoiser.noise_schedule, make(steps).timesteps), list(design.forks)
    levels = {FORK: own[forks], LANDING: landing_levels(own)[forks]}
    return Forks(np.array(forks), levels, missed[1:] - missed[0])


def _off(found: Mapping[int, Forks], by: str) -> float:
    """Return by how much a left-out K's excess is mispredicted, in percent of it."""
    wrong = total = 0.0
    for steps, left_out in found.items():
        others = [each for K, each in found.items() if steps != K]
        depths = np.concatenate([_depth(each.levels[by]) for each in others])
        order = np.argsort(depths)
        curve = isotonic_regression(np.concatenate([each.excess for each in others])[order]).x
        expected = np.interp(_depth(left_out.levels[by]), depths[order], curve)
        wrong += float(np.abs(expected - left_out.excess).sum())
        total += float(left_out.excess.sum())
    return 100 * wrong / max(total, 1e-9)


def _depth(levels: Array) -> Array:
    return -np.log(levels + _FLOOR)


def _tell(found: Mapping[str, Mapping[int, Forks]]) -> Outcome:
    figures, rows, plots = list[Figure](), list[list[Cell]](), list[Plot]()
    for solver, by_steps in found.items():
        off = {by: _off(by_steps, by) for by in (FORK, LANDING)}
        goal = {FORK: None, LANDING: Goal(most=off[FORK])}
        figures += [Figure(f"{solver}: off by {by}", off[by], ".0f", "%", goal=goal[by])
                    for by in off]  # fmt: skip
        plots += [_plot(solver, by, by_steps) for by in off]
        rows += [
            [solver, K, int(d), float(own), float(landing), float(excess)]
            for K, each in by_steps.items()
            for d, own, landing, excess in zip(each.shared, *each.levels.values(), each.excess,
                                               strict=True)
        ]  # fmt: skip
    columns = (Column("solver"), Column("K"), Column("steps shared"), Column(FORK, ".2f"),
               Column(LANDING, ".2f"), Column("excess", ".1f"))  # fmt: skip
    return Outcome(
        tuple(figures), (Table("Excess per image", columns, rows),), tuple(plots), _NOTES
    )


def _plot(solver: str, by: str, found: Mapping[int, Forks]) -> Plot:
    lines = {
        f"{K} steps": [(float(x) + _FLOOR, float(y)) for x, y in zip(each.levels[by], each.excess,
                                                                     strict=True)]
        for K, each in found.items()
    }  # fmt: skip
    return Plot(f"{solver}: excess by {by}", f"sigma + {_FLOOR:g}", "excess", lines)


_NOTES = (
    f"{PROMPTS} prompts of `{_SET}` in parties of four that share a noise. Excess is by how much "
    "more the squared distance of a picture's embedding to its conditioning is than that of the "
    "picture made alone. Off: each K predicted from the other ones, in percent of the excess.",
)
