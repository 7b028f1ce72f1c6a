"""`hierdiff tune --evaluations`: chosen by the shipped calibrations, on a real database."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hierdiff_core.miniature import DECODER, PRIOR_MODEL
from tasks.catalogue_record import read_tuned
from tasks.settings import Settings
from tests.flows.commands.test_tune import Shop
from tests.tasks.night_kit import environment, write_catalogue

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Shop:
    fields = {"steps": 6, "saving": 0.3, "device": "cpu", "solver": "ddpm"}
    changed = settings.model_copy(update=fields | {"options": {"prior_steps": 5}})
    return Shop(environment(changed), changed, write_catalogue(tmp_path), tmp_path)


def run_prediction(shop: Shop, *more: str) -> tuple[str, str]:
    done = shop.run("tune", "shop", "--file", str(shop.file), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def refused(shop: Shop, *more: str) -> str:
    done = shop.run("tune", "shop", "--file", str(shop.file), *more)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stdout + done.stderr
    assert shop.kept() is None
    return done.stderr


def test_what_is_predicted_is_kept_and_what_the_next_night_is_planned_by(shop: Shop) -> None:
    told = json.loads(run_prediction(shop, "--evaluations", "2.4", "--json")[0])
    misfits = [each["predicted_misfit"] for each in told["predictions"]]
    assert misfits == sorted(misfits)
    tried = {(each["setting"]["solver"], each["setting"]["steps"]) for each in told["predictions"]}
    # Of the default grid, what is calibrated; 12 prompts of 20 steps need 2.6 each.
    assert tried == {("ddim", 6), ("ddim", 12), *(("dpmsolver++", K) for K in (4, 6, 8, 12))}
    assert {each["evaluations_per_image"] for each in told["predictions"]} == {28 / 12}
    kept = read_tuned("shop", shop.kept())
    assert (kept.to_json(), kept.score) == (told["chosen"], misfits[0])
    assert (kept.planner, kept.judge, kept.told_on) == ("calibrated", "calibration", 0)
    assert kept.saving == pytest.approx(1 - 2.4 / kept.steps)
    planned, warnings = shop.plan()
    assert (planned["tuned"], planned["steps"], warnings) == (kept.summary(), kept.steps, "")
    assert (planned["planner"], planned["evaluations"]) == ("calibrated", 28)


def test_people_read_that_it_is_predicted_and_see_the_best_first(shop: Shop) -> None:
    out, _ = run_prediction(shop, "--evaluations", "2.4", "--no-write")
    chosen, said, _, first, *_ = out.splitlines()
    assert said == "predicted, not measured: no picture was made, no judge was used"
    assert first.startswith(chosen)
    assert re.match(r"share: by the model's calibration, .*, \d+ steps, saving", chosen)
    assert shop.kept() is None


def test_a_budget_of_plain_steps_may_be_spent_without_sharing(shop: Shop) -> None:
    asked = ("--evaluations", "3", "--solvers", "ddim", "--no-write", "--json")
    told = json.loads(run_prediction(shop, *asked)[0])
    assert "do not share: DDIM, 3 steps" in [each["words"] for each in told["predictions"]]
    out, _ = run_prediction(shop, "--evaluations", "8", "--grid", "quick", "--solvers", "ddim")
    assert out.splitlines()[0] == "do not share: DDIM, 8 steps"
    planned, _ = shop.plan()
    assert planned["evaluations"] == planned["evaluations_standard"] == 96


def test_a_dry_run_embeds_and_writes_nothing(shop: Shop) -> None:
    told = json.loads(run_prediction(shop, "--evaluations", "2.4", "--dry-run", "--json")[0])
    assert (told["evaluations"], told["embeddings"], len(told["settings"])) == (0, 12, 6)
    assert "0 evaluations" in run_prediction(shop, "--evaluations", "2.4", "--dry-run")[0]
    assert shop.kept() is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--evaluations", "1"), "at least 1.25 evaluations per image"),
        (("--evaluations", "50"), "at most 20"),
        (("--evaluations", "20", "--solvers", "ddpm"), "hierdiff calibrate"),
        (("--evaluations", "2.4", "--solvers", "heun"), "--solvers"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(
    shop: Shop, arguments: tuple[str, ...], named: str
) -> None:
    assert named in refused(shop, *arguments)


def test_a_model_without_a_calibration_is_told_to_be_calibrated(shop: Shop, tmp_path: Path) -> None:
    decoder = tmp_path / "models" / "decoder"
    decoder.parent.mkdir()
    decoder.symlink_to(DECODER, target_is_directory=True)
    copied = {"HIERDIFF_MODEL": str(decoder), "HIERDIFF_OPTION_PRIOR": PRIOR_MODEL}
    bare = Shop(shop.told | copied, shop.settings, shop.file, tmp_path)
    said = refused(bare, "--evaluations", "2.4")
    assert "no calibration" in said
    assert "hierdiff calibrate" in said
