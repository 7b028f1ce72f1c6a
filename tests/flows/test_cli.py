"""The command line as scripts meet it: exit codes, JSON, and one line for whatever is wrong."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from flows.cli import cli, exit_code
from tasks.settings import Settings
from tests.tasks.night_kit import environment, write_catalogue

pytestmark = pytest.mark.slow

FEED = str(Path(__file__).parents[1] / "tasks/source/feeds/google_merchant.tsv")
ROWS = "reference,prompt,width\nA1,a red mug,\nA2,,\nA3,a blue mug,wide\nA4,a green mug,\n"


@pytest.fixture
def told(settings: Settings) -> dict[str, str]:
    """The environment of a machine with a database and a bucket, and no Prefect server."""
    fields = {"steps": 6, "options": {"prior_steps": 5}, "saving": 0.3, "device": "cpu"}
    return environment(settings.model_copy(update=fields))


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def hierdiff(told: dict[str, str], *arguments: str) -> Done:
    """Run a command as `main` does, in this process, since importing torch takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in set(os.environ) - set(told):
            patch.delenv(name)
        for name, value in told.items():
            patch.setenv(name, value)
        code = exit_code(lambda: cli(arguments, standalone_mode=False))
    return Done(code, out.getvalue(), err.getvalue())


def refused(told: dict[str, str], *arguments: str) -> str:
    """Return the one line with which a command refuses."""
    done = hierdiff(told, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("hierdiff: ")
    return done.stderr


def test_good_rows_are_stored_and_bad_ones_listed_with_their_reasons(
    told: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    done = hierdiff(told, "ingest", "shop", "--file", str(file), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["prompts"] == 2
    assert [each["row"] for each in found["rejected"]] == [3, 4]
    assert "prompt is empty" in found["rejected"][0]["reason"]
    assert "'width'" in found["rejected"][1]["reason"]


def test_a_plan_says_its_price_and_starts_nothing(told: dict[str, str], tmp_path: Path) -> None:
    file = write_catalogue(tmp_path)
    done = hierdiff(told, "plan", "shop", "--file", str(file), "--json")
    assert done.returncode == 0, done.stderr
    quoted = json.loads(done.stdout)
    assert quoted["evaluations_standard"] == 12 * 6
    assert quoted["saving"] >= 0.3
    assert quoted["device_seconds"] is None
    listed = hierdiff(told, "status", "--json")
    assert json.loads(listed.stdout) == []


def test_an_export_is_planned_by_mapping_and_template_with_its_refusals(
    told: dict[str, str],
) -> None:
    words = (
        "--file",
        FEED,
        "--column",
        "reference=id",
        "--template",
        "a photo of {title}, {color}",
    )
    done = hierdiff(told, "plan", "shop", *words)
    assert done.returncode == 0, done.stderr
    assert "2 prompts, 2 distinct images" in done.stdout
    refusals = done.stdout[done.stdout.index("rejected") :].splitlines()
    assert refusals[1:] == [
        "  Row 3 (00172): it has no 'color', which the template needs; correct it or drop the row."
    ]
    line = refused(told, "plan", "shop", *words[:4], "--template", "{titel}")
    assert "did you mean 'title'?" in line
    assert "--column prompt=NAME" in refused(told, "plan", "shop", "--file", FEED)


def test_rows_may_be_piped_and_what_is_odd_is_printed_beside_the_result(
    told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"Prompt,speed\na red mug,7\n")
    os.close(writing)
    with os.fdopen(reading) as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        done = hierdiff(told, "ingest", "shop", "--file", "-", "--json")
    assert json.loads(done.stdout)["prompts"] == 1
    # A library may have its say before, where it is loaded for the first time.
    assert done.stderr.splitlines()[-1] == (
        "hierdiff: Column 'speed' is not read; if it is meant, say --column seed=speed."
    )


def test_a_size_that_no_one_meant_is_refused(told: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt,width,height\na red mug,100000,100000\na blue mug,8192,64\n")
    assert "at most 4096 pixels (HIERDIFF_LARGEST_SIDE)" in refused(
        told, "ingest", "shop", "--file", str(file)
    )
    raised = told | {"HIERDIFF_LARGEST_SIDE": "8192"}
    done = hierdiff(raised, "ingest", "shop", "--file", str(file), "--json")
    assert json.loads(done.stdout)["prompts"] == 1
    line = refused(told | {"HIERDIFF_WIDTH": "8192"}, "ingest", "shop", "--file", str(file))
    assert "raise HIERDIFF_LARGEST_SIDE" in line


def test_a_plan_is_refused_and_told_in_the_words_of_the_one_who_asked(
    told: dict[str, str], tmp_path: Path
) -> None:
    file = str(write_catalogue(tmp_path))
    line = refused(told | {"HIERDIFF_SAVING": "0.99"}, "plan", "shop", "--file", file)
    assert "HIERDIFF_SAVING is 0.99: this batch can save at most 0." in line
    bad = tmp_path / "rows.csv"
    bad.write_text(ROWS)
    told |= {"HIERDIFF_SAVING": "0", "HIERDIFF_TIMEZONE": "Asia/Tokyo"}
    done = hierdiff(told, "plan", "shop", "--file", str(bad), "--date", "2026-11-22")
    assert done.returncode == 0, done.stderr
    assert "shop 2026-11-22 (Asia/Tokyo)" in done.stdout
    assert "larger HIERDIFF_SAVING shares" in done.stdout
    assert "rejected      2 rows" in done.stdout
    assert "the prompt is empty" in done.stdout


def test_an_unknown_catalogue_and_a_made_up_setting_are_called_so(told: dict[str, str]) -> None:
    told.pop("HIERDIFF_SOURCE_QUERY", None)
    assert "'shpo' is unknown" in refused(told, "plan", "shpo")
    made_up = refused(told | {"HIERDIFF_SAVE": "0.5"}, "plan", "shop")
    assert "no setting HIERDIFF_SAVE; did you mean HIERDIFF_SAVING?" in made_up


def test_a_corrected_file_is_refused_until_it_replaces_the_night(
    told: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("reference,prompt\nA1,a red mug\nA2,a blue mug\n")
    arguments = ("ingest", "shop", "--date", "2026-11-22", "--file", str(file))
    assert "2 prompts stored" in hierdiff(told, *arguments).stdout
    assert "the same rows already" in hierdiff(told, *arguments).stdout
    file.write_text("reference,prompt\nA1,a red mug\nA2,a green mug\n")
    line = refused(told, *arguments)
    assert "1 rows are new or changed, 1 are gone" in line
    assert "--replace" in line
    assert "2 prompts stored" in hierdiff(told, *arguments, "--replace").stdout


def test_a_plan_leaves_no_catalogue_and_no_night_behind(
    told: dict[str, str], tmp_path: Path, database: Engine
) -> None:
    file = write_catalogue(tmp_path)
    done = hierdiff(told | {"HIERDIFF_SOURCE_FILE": str(file)}, "plan", "shpo")
    assert done.returncode == 0, done.stderr
    with database.connect() as connection:
        for table in ("catalogues", "batches", "prompts"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0


def test_a_query_on_a_database_is_a_source(told: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as shop, shop:
        shop.execute("CREATE TABLE products (sku TEXT, title TEXT)")
        shop.execute("INSERT INTO products VALUES ('A1', 'a red mug; DROP TABLE products')")
    told |= {"HIERDIFF_SOURCE_URL": f"sqlite:///{file}"}
    query = "SELECT sku AS reference, title AS prompt FROM products"
    done = hierdiff(told, "ingest", "shop", "--query", query, "--json")
    assert json.loads(done.stdout)["prompts"] == 1
    assert "'prompt'" in refused(told, "plan", "shop", "--query", "SELECT title FROM products")


def test_whatever_is_wrong_is_told_in_one_line_that_names_it(
    told: dict[str, str], tmp_path: Path
) -> None:
    file = str(write_catalogue(tmp_path))
    away = "postgresql://user:secret@127.0.0.1:9/db"
    cases = {
        ("HIERDIFF_DATABASE_URL", away): "does not answer",
        ("HIERDIFF_S3_ENDPOINT_URL", "http://127.0.0.1:9"): "HIERDIFF_S3_ENDPOINT_URL",
        ("HIERDIFF_S3_BUCKET", "no-such-bucket"): "'no-such-bucket'",
        ("HIERDIFF_MODEL", str(tmp_path / "nowhere")): "nowhere",
        ("HIERDIFF_STEPS", "many"): "HIERDIFF_STEPS",
        ("HIERDIFF_STEP", "9"): "HIERDIFF_STEPS",
        ("HIERDIFF_LINKAGE", "single"): "HIERDIFF_LINKAGE",
    }
    for (name, value), said in cases.items():
        line = refused(told | {name: value}, "ingest", "shop", "--file", file)
        assert said in line, name
        assert "secret" not in line
    without = {name: value for name, value in told.items() if name != "HIERDIFF_DATABASE_URL"}
    assert "hierdiff standalone" in refused(without, "status")


def test_a_run_without_a_prefect_server_is_refused_before_anything_is_spent(
    told: dict[str, str], tmp_path: Path
) -> None:
    told.pop("PREFECT_API_URL", None)
    file = str(write_catalogue(tmp_path))
    assert "PREFECT_API_URL" in refused(told, "run", "shop", "--file", file)
    told["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    assert "http://127.0.0.1:9/api" in refused(told, "run", "shop", "--file", file)


def test_the_doctor_names_what_is_missing_and_ends_with_one(told: dict[str, str]) -> None:
    told.pop("PREFECT_API_URL", None)
    done = hierdiff(told, "doctor", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [name for name, each in found.items() if not each["ok"]] == ["prefect"]


def test_help_lists_every_command(told: dict[str, str]) -> None:
    command = [sys.executable, "-c", "from flows.cli import main; main()", "--help"]
    shown = subprocess.run(command, env=told, capture_output=True, text=True, check=True).stdout
    for name in ("demo", "plan", "run", "status", "retry", "report", "doctor", "deploy"):
        assert name in shown
