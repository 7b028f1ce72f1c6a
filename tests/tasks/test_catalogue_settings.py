"""A night is made by its catalogue's own setting where that holds, else by the environment's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from hierdiff_core.models.recipes import pin_recipe
from tasks import stages
from tasks.catalogue_record import Tuned, read_tuned
from tasks.catalogue_settings import settings_for
from tasks.errors import DamagedTuning
from tasks.ledger import (
    Night,
    claim_night,
    find_tuned,
    forget_tuned,
    keep_tuned,
    load_prompts,
    summarise,
)
from tasks.report.gather import gather_report
from tasks.report.page import render_report
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.tasks.night_kit import NIGHT, small, write_catalogue

SHARED = "tuned 2026-11-22: share: average linkage, DDIM, 4 steps, saving 25 %"


@pytest.fixture
def short(settings: Settings) -> Settings:
    return small(settings)


@pytest.fixture
def stores(short: Settings) -> Iterator[Stores]:
    with open_stores(short) as opened:
        yield opened


def tuned(settings: Settings, **changed: object) -> Tuned:
    """Return a choice that was measured on the settings' own model."""
    recipe = pin_recipe(settings.recipe)
    fields: dict[str, object] = {
        "solver": "ddim", "steps": 4, "planner": "paper", "linkage": "average", "saving": 0.25,
        "judge": "attributes", "quality": 0.98,
        "score": 0.9, "share": 0.99, "share_low": 0.985, "share_high": 0.995, "evaluations": 3.0,
        "evaluations_best": 8.0, "prompts": 12, "told_on": 4,
        "tuned_at": "2026-11-22T03:00:00+00:00",
    }  # fmt: skip
    measured_on = {
        "revision": recipe.revision, "text_revision": recipe.text_revision,
        "guidance": recipe.guidance, "height": recipe.height, "width": recipe.width,
        "initial_noise": recipe.initial_noise, "prior_steps": recipe.option("prior_steps"),
        "prior_guidance": recipe.option("prior_guidance"),
    }  # fmt: skip
    measured_on |= {name: changed.pop(name) for name in set(changed) & set(measured_on)}
    return read_tuned("shop", fields | {"measured_on": measured_on} | changed)


def keep(stores: Stores, record: Tuned) -> None:
    with stores.session() as session:
        keep_tuned(session, "shop", record.to_json())


def claimed(stores: Stores, catalogue: str = "shop") -> Night:
    with stores.session() as session:
        return claim_night(session, catalogue, NIGHT)


def planned(stores: Stores, settings: Settings, file: Path) -> UUID:
    """Make a night up to its plan, as the nightly flow does."""
    claim = claimed(stores)
    tonight = settings_for(stores, settings, "shop", claim.batch)
    stages.ingest(stores, tonight.settings, claim, stages.Source(file=file))
    stages.embed(stores, settings, claim.batch, lambda done, total: None)
    return stages.plan(stores, settings, claim.batch, tonight)


@pytest.mark.slow
def test_a_tuned_night_is_planned_by_the_choice_and_says_so_everywhere(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    keep(stores, tuned(short))
    run = planned(stores, short, write_catalogue(tmp_path))
    with stores.session() as session:
        facts = summarise(session, run)
    assert (facts.recipe.solver, facts.recipe.steps) == ("ddim", 4)
    assert (facts.linkage, facts.saving_asked) == ("average", 0.25)
    assert facts.evaluations_planned <= 0.75 * 12 * 4
    assert facts.tuned == SHARED
    assert SHARED in render_report(gather_report(stores, short, run))


@pytest.mark.slow
def test_not_sharing_is_a_choice_too(stores: Stores, short: Settings, tmp_path: Path) -> None:
    keep(stores, tuned(short, saving=0.0, linkage="ward", steps=5))
    run = planned(stores, short, write_catalogue(tmp_path))
    with stores.session() as session:
        facts = summarise(session, run)
    assert facts.evaluations_planned == facts.evaluations_standard == 12 * 5
    assert facts.tuned == "tuned 2026-11-22: do not share: DDIM, 5 steps"


def test_a_choice_holds_for_its_own_catalogue_only(stores: Stores, short: Settings) -> None:
    keep(stores, tuned(short))
    other = settings_for(stores, short, "another")
    assert (other.settings, other.tuned, other.warning) == (short, "", "")
    assert settings_for(stores, short, "shop").tuned == SHARED


@pytest.mark.parametrize(
    "changed", [{"guidance": 7.0}, {"height": 32}, {"prior_steps": 6}, {"revision": "0" * 16}]
)
def test_a_choice_that_was_measured_on_something_else_is_named_and_left(
    stores: Stores, short: Settings, changed: dict[str, object]
) -> None:
    keep(stores, tuned(short, **changed))
    tonight = settings_for(stores, short, "shop")
    assert (tonight.settings, tonight.tuned) == (short, "")
    assert "'shop'" in tonight.warning
    assert next(iter(changed)).replace("_", " ") in tonight.warning


def test_a_calibration_that_is_not_here_leaves_the_environment_in_charge(
    stores: Stores, short: Settings
) -> None:
    keep(stores, tuned(short, planner="calibrated", guidance=5.0))
    tonight = settings_for(stores, short.model_copy(update={"guidance": 5.0}), "shop")
    assert "calibration" in tonight.warning


def test_rows_that_were_stored_before_keep_what_they_were_stored_with(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    claim = claimed(stores)
    stages.ingest(stores, short, claim, stages.Source(file=write_catalogue(tmp_path)))
    keep(stores, tuned(short))
    tonight = settings_for(stores, short, "shop", claim.batch)
    assert (tonight.settings, tonight.tuned) == (short, "")
    assert "rows were stored" in tonight.warning
    with stores.session() as session:
        assert load_prompts(session, claim.batch)[0].recipe.steps == short.steps


def test_a_row_with_a_column_of_its_own_keeps_it(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    keep(stores, tuned(short))
    file = tmp_path / "rows.csv"
    file.write_text("prompt,guidance\na red mug,7\na blue mug,\n")
    tonight = settings_for(stores, short, "shop")
    rows = stages.read_rows(tonight.settings, stages.Source(file=file)).prompts
    assert [each.recipe.guidance for each in rows] == [7.0, short.recipe.guidance]
    assert {(each.recipe.solver, each.recipe.steps) for each in rows} == {("ddim", 4)}


def test_a_choice_is_kept_replaced_and_forgotten(stores: Stores, short: Settings) -> None:
    keep(stores, tuned(short))
    keep(stores, tuned(short, steps=9))
    with stores.session() as session:
        assert read_tuned("shop", find_tuned(session, "shop")).steps == 9
        assert forget_tuned(session, "shop")
        assert find_tuned(session, "shop") is None
        assert not forget_tuned(session, "shop")
    assert claimed(stores).catalogue == "shop"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", "12"), ("steps", 0), ("steps", True), ("solver", "heun"), ("planner", None),
        ("linkage", "single"), ("saving", 1.0), ("saving", -0.1), ("tuned_at", "yesterday"),
    ],
)  # fmt: skip
def test_a_damaged_record_names_its_field(short: Settings, name: str, value: object) -> None:
    with pytest.raises(DamagedTuning, match=name) as caught:
        tuned(short, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("found", [[], "text", 7, {}])
def test_a_record_of_another_shape_is_damaged(found: object) -> None:
    with pytest.raises(DamagedTuning, match="--forget"):
        read_tuned("shop", found)
