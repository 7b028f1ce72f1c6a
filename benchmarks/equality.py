"""Whether a picture depends on how it was batched: on the slots, or on its neighbours.

Knows runs of one plan under other slots and in other company, and compares latents and pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.catalogue import cut, load_catalogue, open_decoder
from benchmarks.lab import Lab
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from hierdiff_core.checkpoint import State
from hierdiff_core.models.kandinsky22 import Decoder
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import make_solver

TITLE = "Equal images whatever the slots and the neighbours"
SLOTS = (1, 4, 16)
FIXED = 4  # the one shape under which neighbours change
SAVING = 0.5
TOLERANCE = 1e-4

States = Mapping[int, State]


def measure(lab: Lab) -> Outcome:
    """Run one plan at several slots, then at one shape in several companies."""
    catalogue = load_catalogue(lab, 6 if lab.quick else 48)
    decoder = open_decoder(lab, catalogue)
    plan = cut(catalogue.tree(), catalogue.recipe.steps, SAVING)
    job = catalogue.job(plan, FIXED)
    slots = _by_slots(lab, job, decoder)
    fixed = slots[FIXED]
    companies = {
        "alone: every eighth leaf's path by itself, nothing beside it": _alone(job, decoder),
        "resumed: the second half, from states of the first": _resumed(job, decoder, fixed),
        "fewer: every third leaf's path, the others left out": _fewer(job, decoder),
    }
    rows = [
        (words, len(found), _differing(found, fixed), _worst(found, fixed))
        for words, found in companies.items()
    ]
    latents = max(_worst(each, fixed) for each in slots.values())
    differing = sum(row[2] for row in rows)
    return Outcome(
        figures=(
            Figure("greatest difference of latents between slots 1, 4 and 16", latents, ".1e",
                   goal=Goal(most=TOLERANCE)),
            Figure(f"segments whose bits differ in other company, at {FIXED} slots", differing,
                   ".0f", goal=Goal(most=0)),
        ),
        tables=(_slots_table(plan, decoder, slots),
                Table(f"At {FIXED} slots, in other company",
                      (Column("company"), Column("segments", "d"), Column("that differ", "d"),
                       Column("greatest difference", ".1e")), rows)),
        notes=(
            f"{plan.size} prompts, {SAVING:.0%} of evaluations spared, {len(plan.segments)} "
            f"segments, DDIM; latents have a scale of about 1, and are compared to those at "
            f"{FIXED} slots.",
        ),
        data={"latents": latents, "differing": differing},
    )  # fmt: skip


def _by_slots(lab: Lab, job: Job, decoder: Decoder) -> dict[int, dict[int, State]]:
    found = {}
    for slots in SLOTS:
        found[slots] = _states(replace(job, slots=slots), decoder)
        lab.say(f"{slots} slots: {len(found[slots])} segments")
    return found


def _states(job: Job, decoder: Decoder, finished: States | None = None) -> dict[int, State]:
    solver = make_solver("ddim", decoder.noise_schedule, job.plan.steps)
    return {each.segment.id: each.state for each in run(job, decoder, solver, finished)}


def _alone(job: Job, decoder: Decoder) -> dict[int, State]:
    found: dict[int, State] = {}
    for leaf in range(0, job.plan.size, 8):
        path = {each.id for each in job.plan.path(job.plan.leaf_segment(leaf))}
        found |= _states(replace(job, only=path), decoder)
    return found


def _fewer(job: Job, decoder: Decoder) -> dict[int, State]:
    leaves = range(0, job.plan.size, 3)
    paths = {each.id for leaf in leaves for each in job.plan.path(job.plan.leaf_segment(leaf))}
    return _states(replace(job, only=paths), decoder)


def _resumed(job: Job, decoder: Decoder, whole: States) -> dict[int, State]:
    plan = job.plan
    done = {each.id: whole[each.id] for each in plan.segments if each.stop <= plan.steps // 2}
    rest: Collection[int] = set(range(len(plan.segments))) - set(done)
    return _states(replace(job, only=rest), decoder, done)


def _differing(found: States, wanted: States) -> int:
    return sum(not torch.equal(found[each].latents, wanted[each].latents) for each in found)


def _worst(found: States, wanted: States) -> float:
    return max(float((found[each].latents - wanted[each].latents).abs().max()) for each in found)


def _slots_table(plan: Plan, decoder: Decoder, slots: Mapping[int, States]) -> Table:
    pictures = {each: _pictures(plan, decoder, found) for each, found in slots.items()}
    rows = [
        (each, _worst(slots[each], slots[FIXED]), _levels(pictures[each], pictures[FIXED]))
        for each in slots
    ]
    columns = (Column("slots", "d"), Column("latents", ".1e"), Column("pictures, of 255", "d"))
    return Table(f"Greatest difference from {FIXED} slots", columns, rows)


def _pictures(plan: Plan, decoder: Decoder, found: States) -> np.ndarray[Any, Any]:
    leaves = [found[plan.leaf_segment(leaf).id].latents for leaf in range(plan.size)]
    return np.concatenate([decoder.decode(each[None], [""]) for each in leaves])


def _levels(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> int:
    return int(np.abs(found.astype(int) - wanted.astype(int)).max())
