"""Carrying out a unit: its pictures are made, judged and dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hierdiff_core.calibrated.calibrated_solver import calibrate_solver
from hierdiff_core.calibrated.plans import predicted_misfit
from hierdiff_core.digest import digest
from hierdiff_core.evaluation.methods import Method, PromptGroup, make_setting_plan
from hierdiff_core.evaluation.unit import Outcome, Unit, needed_segments
from hierdiff_core.models.family import load_family
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.sampler import Job, rounds
from tasks.evaluation.panel import Panel, Pictures
from tasks.evaluation.subject import Subject

SLOTS = 32  # rows at once
KEPT = 6  # pictures of a unit that are kept for people
DIVERSITY = 100  # pictures that are compared with each other, as in the paper


Report = Callable[[int], None]  # hears of evaluations


def carry_out(
    unit: Unit,
    subject: Subject,
    panel: Panel,
    report: Report = lambda _: None,
    more: Mapping[str, Method] | None = None,
) -> Outcome:
    """Return the outcome of a unit; embeddings of its texts must be there.

    `more` are methods beside the usual ones and the model's own. Raises InvalidSetting for a
    budget that cannot be met.
    """
    vectors = subject.vectors(unit.texts)
    keys = [noise_key(text) for text in unit.texts]
    groups = [PromptGroup(vectors[first:last], keys[first:last]) for first, last in unit.bounds]
    plan = make_setting_plan(groups, unit.setting, {**subject.methods, **(more or {})})
    latents = _denoise(unit, plan, subject, report)
    facts = {
        "evaluations": float(plan.evaluations),
        "images": float(plan.size),
        "segments": float(len(plan.segments)),
    } | _predict(plan, vectors, unit, subject)
    return _judge(latents, unit.scored_texts, subject, panel, facts)


def _predict(
    plan: Plan, vectors: NDArray[np.floating], unit: Unit, subject: Subject
) -> dict[str, float]:
    """Return the misfit that the model's calibration expects of a plan, where it has one."""
    setting = unit.setting
    calibration = subject.calibration(setting.solver)
    if calibration is None or setting.steps < 2:
        return {}
    levels = calibrate_solver(calibration, subject.schedule, setting.solver, setting.steps).levels
    return {"predicted": predicted_misfit(plan, vectors, calibration, levels)}


def _denoise(unit: Unit, plan: Plan, subject: Subject, report: Report) -> list[torch.Tensor]:
    """Return final latents of the scored prompts; only what lies above them is denoised."""
    setting = unit.setting
    recipe = replace(subject.recipe, solver=setting.solver, steps=setting.steps)
    job = Job(
        plan,
        subject.conditioning(unit.texts),
        [noise_key(text) for text in unit.texts],
        subject.recipe.seed,
        setting.initial_noise,
        slots=SLOTS,
        only=needed_segments(plan, unit.scored),
        forwards=load_family(recipe.family).forwards(recipe),
    )
    found: dict[int, torch.Tensor] = {}
    for done in rounds(job, subject.denoiser(), subject.solver(setting.solver, setting.steps)):
        report(done.evaluations)
        for ended in done.finished:
            if plan.is_leaf(ended.segment):
                found[plan.order[ended.segment.first]] = ended.state.latents
    return [found[leaf] for leaf in unit.scored]


def _judge(
    latents: Sequence[torch.Tensor],
    prompts: Sequence[str],
    subject: Subject,
    panel: Panel,
    facts: dict[str, float],
) -> Outcome:
    """Return the panel's scores of the pictures, NaN for latents that are not finite."""
    made = [at for at, each in enumerate(latents) if bool(torch.isfinite(each).all())]
    if not made:
        nothing = np.full(len(prompts), np.nan)
        pictures = np.zeros((0, subject.recipe.height, subject.recipe.width, 3), np.uint8)
        return Outcome({judge.name: nothing for judge in panel.judges}, None, {}, pictures, facts)
    texts = [prompts[at] for at in made]
    pictures = decode([latents[at] for at in made], list(map(noise_key, texts)), subject)
    # Asking for the embedding loads the text side, which only a calibrated model's misfit needs.
    if "predicted" in facts and (embed_pictures := subject.embed_pictures) is not None:
        misfits = ((embed_pictures(pictures) - subject.vectors(texts)) ** 2).sum(axis=1)
        facts = facts | {"misfit": float(misfits.mean())}
    alike = panel.diversity(pictures[:DIVERSITY])
    scores, right = panel.verdicts(pictures, texts)
    return Outcome(
        {name: _spread(each, made, len(prompts)) for name, each in scores.items()},
        panel.features(pictures),
        {name: _spread(each, made, len(prompts)) for name, each in right.items()},
        pictures[:KEPT],
        facts if alike is None else facts | {"diversity": alike},
    )


def _spread(values: NDArray[np.float64], made: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return the values at the places of the pictures that were made, NaN elsewhere."""
    found = np.full(count, np.nan)
    found[list(made)] = values
    return found


def decode(latents: Sequence[torch.Tensor], names: Sequence[str], subject: Subject) -> Pictures:
    """Return pictures (P, height, width, 3) of final latents and the names that they draw by."""
    denoiser, parts = subject.denoiser(), []
    for at in range(0, len(latents), SLOTS):
        rows = torch.stack(list(latents[at : at + SLOTS])).to(denoiser.device)
        parts.append(denoiser.decode(rows, names[at : at + SLOTS]))
    return np.concatenate(parts)


def noise_key(text: str) -> str:
    """Return the key under which the sampler draws a prompt's noise."""
    # Of the prompt alone: runs with other solvers and steps start from the same noise.
    return digest("evaluation", text)
