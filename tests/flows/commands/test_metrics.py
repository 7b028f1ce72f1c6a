"""A monitor reads of the ledger what `hierdiff status` shows, and its alerts fire."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families
from sqlalchemy import Engine, create_engine

from flows.stack.services import free_port
from tasks import ledger
from tasks.metrics import LedgerCollector
from tasks.rejected import Rejected
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import Stores, open_stores
from tests.tasks.conftest import NIGHT, make_prompts, store_night
from tests.tasks.night_kit import environment

DEPLOY = Path(__file__).parents[3] / "deploy"
Samples = dict[tuple[str, ...], float]
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: apt-get install prometheus",
)


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


@pytest.fixture
def run(database: Engine) -> UUID:
    return store_night(database, make_prompts(12))[0]


def read(stores: Stores, settings: Settings) -> Samples:
    """Return the value of each metric by its name and the values of its labels."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(stores, settings))
    families = plain_families(generate_latest(registry).decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_night_is_told_as_its_summary_has_it(
    stores: Stores, settings: Settings, run: UUID
) -> None:
    with stores.session() as session:
        ledger.record_images(session, run, {0: ledger.StoredImage("images/a", "a" * 64, 9, 64, 64)})
        facts = ledger.summarise(session, run)
    found = read(stores, settings)
    assert found["hierdiff_ledger_up",] == 1
    assert found["hierdiff_night_state", "shop", "planned"] == 1
    assert found["hierdiff_night_state", "shop", "running"] == 0
    assert found["hierdiff_night_images", "shop", "made"] == 1
    assert found["hierdiff_night_images", "shop", "missing"] == 11
    assert found["hierdiff_night_evaluations", "shop", "planned"] == facts.evaluations_planned
    assert found["hierdiff_night_subtrees", "shop", "waiting"] == found["hierdiff_queue_subtrees",]
    assert found["hierdiff_objects", "picture"] == 1
    assert found["hierdiff_bytes", "picture"] == 9


def test_only_the_latest_night_of_a_catalogue_is_told(
    stores: Stores, settings: Settings, run: UUID
) -> None:
    with stores.session() as session:
        claimed = ledger.claim_night(session, "shop", NIGHT.replace(year=2027))
        ledger.store_prompts(session, claimed.batch, make_prompts(2), [Rejected(3, "no prompt")])
    found = read(stores, settings)
    assert found["hierdiff_night_state", "shop", "claimed"] == 1
    assert found["hierdiff_night_state", "shop", "planned"] == 0


def test_a_lease_is_told_while_it_is_held(stores: Stores, settings: Settings, run: UUID) -> None:
    assert read(stores, settings)["hierdiff_leases", "subtree"] == 0
    with stores.session() as session:
        ledger.take_lease(session, run, 1, "worker", 60.0)
        ledger.take_lease(session, run, 2, "worker", -1.0)
    found = read(stores, settings)
    assert found["hierdiff_leases", "subtree"] == 2
    assert found["hierdiff_leases_run_out", "subtree"] == 1


def test_a_ledger_that_is_away_is_told_as_that(stores: Stores, settings: Settings) -> None:
    away = create_engine("postgresql+psycopg://127.0.0.1:1/ledger")
    assert read(replace(stores, engine=away), settings) == {("hierdiff_ledger_up",): 0}


def test_energy_and_its_price_are_told_where_they_are_known(
    stores: Stores, settings: Settings, run: UUID
) -> None:
    priced = settings.model_copy(update={"kwh_price": 0.5})
    assert ("hierdiff_night_cost", "shop") not in read(stores, priced)
    with stores.session() as session:
        ledger.add_energy(session, run, "gpu", 7.2e6, "")
        ledger.add_energy(session, run, "cpu", None, "the kernel shows no RAPL")
    found = read(stores, priced)
    assert found["hierdiff_night_energy_joules", "shop", "gpu"] == 7.2e6
    assert ("hierdiff_night_energy_joules", "shop", "cpu") not in found
    assert found["hierdiff_night_cost", "shop"] == 1.0
    assert ("hierdiff_night_cost", "shop") not in read(stores, settings)


def test_every_metric_on_the_board_and_in_the_alerts_exists(
    stores: Stores, settings: Settings, run: UUID
) -> None:
    priced = settings.model_copy(update={"gpu_price_per_hour": 2.0})
    known = {name for name, *_ in read(stores, priced)} | {"hierdiff_night_finished_seconds"}
    board = json.loads((DEPLOY / "grafana/hierdiff.json").read_text())
    used = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    used += (DEPLOY / "prometheus/hierdiff.rules.yaml").read_text()
    named = set(re.findall(r"hierdiff_[a-z_]+", used)) - {"hierdiff_night_stage_seconds"}
    assert named <= known | {"hierdiff_night_rows"}


@needs_prometheus
def test_every_alert_fires_where_it_should() -> None:
    for verb, file in (("check", "hierdiff.rules.yaml"), ("test", "hierdiff.test.yaml")):
        subprocess.run(["promtool", verb, "rules", file], cwd=DEPLOY / "prometheus", check=True)


@needs_prometheus
def test_a_real_prometheus_scrapes_a_failed_night_and_alerts(
    settings: Settings, stores: Stores, run: UUID, tmp_path: Path
) -> None:
    with stores.session() as session:
        ledger.set_run_state(session, run, RunState.FAILED)
    command = [str(Path(sys.executable).with_name("hierdiff")), "metrics", "--port", "0"]
    with serving(command, environment(settings)) as metrics:
        address = metrics.stdout.readline().split()[0]  # type: ignore[union-attr]
        answer = httpx.get(address, headers={"Accept": "application/openmetrics-text"})
        assert answer.text.endswith("# EOF\n")
        list(text_string_to_metric_families(answer.text))
        port = free_port()
        with serving(prometheus(tmp_path, httpx.URL(address).netloc.decode(), port), {}):
            alerts = wait_for_alerts(f"http://127.0.0.1:{port}/api/v1/alerts")
    assert {(each["labels"]["alertname"], each["labels"]["catalogue"]) for each in alerts} == {
        ("NightFailed", "shop")
    }


@contextmanager
def serving(command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def prometheus(folder: Path, target: str, port: int) -> list[str]:
    """Return the command of a Prometheus that scrapes a target every second, by our rules."""
    rules = DEPLOY / "prometheus/hierdiff.rules.yaml"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "hierdiff", "static_configs": [{"targets": [target]}]}],
    }
    file = folder / "prometheus.yaml"
    file.write_text(json.dumps(config))  # which is YAML, too
    return [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def wait_for_alerts(url: str) -> list[dict[str, dict[str, str]]]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError, ValueError):  # it is not ready yet
            alerts: list[dict[str, dict[str, str]]] = httpx.get(url).json()["data"]["alerts"]
            if alerts:
                return alerts
        time.sleep(0.2)
    raise TimeoutError(url)
