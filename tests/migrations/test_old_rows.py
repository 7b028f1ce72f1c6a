"""What earlier versions stored is read by this one as it was meant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import torch
from alembic import command
from sqlalchemy import Engine, text

from hierdiff_core.recipe import Recipe, compatibility_key
from tasks.catalogue_record import read_tuned
from tasks.database import migrate, migration_config, session_scope
from tasks.ledger import claim_night, find_slots, find_tuned, list_runs, load_plan, load_prompts
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import plan_small_night, small, write_catalogue

# Word for word as version 0.1.0 wrote them.
RECIPE: Mapping[str, Any] = {
    "model": "hierdiff/miniature-decoder",
    "prior": "hierdiff/miniature-prior",
    "revision": "20676a2126f0c33d",
    "prior_revision": "0f7bcbd4d4f0bd13",
    "solver": "ddim",
    "steps": 8,
    "guidance": 4.0,
    "prior_steps": 25,
    "prior_guidance": 4.0,
    "height": 64,
    "width": 64,
    "negative_prompt": "",
    "seed": 0,
    "initial_noise": "root",
    "dtype": "float32",
}
TUNED: Mapping[str, Any] = {
    **{name: RECIPE[name] for name in ("solver", "steps", "revision", "prior_revision")},
    **{name: RECIPE[name] for name in ("guidance", "prior_guidance", "prior_steps")},
    **{name: RECIPE[name] for name in ("height", "width", "initial_noise")},
    "planner": "paper", "linkage": "average", "saving": 0.25, "judge": "attributes",
    "quality": 0.98, "score": 0.9, "share": 0.99, "share_low": 0.985, "share_high": 0.995,
    "evaluations": 3.0, "evaluations_best": 8.0, "prompts": 12, "told_on": 4,
    "tuned_at": "2026-11-22T03:00:00+00:00",
}  # fmt: skip
_RUN = "11111111-1111-1111-1111-111111111111"


def _store_old(database: Engine) -> None:
    """Put an old night into the tables of revision 0002."""
    recipe = json.dumps(RECIPE)
    with database.begin() as connection:
        command.downgrade(migration_config(connection), "0002")
        for statement in (
            "INSERT INTO catalogues (name, settings) VALUES ('shop', :tuned)",
            "INSERT INTO batches (catalogue_id, business_date, state)"
            " VALUES (1, '2026-11-22', 'ingested')",
            "INSERT INTO prompts (batch_id, row, reference, text, content_key, recipe)"
            " VALUES (1, 1, 'A-1', 'a red mug', 'key', :recipe)",
            "INSERT INTO runs (id, batch_id, recipe, linkage, tau, steps, shards, state, leaves,"
            " plan_order, evaluations_planned, evaluations_standard)"
            f" VALUES ('{_RUN}', 1, :recipe, 'calibrated', 0.7, 8, 0, 'planned', 0, '[]', 0, 0)",
            "INSERT INTO run_metrics (run_id, stage, seconds, device, details)"
            f" VALUES ('{_RUN}', 'probe', 1.5, '', '{{\"slots\": 6}}')",
        ):
            given = {"tuned": json.dumps(TUNED), "recipe": recipe}
            named = {name: value for name, value in given.items() if f":{name}" in statement}
            connection.execute(text(statement), named)
    migrate(database.url.render_as_string(hide_password=False))


def test_an_old_recipe_names_its_family_and_keeps_its_keys(database: Engine) -> None:
    _store_old(database)
    with session_scope(database) as session:
        night = claim_night(session, "shop", date(2026, 11, 22))
        (prompt,) = load_prompts(session, night.batch)
    recipe = prompt.recipe
    assert (recipe.family, recipe.text_revision) == ("kandinsky22", RECIPE["prior_revision"])
    assert recipe.option("prior_steps") == 25
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert len(compatibility_key(recipe)) == 64


def test_the_price_of_an_old_plan_is_no_longer_its_tau(database: Engine) -> None:
    _store_old(database)
    with session_scope(database) as session:
        plan = load_plan(session, UUID(_RUN)).plan
    assert (plan.planner, plan.price) == ("calibrated", 0.7)
    assert (plan.tau, plan.linkage) == (None, None)


def test_the_slots_of_an_old_run_stay_with_it(database: Engine) -> None:
    _store_old(database)
    with session_scope(database) as session:
        assert find_slots(session, UUID(_RUN)) == 6


def test_an_old_tuned_setting_still_says_what_it_was_measured_on(database: Engine) -> None:
    _store_old(database)
    with session_scope(database) as session:
        record = read_tuned("shop", find_tuned(session, "shop"))
    assert record.measured_on["text_revision"] == RECIPE["prior_revision"]
    assert record.measured_on["prior_steps"] == 25
    assert record.saving == 0.25


def test_a_night_runs_on_the_ledger_of_an_old_version_and_the_old_night_stays(
    settings: Settings, database: Engine, tmp_path: Path
) -> None:
    _store_old(database)
    torch.set_num_threads(1)
    tonight = small(settings, planner="paper", shards=1, steps=3, saving=0.3)
    file = write_catalogue(tmp_path, [("red", "mug"), ("blue", "clock")])
    with open_stores(tonight) as stores:
        night = plan_small_night(stores, tonight, file, date(2026, 11, 23))
        for shard in (0, 1):
            denoise_shard(stores, tonight, night.run, shard, "worker")
        publish(stores, tonight, night.run)
        with stores.session() as session:
            runs = {each.run: each for each in list_runs(session)}
    assert (runs[night.run].images, runs[night.run].state) == (2, RunState.COMPLETED)
    assert UUID(_RUN) in runs


def test_going_back_puts_old_names_where_they_were(database: Engine) -> None:
    _store_old(database)
    with database.begin() as connection:
        command.downgrade(migration_config(connection), "0002")
        found = connection.execute(text("SELECT recipe FROM runs")).scalar_one()
        tuned = connection.execute(text("SELECT settings FROM catalogues")).scalar_one()
        tau = connection.execute(text("SELECT linkage, tau FROM runs")).one()
    assert found == RECIPE
    assert tuned == TUNED
    assert tuple(tau) == ("calibrated", 0.7)
