"""Production's Prefect server asks for a password, and its workers start from anywhere."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner
from prefect import Flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Failed, Running

from flows.cli import cli
from flows.errors import RefusedByPrefect, UnreachablePrefect
from flows.messages import REJECTED, register_messages
from flows.stack import orchestrator
from flows.stack.home import clean_environment
from flows.stack.services import Service, started_on_free_port
from flows.starts import DEPLOYMENT, NightStart, start_night
from hierdiff_core.errors import InvalidSetting
from tasks.business_date import date_in_zone
from tasks.machine_settings import MachineSettings
from tasks.night_settings import NightSettings
from tests.servers import PATIENCE, Place

pytestmark = pytest.mark.slow

PASSWORD = "admin:hush:hush"
UI = "https://prefect.example"


@pytest.fixture(scope="module")
def url(server_place: Place) -> Iterator[str]:
    """The address of a Prefect server that lets nobody in without a password."""
    home = server_place.home
    environment = clean_environment(home) | orchestrator.prefect_environment(home)
    environment["PREFECT_SERVER_API_AUTH_STRING"] = PASSWORD
    environment["PREFECT_UI_URL"] = UI  # which links in messages begin with

    def on_port(port: int) -> Service:
        ports.append(port)
        return Service(
            "prefect",
            orchestrator.server_command(port),
            environment,
            home / "logs" / "prefect.log",
            server_place.guard,
            lambda _: orchestrator.answers(f"http://127.0.0.1:{port}/api"),
        )

    ports: list[int] = []
    server = started_on_free_port(on_port, PATIENCE, lambda: False)
    yield f"http://127.0.0.1:{ports[-1]}/api"
    server.stop()


@pytest.fixture
def let_in(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment with the server's address and password, as an operator sets it."""
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    monkeypatch.setenv("HIERDIFF_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: PASSWORD}):
        yield


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_command_without_the_password_is_refused_in_one_line(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(RefusedByPrefect, match="PREFECT_API_AUTH_STRING"):
        run("deploy")


@pytest.mark.usefixtures("let_in")
def test_what_answers_and_is_no_prefect_server_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = url.removesuffix("/api")  # the UI, which answers everything with a page
    monkeypatch.setenv("PREFECT_API_URL", page)
    with pytest.raises(UnreachablePrefect, match=page):
        run("deploy")


@pytest.mark.usefixtures("let_in")
def test_a_deployment_has_no_schedule_until_a_catalogue_with_a_source_is_given_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HIERDIFF_SAVING", "0.4")
    assert "deployed" in run("deploy")
    assert schedules() == {}
    monkeypatch.setenv("HIERDIFF_SOURCE_QUERY", "SELECT prompt FROM shoes")
    monkeypatch.setenv("HIERDIFF_TIMEZONE", "Europe/Berlin")
    run("schedule", "shoes")
    run("schedule", "hats", "--cron", "30 2 * * *")
    monkeypatch.setenv("HIERDIFF_SAVING", "0.6")
    run("schedule", "shoes")  # changes it
    run("deploy")  # and leaves both alone
    found = schedules()
    assert {slug: each["saving"] for slug, each in found.items()} == {
        "night-shoes": 0.6,
        "night-hats": 0.4,
    }
    assert all(each["timezone"] == "Europe/Berlin" for each in found.values())
    assert "no longer" in run("schedule", "hats", "--off")
    assert set(schedules()) == {"night-shoes"}


def schedules() -> dict[str | None, dict[str, object]]:
    """Return the settings of each schedule's nights, by its slug."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
    return {each.slug: (each.parameters or {})["settings"] for each in deployment.schedules}


@pytest.mark.usefixtures("let_in")
def test_a_block_that_the_server_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIERDIFF_NOTIFY", "slack-webhook/nobody")
    with pytest.raises(InvalidSetting, match="TYPE/NAME"):
        run("deploy")


@pytest.mark.usefixtures("let_in")
def test_nights_that_need_somebody_are_told_with_a_link() -> None:
    with listening() as (address, heard), get_client(sync_client=True) as client:
        block = CustomWebhookNotificationBlock(
            name="night watch", url=address, json_data={"text": "{{body}}"}
        )
        block.save("night-watch", overwrite=True)
        settings = MachineSettings(notify="custom-webhook/night-watch", notify_hours=0.003)
        register_messages(client, settings)
        register_messages(client, settings)  # and once is enough
        failed, slow, silent = (start_bare_run(client, name) for name in ("shoes", "hats", "bags"))
        client.set_flow_run_state(slow, Running())
        client.set_flow_run_state(failed, Failed(message="2 images are missing"))
        emit_rejection(silent)
        told = await_lines(heard, 3)
        register_messages(client, MachineSettings())
        assert [each.name for each in client.read_automations() if "message" in each.name] == []
    assert sorted(line.split(f" {UI}/")[0] for line in told) == [
        "bags goes on without 7 rejected rows; its report lists the reasons.",
        "hats is not done 0.003 hours after its start.",
        "shoes failed: 2 images are missing",
    ]


def start_bare_run(client: SyncPrefectClient, name: str) -> UUID:
    """Return a flow run of `nightly` that nobody works on."""
    return client.create_flow_run(Flow(lambda: None, name="nightly"), name=name).id


def emit_rejection(flow_run: UUID) -> None:
    """Do what a night's flow run does, whose context names its flow."""
    related = {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow"}
    emit_event(
        REJECTED,
        {"prefect.resource.id": f"prefect.flow-run.{flow_run}"},
        related=[related | {"prefect.resource.name": "nightly"}],
        payload={"rejected": 7},
    )


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a chat, and what was said there."""
    heard: list[str] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(json.loads(body)["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def await_lines(heard: list[str], count: int) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    while len(heard) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return heard


@pytest.mark.usefixtures("let_in")
def test_a_worker_runs_flows_by_its_own_python_beside_packages_of_the_same_names(
    url: str, server_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("deploy")
    monkeypatch.setenv("HIERDIFF_SOURCE_QUERY", "SELECT prompt FROM hats")
    run("schedule", "hats", "--cron", "59 23 * * *")
    for name in ("flows", "tasks", "migrations", "hierdiff_core"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("HIERDIFF_")},
        **orchestrator.prefect_environment(tmp_path),
        "PREFECT_API_URL": url,
        "PREFECT_API_AUTH_STRING": PASSWORD,
        "PATH": "/usr/bin:/bin",  # as a supervisor has it: nothing of this environment
        "HIERDIFF_HOME": str(tmp_path),
        "HIERDIFF_SAVING": "0.7",
        "HIERDIFF_ACCEPT_LOSS": "true",
    }
    program = str(Path(sys.executable).parent / "hierdiff")
    worker = Service(
        "worker-cpu",
        ["/bin/sh", "-c", f"cd {tmp_path} && exec {program} worker --pool cpu"],
        environment,
        server_place.home / "logs" / "worker.log",
        server_place.guard,
        lambda service: service.logged("started!"),
    )
    worker.start()
    try:
        worker.await_ready(PATIENCE)
        night = NightStart("shoes", date_in_zone("UTC"), NightSettings())
        ended = await_end(start_night(url, night))
        await_names({f"hats {ended.created.date() + timedelta(days=1)}"})
    finally:
        worker.stop()
    # It came as far as the ledger, of which this machine knows nothing.
    assert ended.state is not None
    assert ended.state.name == "Failed"
    assert "No database is set" in (ended.state.message or "")


def await_names(wanted: set[str]) -> None:
    """Wait until the nights that are only scheduled have these names, among others."""
    deadline = time.monotonic() + 120
    with get_client(sync_client=True) as client:
        while not wanted <= {each.name for each in client.read_flow_runs(limit=200)}:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def await_end(flow_run: object) -> FlowRun:
    deadline = time.monotonic() + 120
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_flow_run(flow_run)  # type: ignore[arg-type]
            if found.state is not None and found.state.is_final():
                return found
            assert time.monotonic() < deadline, found.state
            time.sleep(0.5)
