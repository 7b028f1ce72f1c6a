"""How different the variants of a prompt are: pictures that share half their steps, and seeds.

Knows prompts, a judge and a CLIP; knows nothing of how variants part. Each prompt is drawn eight
times from eight noises, and eight times as variants that share the first half of their steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.lab import Lab
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.paper.prompt_sets import built_in_sets
from hierdiff_core.evaluation.bootstrap import Estimate, resample
from hierdiff_core.evaluation.prompt_sets import choose_sets, sample
from hierdiff_core.forest import group_prompts
from hierdiff_core.judges.choose import load_judge
from hierdiff_core.judges.clip import ClipScore, load_clip
from hierdiff_core.judges.judge import Judge
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import RENEWED, Prompt
from hierdiff_core.sampling.decode import decode_latents
from hierdiff_core.sampling.sampler import Job, run
from tasks.evaluation.subject import Subject, embed_texts, load_subject, text_model
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import read_settings

TITLE = "Eight variants of a prompt against eight seeds"
SETS, PROMPTS, PICTURES, STEPS = ("diverse-dev", "diverse"), 24, 8, 8
SOLVERS = ("ddim", "dpmsolver++", "ddpm")
SHARES = (0.5, 0.25)  # of the steps
_WITHIN = Goal(most=0.02)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Alike:
    """Of each prompt: similarity of its pictures and their mean score, (P,)."""

    similarity: Array
    score: Array


@dataclass(frozen=True)
class _Eyes:
    clip: ClipScore
    judge: Judge


def measure(lab: Lab) -> Outcome:
    """Draw and compare, set by set and solver by solver."""
    prompts, solvers = (2, SOLVERS[:1]) if lab.quick else (PROMPTS, SOLVERS)
    recipe = pin_recipe(read_settings(device=lab.device, steps=STEPS).recipe)
    subject = load_subject(recipe, lab.device, WorkFolder(lab.folder("variants")))
    eyes = _Eyes(load_clip(text_model(recipe), lab.device), load_judge("attributes", lab.device))
    rows, figures = list[list[Cell]](), list[Figure]()
    for name in SETS[:1] if lab.quick else SETS:
        chosen = choose_sets(built_in_sets(), [name])[0]
        texts = [chosen.texts[place] for place in sample(chosen, prompts)]
        embed_texts(subject, texts)
        for solver in solvers:
            seeds = _draw(subject, texts, solver, 0.0, eyes)
            for share in SHARES:
                variants = _draw(subject, texts, solver, share, eyes)
                closer = _difference(variants.similarity, seeds.similarity)
                better = _difference(variants.score, seeds.score)
                alike = (float(seeds.similarity.mean()), float(variants.similarity.mean()))
                rows.append([name, solver, share, *alike, *_shown(closer), *_shown(better)])
                lab.say(f"{name} {solver} {share:.0%}: {closer.value:+.4f}, {better.value:+.4f}")
                if share == SHARES[0]:
                    about = f"{name}, {solver}: similarity above that of seeds"
                    figures.append(Figure(about, *_figure(closer), goal=_WITHIN))
    columns = (Column("set"), Column("solver"), Column("shared", ".0%"), Column("seeds", ".3f"),
               Column("variants", ".3f"), Column("difference", "+.3f"), Column("from", "+.3f"),
               Column("to", "+.3f"), Column("score", "+.3f"), Column("from", "+.3f"),
               Column("to", "+.3f"))  # fmt: skip
    return Outcome(tuple(figures), (Table("Similarity and score", columns, rows),), notes=_NOTES)


def _draw(subject: Subject, texts: Sequence[str], name: str, share: float, eyes: _Eyes) -> Alike:
    """Draw pictures of each text that share no other step than with each other."""
    solver, denoiser = subject.solver(name, STEPS), subject.denoiser()
    alike, scores = [], []
    for text in texts:
        prompts = [Prompt(1, "", text, subject.recipe, each + 1) for each in range(PICTURES)]
        (group,) = group_prompts(prompts)
        vectors = subject.vectors([text] * PICTURES)
        settings = PlanSettings(planner="paper", tau=0.0, shared=share)
        plan = plan_forest([group], [vectors], settings).plan
        job = Job(
            plan,
            subject.conditioning([text] * PICTURES),
            group.content_keys,
            slots=PICTURES,
            text_keys=group.text_keys,
        )
        ends = [end for end in run(job, denoiser, solver) if plan.is_leaf(end.segment)]
        names = [group.content_keys[plan.order[end.segment.first]] for end in ends]
        pixels = np.stack(decode_latents(denoiser, [end.state.latents for end in ends], names))
        alike.append(eyes.clip.diversity(pixels))
        scores.append(float(eyes.judge.scores(pixels, [text] * PICTURES).mean()))
    return Alike(np.array(alike), np.array(scores))


def _difference(one: Array, other: Array) -> Estimate:
    return resample(np.stack([one, other]), lambda means: means[0] - means[1])


def _figure(estimate: Estimate) -> tuple[float, str, str, float, float]:
    return estimate.value, "+.3f", "", estimate.low, estimate.high


def _shown(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


_NOTES = (
    f"{PROMPTS} prompts of each set, {PICTURES} pictures of each, {STEPS} steps; R = {RENEWED:g} "
    "was chosen on `diverse-dev`. Similarity is the mean cosine of a prompt's pictures by the "
    "miniature's own CLIP; lower is more diverse. Score is the attribute judge's, variants less "
    "seeds. Intervals by bootstrap over prompts.",
)
