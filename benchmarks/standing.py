"""Planning new rows on what stands: `python -m benchmarks.standing HOME ROWS` measures one night.

Earlier nights are planned and stored by the product on a PostgreSQL of its own; that their segments
are done, and where their objects would lie, is written by SQL, since making them would take days.
Tonight's rows are then planned by a fresh process, from the ledger and back.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import text

from benchmarks.lab import Lab
from benchmarks.machine import ROOT
from benchmarks.outcome import Figure, Goal, Outcome
from benchmarks.planning import Vectors, make_template
from flows.stack.standalone import standalone
from hierdiff_core.budget import Budget
from hierdiff_core.embedding import Conditioning, Embedding, pack
from hierdiff_core.forest import group_prompts
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import Recipe
from tasks import ledger
from tasks.plan import plan_prompts, store_forest
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

TITLE = "Planning new rows on what stands"
SPLITS, NEW, NIGHT = 100_000, 1_000, 2_000  # rows of one earlier night
SAVING = 0.5
GOAL_SECONDS, GOAL_MEMORY = 10, 2  # GiB
_DONE = text(
    "UPDATE segments SET state = 'done', finished_at = now(), bytes = 1,"
    " sha256 = encode(sha256(convert_to(key, 'UTF8')), 'hex') WHERE run_id = :run"
)


def measure(lab: Lab) -> Outcome:
    """Store nights until enough splits stand, then plan one more in a process of its own."""
    splits, new, night = (60, 10, 40) if lab.quick else (SPLITS, NEW, NIGHT)
    most = new + 3 * splits + night  # a night leaves nearly half as many splits as rows
    vectors = make_template(most)
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lambda line: None) as stack,
        open_stores(read_settings(home=stack.home)) as stores,
    ):
        recipe = made_up_recipe(read_settings())
        store_rows(stores, recipe, 0, vectors[:new])
        standing, first = 0, new
        while standing < splits:
            standing += _store_night(stores, recipe, first, vectors[first : first + night])
            first += night
            lab.say(f"{standing:,} splits of {first - new:,} rows")
        update = _plan_by_itself(stack.home, new)
        standing += _store_night(stores, recipe, first, vectors[first : first + night])
        found = _plan_by_itself(stack.home, new)
    about = f"{new:,} new rows planned, {splits:,} splits stand"
    figures = (
        Figure(about, found["seconds"], ".1f", "s", goal=Goal(most=GOAL_SECONDS)),
        Figure(f"peak memory, {about}", found["peak"], ".2f", "GiB", goal=Goal(most=GOAL_MEMORY)),
        Figure("the same once after an update, when no sum is kept", update["seconds"], ".1f", "s"),
        Figure("peak memory of that", update["peak"], ".2f", "GiB"),
        Figure("rows that join what stands", found["joined"], "d"),
        Figure("splits that stand", standing, ",d"),
    )
    return Outcome(figures, notes=_NOTES)


def _plan_by_itself(home: Path, new: int) -> dict[str, Any]:
    """Plan the new rows in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.standing", str(home), str(new)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return dict(json.loads(said.stdout.splitlines()[-1]))


def store_rows(stores: Stores, recipe: Recipe, first: int, vectors: Vectors) -> list[Prompt]:
    """Store the embeddings (N, D) of made-up prompts, numbered on from the first; return these."""
    prompts = make_rows(recipe, first, len(vectors))
    rows = {
        embedding_key(prompt): ledger.StoredEmbedding(
            pack(Embedding(row, Conditioning({"y": torch.from_numpy(row[None])})))
        )
        for prompt, row in zip(prompts, vectors, strict=True)
    }
    with stores.session() as session:
        ledger.store_embeddings(session, rows)
    return prompts


def make_rows(recipe: Recipe, first: int, count: int) -> list[Prompt]:
    """Return made-up prompts."""
    numbers = range(first, first + count)
    return [Prompt(number + 1, str(number), f"mug {number}", recipe) for number in numbers]


def made_up_recipe(settings: Settings) -> Recipe:
    """Return a recipe without a calibration, since the vectors are not the model's."""
    return pin_recipe(replace(settings.recipe, guidance=5.0))


def _store_night(stores: Stores, recipe: Recipe, first: int, vectors: Vectors) -> int:
    """Store a night as if it had been made; return how many splits it leaves."""
    prompts = store_rows(stores, recipe, first, vectors)
    (group,) = group_prompts(prompts)
    place = {prompt: row for row, prompt in enumerate(prompts)}
    rows = vectors[[place[prompt] for prompt in group.prompts]]
    budget = Budget(saving=SAVING)
    forest = plan_forest([group], [rows], PlanSettings(budget, planner="paper"))
    with stores.session() as session:
        day = date(2026, 1, 1) + timedelta(days=first)
        batch = ledger.claim_night(session, "shop", day).batch
    run = store_forest(stores, batch, forest, budget, 1)
    with stores.session() as session:
        session.execute(_DONE, {"run": run})
    return sum(not forest.plan.is_leaf(each) for each in forest.plan.segments)


def plan_tonight(settings: Settings, count: int) -> dict[str, Any]:
    """Plan the first rows as a night of their own; return seconds, GiB and rows that join."""
    prompts = make_rows(made_up_recipe(settings), 0, count)
    asked = PlanSettings(Budget(saving=SAVING), planner="paper")
    with open_stores(settings) as stores:
        began = time.perf_counter()
        forest = plan_prompts(stores, prompts, asked, "shop")
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak": peak, "joined": forest.standing.joined}


_NOTES = (
    f"1,280 dimensions, earlier nights of {NIGHT:,} rows at a saving of {SAVING:.0%}, by the "
    "paper's planner. The time is that from a night's embedded prompts to its plan: standing "
    "segments and the sums of their founders are read from PostgreSQL; those of the last night's "
    "segments are made from its vectors, as every night does for the night before. The peak is "
    "that of the whole process, its libraries included.",
)


if __name__ == "__main__":
    home, rows = sys.argv[1:]
    print(json.dumps(plan_tonight(read_settings(home=Path(home)), int(rows))))
