"""What calibrating on other prompts costs: plans against those calibrated on the very prompts.

Knows the evaluation's sets, its judge, and the two calibrations; knows nothing of how plans are
made. The model's own calibration has seen a small sample of its words; the other one has seen the
very prompts that are planned, with several times the evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lab import Lab
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.paper.prompt_sets import built_in_sets, set_file
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.readings import Design
from hierdiff_core.evaluation.bootstrap import Estimate, resample
from hierdiff_core.evaluation.plan_ladder import spending
from hierdiff_core.evaluation.prompt_sets import PromptSet, choose_sets, sample
from hierdiff_core.evaluation.unit import make_unit
from hierdiff_core.models.recipes import pin_recipe
from tasks.evaluation.carry_out import carry_out
from tasks.evaluation.panel import Panel, load_panel
from tasks.evaluation.subject import Subject, embed_texts, load_subject, text_model
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import Settings, read_settings
from tasks.tuning.calibrate import calibrate

TITLE = "Calibrated on a sample of the model's words, and on the very prompts"
SETS = ("diverse", "templates", "subjects")
SOLVER, STEPS = "dpmsolver++", 8
PER_IMAGE = (1.6, 2.4, 4.0)  # evaluations
MOST = 12_000  # evaluations of a calibration on the prompts themselves
_LOST = Goal(most=2.0)
_FEW = 24  # prompts of a set in a quick run

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A set's scores by budget and prompt, (B, P), under either calibration."""

    name: str
    given: Scores  # by the model's own
    own: Scores  # by that on the prompts themselves
    evaluations: int  # that the latter took

    @property
    def lost(self) -> Estimate:
        """Share of the score that the model's own calibration loses, in percent."""
        return _lost(self.given.mean(axis=0), self.own.mean(axis=0))


def measure(lab: Lab) -> Outcome:
    """Plan each set under both, on the same prompts, noise and budgets."""
    budgets, most, judged = (
        (PER_IMAGE[1:2], least_evaluations(), 6) if lab.quick else (PER_IMAGE, MOST, 300)
    )
    settings = read_settings(solver=SOLVER, steps=STEPS, device=lab.device)
    recipe = pin_recipe(settings.recipe)
    folder = WorkFolder(lab.folder("own"))
    subject = load_subject(recipe, lab.device, folder)
    panel = load_panel(("attributes",), text_model(recipe), lab.device)
    pairs = []
    for name in SETS[:1] if lab.quick else SETS:
        prompts = choose_sets(built_in_sets(), [name])[0]
        if lab.quick:
            prompts = replace(prompts, entries=prompts.entries[:_FEW])
        embed_texts(subject, prompts.texts)
        lab.say(f"{name}: {len(prompts):,} prompts are embedded")
        own = _calibrate(settings, lab, name, most)
        lab.say(f"{name}: calibrated on them with {own.facts['evaluations']:,} evaluations")
        scored = Scored(prompts, judged, budgets)
        given = scored.by(subject, panel)
        pairs.append(Pair(name, given, scored.by(replace(subject, own=own), panel),
                          own.facts["evaluations"]))  # fmt: skip
        lab.say(f"{name}: loses {pairs[-1].lost.value:.1f} %")
    return _tell(pairs, budgets)


@dataclass(frozen=True)
class Scored:
    """What is planned and judged of a set."""

    prompts: PromptSet
    judged: int
    budgets: tuple[float, ...]

    def by(self, subject: Subject, panel: Panel, method: str = "calibrated") -> Scores:
        """Return scores (B, P) of the subject's plans."""
        places, texts = sample(self.prompts, self.judged), self.prompts.texts
        return np.stack([
            carry_out(
                make_unit(texts, places, spending(method, SOLVER, STEPS, each)),
                subject, panel,
            ).main
            for each in self.budgets
        ])  # fmt: skip


def _calibrate(settings: Settings, lab: Lab, name: str, most: int) -> Calibration:
    out: Path = lab.folder("own") / f"{name}.safetensors"
    file = set_file(name)
    recipe = pin_recipe(settings.recipe)
    return calibrate(settings, recipe, file=file, evaluations=most, out=out).calibration


def least_evaluations() -> int:
    """Return what the smallest calibration takes."""
    return Design().evaluations(Design().prompts_at_least)


def _lost(given: Scores, own: Scores) -> Estimate:
    return resample(np.stack([given, own]), lambda means: 100 * (1 - means[0] / means[1]))


def _tell(pairs: list[Pair], budgets: tuple[float, ...]) -> Outcome:
    whole = _lost(*(np.concatenate([getattr(each, side).mean(axis=0) for each in pairs])
                    for side in ("given", "own")))  # fmt: skip
    figures = [Figure("score lost, all sets", *_shown(whole), goal=_LOST)]
    figures += [Figure(f"score lost, {each.name}", *_shown(each.lost)) for each in pairs]
    columns = (Column("set"), Column("evaluations per image"), Column("the model's own", ".3f"),
               Column("on the prompts themselves", ".3f"),
               Column("evaluations of the latter", ","))  # fmt: skip
    rows: list[list[Cell]] = [
        [each.name, budget, float(given.mean()), float(own.mean()), each.evaluations]
        for each in pairs
        for budget, given, own in zip(budgets, each.given, each.own, strict=True)
    ]
    return Outcome(tuple(figures), (Table("Mean score", columns, rows),), notes=_NOTES)


def _shown(lost: Estimate) -> tuple[float, str, str, float, float]:
    return lost.value, ".1f", "%", lost.low, lost.high


_NOTES = (
    f"DPM-Solver++ with {STEPS} steps; up to 300 prompts of a set are judged, in plans of all of "
    "it, with the same noise on both sides. Losses are of the mean score over the budgets, with "
    "95 % intervals over prompts; negative: the model's own calibration does better.",
)
