"""The embedded stack as its users meet it: started, used, stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import psutil
import psycopg
import pytest
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import make_url

from flows.commands.client import prefect
from flows.errors import StackRunning
from flows.stack import guard
from flows.stack.orchestrator import connected
from flows.stack.standalone import Stack, standalone
from tasks.settings import read_settings

pytestmark = pytest.mark.slow

PREFECT_YAML = """
name: tiny
pull: []
deployments:
  - name: nightly
    entrypoint: tiny_flows.nightly
    schedules: [{cron: 0 1 * * *, timezone: UTC, slug: every-night, parameters: {note: /dev/null}}]
    work_pool: {name: cpu, job_variables: {command: python -m prefect.engine}}
  - name: subtree
    entrypoint: tiny_flows.subtree
    work_pool: {name: gpu, job_variables: {command: python -m prefect.engine}}
"""

TINY_FLOWS = """
    import time
    from pathlib import Path
    from prefect import flow

    @flow(name="nightly")
    def nightly(note: str) -> None:
        Path(note).write_text("nightly was here")

    @flow(name="subtree")
    def subtree(note: str) -> None:
        first = not Path(note).exists()
        Path(note).write_text("begun")
        time.sleep(600 if first else 0)
        Path(note).write_text("resumed")
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A prefect.yaml whose two flows cost nothing, importable by workers."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "prefect.yaml").write_text(PREFECT_YAML)
    (folder / "tiny_flows.py").write_text(textwrap.dedent(TINY_FLOWS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield folder / "prefect.yaml"


@pytest.fixture(scope="module")
def stack(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("home")
    with standalone(home, gpus=0, prefect_yaml=tiny) as running:
        yield running
    assert left_of(home) == []
    assert not (home / "stack.env").exists()


def left_of(home: Path) -> list[str]:
    """Processes that carry the home's mark, and PostgreSQL servers of its data folder."""
    marked = [process.name() for process in guard.marked(f"{home}#")]
    data = str(home / "postgres")
    servers = [p.info["name"] for p in psutil.process_iter(["name", "cmdline"]) if served(p, data)]
    return marked + servers


def served(process: psutil.Process, data: str) -> bool:
    return process.info["name"] == "postgres" and data in (process.info["cmdline"] or [])


def eventually(true: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def wait_for(note: Path, text: str) -> None:
    eventually(lambda: note.exists() and note.read_text() == text, f"{note} never said {text!r}")


def ask(deployment: str, note: Path, timeout: float) -> FlowRun:
    from prefect.deployments import run_deployment

    given = {"note": str(note)}
    return run_deployment(
        deployment, parameters=given, timeout=timeout, poll_interval=1, as_subflow=False
    )


def account(stack: Stack) -> httpx.BasicAuth:
    return httpx.BasicAuth(*stack.password.split(":"))


def is_flow_run(process: psutil.Process) -> bool:
    return "PREFECT__FLOW_RUN_ID" in process.environ()


def test_all_three_servers_answer(stack: Stack) -> None:
    host = make_url(stack.addresses["HIERDIFF_DATABASE_URL"]).query["host"]
    with psycopg.connect(host=str(host), user="postgres") as connection:
        assert connection.execute("select to_regclass('runs')").fetchone() == ("runs",)
    bucket = boto3.client(
        "s3",
        endpoint_url=stack.addresses["HIERDIFF_S3_ENDPOINT_URL"],
        aws_access_key_id=stack.addresses["HIERDIFF_S3_ACCESS_KEY"],
        aws_secret_access_key=stack.addresses["HIERDIFF_S3_SECRET_KEY"],
        region_name="us-east-1",
    )
    assert bucket.head_bucket(Bucket=stack.addresses["HIERDIFF_S3_BUCKET"])
    assert httpx.get(f"{stack.api_url}/health", trust_env=False).json() is True
    assert "<html" in httpx.get(stack.ui_url, trust_env=False, follow_redirects=True).text


def test_a_worker_runs_a_deployment_from_any_folder(stack: Stack, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with connected(stack.addresses):
        run = ask("nightly/nightly", note, timeout=60)
    assert run.state is not None
    assert run.state.is_completed()
    assert note.read_text() == "nightly was here"


def test_the_server_schedules_the_nights_to_come(stack: Stack) -> None:
    # Prefect 3.8 with a later SQLAlchemy starts, deploys and runs, but schedules nothing.
    def scheduled() -> int:
        asked = {"deployments": {"name": {"any_": ["nightly"]}}}
        asked |= {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        url = f"{stack.api_url}/flow_runs/count"
        return int(httpx.post(url, json=asked, auth=account(stack), trust_env=False).text)

    eventually(lambda: scheduled() > 0, "the cron schedule made no run")


def test_secrets_are_for_the_owner_only_and_on_no_command_line(stack: Stack) -> None:
    assert (stack.home / "stack.env").stat().st_mode & 0o777 == 0o600
    assert (stack.home / "s3.json").stat().st_mode & 0o777 == 0o600
    assert (stack.home / "prefect.password").stat().st_mode & 0o777 == 0o600
    lines = [process.cmdline() for process in guard.marked(f"{stack.home}#")]
    assert lines
    for secret in (stack.addresses["HIERDIFF_S3_SECRET_KEY"], stack.password.split(":")[1]):
        assert secret not in repr(stack)
        assert not any(secret in word for line in lines for word in line)
        for log in (stack.home / "logs").iterdir():
            assert secret not in log.read_text(errors="replace")


def test_nobody_starts_a_flow_run_without_the_password_of_the_home(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(auth: httpx.BasicAuth | None) -> int:
        url = f"{stack.api_url}/flow_runs/count"
        return httpx.post(url, json={}, auth=auth, trust_env=False).status_code

    assert (status(None), status(httpx.BasicAuth("hierdiff", "guessed"))) == (401, 401)
    assert status(account(stack)) == 200
    assert len(stack.password) > 20
    monkeypatch.setenv("HIERDIFF_HOME", str(stack.home))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "of:another server")
    with prefect(read_settings()) as url:  # a command in another shell, with nothing set
        assert url == stack.api_url


def test_a_second_stack_on_the_same_home_is_refused_in_one_line(stack: Stack) -> None:
    with pytest.raises(StackRunning) as refused, standalone(stack.home):
        pass
    assert str(stack.home) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert httpx.get(f"{stack.api_url}/health", trust_env=False).is_success


def test_a_run_whose_process_is_killed_is_queued_again_and_resumes(
    stack: Stack, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    with connected(stack.addresses):
        ask("subtree/subtree", note, timeout=0)
        wait_for(note, "begun")
        guard.end(p for p in guard.marked(f"{stack.home}#worker-gpu#") if is_flow_run(p))
        wait_for(note, "resumed")


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_stack_ended_by_a_signal_leaves_nothing_and_the_next_start_recovers(
    tiny: Path, tmp_path: Path, ended_by: signal.Signals
) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from flows.stack.standalone import standalone
        with standalone(Path(sys.argv[1]), gpus=0, prefect_yaml=Path(sys.argv[2])):
            print("ready", flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(tiny)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, ended_by)
    if ended_by == signal.SIGTERM:  # it has stopped everything itself before it ended
        assert left_of(tmp_path) == []
        assert not (tmp_path / "stack.env").exists()
    with standalone(tmp_path, gpus=0, prefect_yaml=tiny) as again:
        assert httpx.get(f"{again.api_url}/health", trust_env=False).is_success
        assert again.services["postgres"].running
    assert left_of(tmp_path) == []
