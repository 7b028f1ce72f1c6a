"""What a calibration loses where prompts' vectors and pictures' embeddings are two spaces.

Knows the miniature, whose prompts and pictures share a space, so that a calibration which is not
told so can be compared with the one that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.lab import Lab
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.own import Scored, least_evaluations
from benchmarks.paper.prompt_sets import built_in_sets
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.evaluation.prompt_sets import choose_sets
from hierdiff_core.miniature import PRIOR_MODEL
from hierdiff_core.models.recipes import pin_recipe
from tasks.evaluation.panel import load_panel
from tasks.evaluation.subject import embed_texts, load_subject, text_model
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import Settings, read_settings
from tasks.tuning.calibrate import calibrate

TITLE = "Calibrated by an encoder of pictures that knows nothing of the prompts' space"
SET = "diverse"
SOLVER, STEPS = "dpmsolver++", 8
PER_IMAGE = (1.6, 2.4, 4.0)  # evaluations
# By name, what compares pictures; the model's own space is one with its prompts'.
ENCODERS: Mapping[str, str | None] = {
    "the prompts' own space": None,
    "CLIP": f"clip:{PRIOR_MODEL}",
    "the judge's features": "attributes",
}


def measure(lab: Lab) -> Outcome:
    """Calibrate by each encoder, plan a set at each budget and have its pictures judged."""
    budgets, judged = (PER_IMAGE[1:2], 6) if lab.quick else (PER_IMAGE, 300)
    settings = read_settings(solver=SOLVER, steps=STEPS, device=lab.device)
    recipe = pin_recipe(settings.recipe)
    subject = load_subject(recipe, lab.device, WorkFolder(lab.folder("picture_spaces")))
    panel = load_panel(("attributes",), text_model(recipe), lab.device)
    prompts = choose_sets(built_in_sets(), [SET])[0]
    if lab.quick:
        prompts = replace(prompts, entries=prompts.entries[:24])
    embed_texts(subject, prompts.texts)
    scored = Scored(prompts, judged, budgets)
    found, scores = {}, {}
    for name, encoder in list(ENCODERS.items())[: 2 if lab.quick else None]:
        found[name] = _calibrate(settings, lab, encoder)
        scores[name] = scored.by(replace(subject, own=found[name]), panel).mean(axis=1)
        lab.say(f"{name}: score {scores[name].mean():.3f}")
    tree = scored.by(subject, panel, "average").mean(axis=1)
    return _outcome(found, {**scores, "no calibration: the tree": tree}, budgets)


def _calibrate(settings: Settings, lab: Lab, encoder: str | None) -> Calibration:
    out = lab.folder("picture_spaces") / "calibration.safetensors"
    most = least_evaluations() if lab.quick else 4000
    recipe = pin_recipe(settings.recipe)
    made = calibrate(settings, recipe, evaluations=most, out=out, picture_encoder=encoder)
    return made.calibration


def _outcome(
    found: Mapping[str, Calibration],
    scores: Mapping[str, np.ndarray],
    budgets: tuple[float, ...],
) -> Outcome:
    best = float(next(iter(scores.values())).mean())
    columns = (
        Column("pictures are compared by"),
        Column("held-out pictures explained", ".2f"),
        Column("ranking at the last fork", ".2f"),
        *(Column(f"score at {budget} evaluations", ".3f") for budget in budgets),
    )
    rows: list[list[Cell]] = [
        [
            name,
            found[name].facts.get("explained") if name in found else None,
            found[name].facts["spearman"][-1] if name in found else None,
            *map(float, values),
        ]
        for name, values in scores.items()
    ]
    lost = {name: 100 * (1 - float(values.mean()) / best) for name, values in scores.items()}
    figures = tuple(
        Figure(f"score lost by {name}", value, ".1f", "%", goal=Goal(most=5.0))
        for name, value in list(lost.items())[1:-1]
    )
    tree = Figure("score lost by the tree, without a calibration", [*lost.values()][-1], ".1f", "%")
    return Outcome((*figures, tree), (Table("By encoder", columns, rows),), notes=_NOTES)


_NOTES = (
    f"DPM-Solver++ with {STEPS} steps on the set `{SET}`, of which up to 300 prompts are judged, "
    "with the same noise in every row. CLIP is the miniature's own, as unit vectors; the map from "
    "the prior's embeddings to it is fitted as if nothing were known. The features are those of "
    "the judge that scores. The tree is the paper's, cut at the same budget.",
)
