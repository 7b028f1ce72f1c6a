"""New rows that join what stands, against the same rows in a plan from nothing at equal price.

A catalogue is planned from nothing and counts as stored; then new rows come. They are planned once
as a night that joins it, once in a plan of the whole catalogue from nothing, and both nights'
pictures of them are drawn and judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.catalogue import make_texts
from benchmarks.churn import PLANNERS, SAVING, Ledger, Pool, extend
from benchmarks.lab import Lab
from benchmarks.outcome import Cell, Column, Figure, Outcome, Table
from hierdiff_core.budget import Budget
from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.forest import Forest
from hierdiff_core.judges.choose import load_judge
from hierdiff_core.judges.judge import Judge
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import content_key
from hierdiff_core.sampling.decode import decode_latents
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.standing import make_standing
from tasks.evaluation.subject import Subject, embed_texts, load_subject
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import read_settings

TITLE = "New rows that join what stands, against a plan from nothing"
STANDING, NEW = 1000, 500  # rows
SLOTS = 16

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Night:
    """What one plan makes of the new rows, M of them."""

    evaluations: int  # of the whole catalogue, those of earlier nights included
    losses: Numbers  # (M,) predicted
    scores: Numbers  # (M,) judged


def measure(lab: Lab) -> Outcome:
    """Plan, draw and judge the new rows, planner by planner."""
    standing, new = (24, 8) if lab.quick else (STANDING, NEW)
    recipe = pin_recipe(read_settings(device=lab.device).recipe)
    subject = load_subject(recipe, lab.device, WorkFolder(lab.folder("joined")))
    texts = make_texts()[: standing + new]
    embed_texts(subject, texts, lambda done, total: lab.say(f"embedded {done} of {total}"))
    pool = _pool(subject, texts)
    old, keys = list(pool.vectors)[:standing], list(pool.vectors)[standing:]
    judge = load_judge("attributes", lab.device)
    figures, rows = list[Figure](), list[list[Cell]]()
    for planner in PLANNERS:
        nights = {
            name: _judge(forest, keys, subject, judge)
            for name, forest in _plan(pool, old, keys, planner).items()
        }
        joined, fresh = nights.values()
        misfit = estimate_mean(joined.losses - fresh.losses)
        score = estimate_mean(joined.scores - fresh.scores)
        about = f"of {new} joined rows less in a fresh plan, {planner}"
        figures += [
            Figure(f"predicted loss {about}", *_figure(misfit)),
            Figure(f"score {about}", *_figure(score)),
        ]
        rows += [
            [
                planner,
                name,
                night.evaluations,
                *map(float, (night.losses.mean(), night.scores.mean())),
            ]
            for name, night in nights.items()
        ]
        lab.say(f"{planner}: loss {misfit.value:+.4f}, score {score.value:+.3f}")
    columns = (Column("planner"), Column("plan"), Column("evaluations of the catalogue", ",d"),
               Column("predicted loss", ".2%"), Column("score", ".3f"))  # fmt: skip
    title = f"{new} new rows, {standing:,} rows stand"
    return Outcome(tuple(figures), (Table(title, columns, rows),), notes=_NOTES)


def _pool(subject: Subject, texts: Sequence[str]) -> Pool:
    prompts = [subject.prompt(text) for text in texts]
    keys = list(map(content_key, prompts))
    vectors = dict(zip(keys, subject.vectors(texts), strict=True))
    return Pool(subject.recipe, dict(zip(keys, prompts, strict=True)), vectors)


def _plan(pool: Pool, old: list[str], new: list[str], planner: str) -> dict[str, Forest]:
    """Return the forest that joins and the one from nothing, at the price of the old rows' plan."""
    settings = PlanSettings(Budget(saving=SAVING), planner=planner)
    group, ledger, nothing = pool.group(old), Ledger(), make_standing(())
    first = plan_forest([group], [pool.rows(group.content_keys)], settings)
    ledger.store(first)
    whole = pool.group(old + new)
    return {
        name: extend(standing, pool, whole, settings, first.plan)
        for name, standing in (("joined", ledger.standing()), ("from nothing", nothing))
    }


def _judge(forest: Forest, new: Sequence[str], subject: Subject, judge: Judge) -> Night:
    """Draw and judge the pictures of new rows, which take all segments above them."""
    (group,) = forest.groups
    place = {key: leaf for leaf, key in enumerate(group.content_keys)}
    leaves, plan = [place[key] for key in new], forest.plan
    if forest.losses is None:
        raise LookupError("no losses are predicted")
    wanted = {each.id for leaf in leaves for each in plan.path(plan.leaf_segment(leaf))}
    texts = {
        key: prompt.text for key, prompt in zip(group.content_keys, group.prompts, strict=True)
    }
    keys = [*group.content_keys, *(guest.content_key for guest in forest.guests)]
    conditioning = subject.conditioning([texts[key] for key in keys])
    job = Job(plan, conditioning, keys, subject.recipe.seed, slots=SLOTS, only=wanted)
    recipe, denoiser = subject.recipe, subject.denoiser()
    solver = subject.solver(recipe.solver, recipe.steps)
    scores = {}
    for end in run(job, denoiser, solver):
        if plan.is_leaf(end.segment):
            key = keys[plan.order[end.segment.first]]
            pixels = np.stack(decode_latents(denoiser, [end.state.latents], [key]))
            scores[key] = float(judge.scores(pixels, [texts[key]])[0])
    return Night(plan.evaluations, forest.losses[leaves], np.array([scores[key] for key in new]))


def _figure(estimate: Estimate) -> tuple[float, str, str, float, float]:
    return estimate.value, "+.4f", "", estimate.low, estimate.high


_NOTES = (
    f"Captions in the miniature's vocabulary, its own solver and steps. The standing rows are "
    f"planned from nothing at a saving of {SAVING:.0%}; both plans of the new rows keep that "
    "plan's price (calibrated) or thresholds (the paper's).",
    "Losses are predicted by the model's calibration, for both planners; scores are the attribute "
    "judge's. Differences are row by row, intervals 95 %, by bootstrap over rows.",
)
