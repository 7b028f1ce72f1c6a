"""The command `tune` as people meet it: a catalogue, the shipped miniature, a real database."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hierdiff_core.miniature import DECODER
from hierdiff_core.models.family import Parts
from hierdiff_core.models.folder import find_revision
from tasks.catalogue_record import Tuned, read_tuned
from tasks.ledger import find_tuned, keep_tuned
from tasks.settings import Settings
from tasks.stores import open_stores
from tests.flows.test_cli import Done, hierdiff
from tests.tasks.night_kit import environment, write_catalogue
from tests.tasks.test_catalogue_settings import tuned

pytestmark = pytest.mark.slow

# Nothing in common: another product, colour, pattern and place each.
STRANGERS = (
    "a plain red mug on a wooden table",
    "a striped blue umbrella on a sandy beach",
    "a checked green shirt on a white studio backdrop",
    "a dotted yellow clock on a marble counter",
    "a plain purple chair in a green meadow",
    "a striped pink bottle on a marble counter",
    "a checked orange lamp on a wooden table",
    "a dotted black sneaker in a green meadow",
)


@dataclass(frozen=True)
class Shop:
    """A catalogue, a database, and the folder of what was measured, which tests share."""

    told: dict[str, str]
    settings: Settings
    file: Path
    folder: Path

    def run(self, *arguments: str) -> Done:
        return hierdiff(self.told, *arguments)

    def tune(self, *more: str, file: Path | None = None) -> Done:
        given = ("--file", str(file or self.file), "--grid", "quick", "--solvers", "ddim")
        where = ("--work", str(self.folder / "work"), "--out", str(self.folder / "out"))
        return self.run("tune", "shop", *given, *where, "--sample", "8", "--workers", "1", *more)

    def plan(self) -> tuple[dict[str, object], str]:
        done = self.run("plan", "shop", "--file", str(self.file), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    def kept(self) -> object:
        with open_stores(self.settings) as stores, stores.session() as session:
            return find_tuned(session, "shop")

    def keep(self, record: Tuned | dict[str, object]) -> None:
        found = record.to_json() if isinstance(record, Tuned) else record
        with open_stores(self.settings) as stores, stores.session() as session:
            keep_tuned(session, "shop", found)

    def measured(self) -> dict[str, int]:
        folder = self.folder / "work/units"
        return {each.name: each.stat().st_mtime_ns for each in folder.glob("*")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture
def shop(settings: Settings, folder: Path) -> Shop:
    fields = {"steps": 6, "saving": 0.3, "device": "cpu", "solver": "ddpm"}
    changed = settings.model_copy(update=fields | {"options": {"prior_steps": 5}})
    return Shop(environment(changed), changed, write_catalogue(folder), folder)


def test_the_choice_is_told_kept_and_what_the_next_night_is_planned_by(shop: Shop) -> None:
    before, _ = shop.plan()
    assert (before["steps"], before["tuned"]) == (6, None)
    done = shop.tune("--quality", "0.5")
    assert done.returncode == 0, done.stderr
    kept = read_tuned("shop", shop.kept())
    said = done.stdout.splitlines()[0]
    assert said.startswith(("share: ", "do not share: "))
    assert kept.summary() == f"tuned {kept.tuned_at[:10]}: {said}"
    assert kept.measured_on["revision"] == find_revision(Parts(str(DECODER)))
    assert (shop.folder / "out/frontier.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((shop.folder / "out/tuning.json").read_text())
    assert figures["sample"] == {"choosing": 4, "telling": 4}
    assert figures["chosen"] == kept.to_json()
    after, warnings = shop.plan()
    assert (after["tuned"], after["steps"], warnings) == (kept.summary(), kept.steps, "")
    assert after["evaluations"] == pytest.approx(12 * kept.evaluations, abs=1)


def test_a_second_tuning_measures_nothing_again(shop: Shop) -> None:
    assert shop.tune().returncode == 0
    before, first = shop.measured(), read_tuned("shop", shop.kept())
    assert before
    assert shop.tune().returncode == 0
    assert shop.measured() == before
    second = read_tuned("shop", shop.kept())
    assert replace(second, tuned_at="") == replace(first, tuned_at="")


def test_strangers_at_full_quality_are_told_not_to_share(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "strangers.csv"
    file.write_text("\n".join(["prompt", *STRANGERS]) + "\n")
    done = shop.tune("--quality", "1.0", "--json", file=file)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["sentences"][0].startswith("do not share: DDIM, ")
    assert (told["chosen"]["saving"], told["chosen"]["planner"]) == (0.0, "paper")
    planned, _ = shop.plan()
    assert planned["evaluations"] == planned["evaluations_standard"]
    assert str(planned["tuned"]).endswith(told["sentences"][0])


def test_only_looking_writes_nothing(shop: Shop) -> None:
    assert shop.tune("--no-write").returncode == 0
    assert shop.kept() is None


def test_another_revision_is_warned_of_and_the_environment_holds(shop: Shop) -> None:
    shop.keep(tuned(shop.settings, revision="0123456789abcdef"))
    planned, warnings = shop.plan()
    assert (planned["steps"], planned["tuned"]) == (6, None)
    assert len(warnings.splitlines()) == 1
    assert "'shop'" in warnings
    assert "0123456789abcdef" in warnings
    assert "hierdiff tune" in warnings


def test_a_damaged_record_is_one_line_and_the_environment_holds(shop: Shop) -> None:
    shop.keep({"solver": "ddim", "steps": "twelve"})
    planned, warnings = shop.plan()
    assert (planned["steps"], planned["tuned"]) == (6, None)
    assert len(warnings.splitlines()) == 1
    assert "--forget" in warnings


def test_what_was_chosen_can_be_forgotten(shop: Shop) -> None:
    shop.keep(tuned(shop.settings))
    assert shop.plan()[0]["steps"] == 4
    assert "forgotten" in shop.run("tune", "shop", "--forget").stdout
    assert shop.kept() is None
    assert shop.plan()[0]["steps"] == 6
    assert "nothing to forget" in shop.run("tune", "shop", "--forget").stdout


def test_a_night_too_small_for_the_saving_shares_nothing_and_says_so(shop: Shop) -> None:
    shop.keep(tuned(shop.settings, saving=0.7))
    shop.file.write_text("prompt\na red mug\na blue mug\n")
    planned, _ = shop.plan()
    assert planned["evaluations"] == planned["evaluations_standard"] == 8
    assert "too few prompts" in str(planned["tuned"])


def test_a_dry_run_tells_the_price_and_spends_nothing(shop: Shop, tmp_path: Path) -> None:
    fresh = replace(shop, folder=tmp_path)
    done = fresh.tune("--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["evaluations"] == sum(told["parts"].values()) > 0
    assert fresh.measured() == {}
    assert fresh.kept() is None
    assert "total, at most" in fresh.tune("--dry-run").stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--judge", "taste"), "taste"),
        (("--quality", "1.5"), "--quality"),
        (("--solvers", "heun"), "--solvers"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_spent(
    shop: Shop, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    fresh = replace(shop, folder=tmp_path)
    done = fresh.tune(*arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert named in done.stderr
    assert fresh.measured() == {}


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("prompt\n", "no rows"),
        ("prompt\na red mug\na blue mug\n", "at least 8 different prompts"),
        ("prompt\n" + "\n".join(f"a nameless thing {n}" for n in range(9)), "another judge"),
        ("prompt,guidance\n" + "\n".join(f"a red mug {n},7" for n in range(9)), "of its own"),
    ],
)
def test_rows_that_cannot_be_tuned_on_are_refused_before_anything_is_spent(
    shop: Shop, tmp_path: Path, rows: str, named: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(rows)
    fresh = replace(shop, folder=tmp_path)
    done = fresh.tune(file=file)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert named in done.stderr
    assert fresh.measured() == {}
