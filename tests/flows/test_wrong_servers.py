"""A server that is away, silent or another one is one line that blames the setting to change."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from flows.cli import cli, exit_code
from hierdiff_core.printable import printable
from tasks import database, storage, storage_clients
from tasks.source import database as source_database
from tests.servers import S3Server, fresh_database, s3_settings
from tests.tasks.conftest import make_prompts, store_night

pytestmark = pytest.mark.slow

DEAD = "127.0.0.1:1"
LIMIT = 10.0  # seconds
START = 3.0  # of them, until a command has begun
LEDGER = ("HIERDIFF_DATABASE_URL",)
BUCKET = ("HIERDIFF_S3_ENDPOINT_URL",)
PREFECT = ("PREFECT_API_URL",)
SOURCE = ("Source",)
BLAMES = (*LEDGER, *BUCKET, *PREFECT, "HIERDIFF_S3_BUCKET", "AWS_PROFILE", "S3_ACCESS_KEY")

COMMANDS: dict[str, tuple[str, ...]] = {
    "plan": ("plan", "shop", "--file", "rows.csv"),
    "run": ("run", "shop", "--file", "rows.csv"),
    "status": ("status",),
    "retry": ("retry",),
    "doctor": ("doctor",),
    "migrate": ("migrate",),
    "plan a query": ("plan", "shop", "--query", "SELECT prompt FROM goods"),
    "run a query": ("run", "shop", "--query", "SELECT prompt FROM goods"),
}
OF_LEDGER = ("plan", "run", "status", "retry", "doctor", "migrate")
OF_BUCKET = ("plan", "run", "status", "retry", "doctor")
OF_PREFECT = ("run", "retry", "doctor")
OF_SOURCE = ("plan a query",)

# What is wrong, the commands that meet it, and what the line blames.
WRONG: list[tuple[str, dict[str, str], tuple[str, ...], tuple[str, ...]]] = [
    ("ledger away", {"HIERDIFF_DATABASE_URL": "postgresql://me@{dead}/x"}, OF_LEDGER, LEDGER),
    ("ledger silent", {"HIERDIFF_DATABASE_URL": "postgresql://me@{silent}/x"},
     ("status", "migrate", "doctor"), LEDGER),
    ("ledger is a web page", {"HIERDIFF_DATABASE_URL": "postgresql://me@{page}/x"},
     ("status", "migrate", "doctor"), LEDGER),
    ("ledger has no such database", {"HIERDIFF_DATABASE_URL": "{other database}"},
     ("status", "migrate", "doctor"), LEDGER),
    ("bucket's port", {"HIERDIFF_S3_ENDPOINT_URL": "http://{dead}"}, OF_BUCKET, BUCKET),
    ("bucket's scheme", {"HIERDIFF_S3_ENDPOINT_URL": "https://{s3}"}, OF_BUCKET, BUCKET),
    ("bucket without scheme", {"HIERDIFF_S3_ENDPOINT_URL": "{s3}"}, OF_BUCKET, BUCKET),
    ("bucket silent", {"HIERDIFF_S3_ENDPOINT_URL": "http://{silent}"}, OF_BUCKET, BUCKET),
    ("bucket is a web page", {"HIERDIFF_S3_ENDPOINT_URL": "http://{page}"}, OF_BUCKET, BUCKET),
    ("bucket is not found", {"HIERDIFF_S3_ENDPOINT_URL": "http://{nothing}"}, OF_BUCKET, BUCKET),
    ("bucket says nothing", {"HIERDIFF_S3_ENDPOINT_URL": "http://{empty}"}, OF_BUCKET, BUCKET),
    ("bucket redirects to itself", {"HIERDIFF_S3_ENDPOINT_URL": "http://{itself}"},
     OF_BUCKET, BUCKET),
    ("bucket redirects elsewhere", {"HIERDIFF_S3_ENDPOINT_URL": "http://{elsewhere}"},
     OF_BUCKET, BUCKET),
    ("bucket's name", {"HIERDIFF_S3_BUCKET": "another"}, OF_BUCKET, ("HIERDIFF_S3_BUCKET",)),
    ("bucket's bad name", {"HIERDIFF_S3_BUCKET": "no bucket"}, OF_BUCKET,
     ("HIERDIFF_S3_BUCKET",)),
    ("key", {"HIERDIFF_S3_SECRET_KEY": "wrong"}, OF_BUCKET,
     ("HIERDIFF_S3_ACCESS_KEY and HIERDIFF_S3_SECRET_KEY",)),
    ("profile", {"HIERDIFF_S3_ACCESS_KEY": "", "HIERDIFF_S3_SECRET_KEY": "",
                 "AWS_PROFILE": "wrong"}, OF_BUCKET, ("AWS_PROFILE",)),
    ("no account", {"HIERDIFF_S3_ACCESS_KEY": "", "HIERDIFF_S3_SECRET_KEY": ""},
     OF_BUCKET, ("check the AWS credentials",)),
    ("Prefect away", {"PREFECT_API_URL": "http://{dead}/api"}, OF_PREFECT, PREFECT),
    ("Prefect silent", {"PREFECT_API_URL": "http://{silent}/api"}, OF_PREFECT, PREFECT),
    ("Prefect is a web page", {"PREFECT_API_URL": "http://{page}/api"}, OF_PREFECT, PREFECT),
    ("Prefect is not found", {"PREFECT_API_URL": "http://{nothing}/api"}, OF_PREFECT, PREFECT),
    ("Prefect says nothing", {"PREFECT_API_URL": "http://{empty}/api"}, OF_PREFECT, PREFECT),
    ("Prefect redirects", {"PREFECT_API_URL": "http://{itself}/api"}, OF_PREFECT, PREFECT),
    ("Prefect's scheme", {"PREFECT_API_URL": "https://{page}/api"}, OF_PREFECT, PREFECT),
    ("Prefect without scheme", {"PREFECT_API_URL": "127.0.0.1/api"}, OF_PREFECT, PREFECT),
    ("source's file", {"HIERDIFF_SOURCE_URL": "sqlite:///absent.db"}, OF_SOURCE,
     ("absent.db", "there is no such file")),
    ("source away", {"HIERDIFF_SOURCE_URL": "postgresql://me@{dead}/x"}, OF_SOURCE, SOURCE),
    ("source silent", {"HIERDIFF_SOURCE_URL": "postgresql://me@{silent}/x"}, OF_SOURCE, SOURCE),
    ("source is a web page", {"HIERDIFF_SOURCE_URL": "postgresql://me@{page}/x"}, OF_SOURCE,
     SOURCE),
    *[("device", {"HIERDIFF_DEVICE": device}, ("plan", "doctor"), ("HIERDIFF_DEVICE", device))
      for device in ("tpu", "mps", "meta", "cuda:99")],
]  # fmt: skip
CASES = [
    pytest.param(changed, command, blamed, id=f"{command}: {fault}, {list(changed.values())[-1]}")
    for fault, changed, commands, blamed in WRONG
    for command in commands
]


class Page(BaseHTTPRequestHandler):
    """Answers everything alike."""

    status, body, to = 200, b"<!doctype html><p>Welcome & hello", ""

    def _answer(self) -> None:
        self.send_response_only(self.status)
        if self.to:
            port = self.server.server_address[1]  # type: ignore[index]
            self.send_header("Location", self.to.format(port=port) + self.path)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815 (names that http.server asks for)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


PAGES: dict[str, dict[str, object]] = {
    "page": {},
    "nothing": {"status": 404},
    "empty": {"body": b""},
    "itself": {"status": 301, "to": "http://127.0.0.1:{port}"},
    "elsewhere": {"status": 307, "to": "http://127.0.0.1:1"},
}


@contextmanager
def serving(about: Mapping[str, object]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Page,), dict(about)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """Addresses of servers that are none, by what is wrong with them."""
    pages = {name: serving(about) for name, about in PAGES.items()}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = {name: page.__enter__() for name, page in pages.items()}
        yield {**found, "dead": DEAD, "silent": f"127.0.0.1:{silent.getsockname()[1]}"}
        for page in pages.values():
            page.__exit__(None, None, None)


@pytest.fixture(scope="module")
def stores(postgres_server: str, template: str, s3_server: S3Server) -> Iterator[dict[str, str]]:
    """The settings of a ledger and a bucket, shared by all, for nothing is written to them."""
    with fresh_database(postgres_server, template) as url:
        engine = database.open_engine(url)
        store_night(engine, make_prompts(12))  # what there is to retry
        engine.dispose()
        bucket = s3_settings(s3_server)
        storage.connect_bucket(bucket, create=True)
        yield {
            "HIERDIFF_DATABASE_URL": url,
            "HIERDIFF_S3_ENDPOINT_URL": s3_server.endpoint,
            "HIERDIFF_S3_BUCKET": bucket.s3_bucket,
            "HIERDIFF_S3_ACCESS_KEY": s3_server.access_key,
            "HIERDIFF_S3_SECRET_KEY": s3_server.secret_key,
        }


@pytest.fixture
def right(
    stores: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The environment of a shell in which all is right but for Prefect; servers are soon silent."""
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("prompt\na red mug\na blue mug\n")
    monkeypatch.setitem(storage_clients.FOR_A_TRY, "read_timeout", 0.5)
    monkeypatch.setattr(database, "_CONNECT", 2)
    monkeypatch.setitem(source_database._CONNECTING, "postgresql", {"connect_timeout": 2})
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {
        "HIERDIFF_HOME": str(tmp_path / "home"),
        "HIERDIFF_DEVICE": "cpu",
        **stores,
        "PREFECT_API_URL": f"http://{DEAD}/api",
        "NO_PROXY": "127.0.0.1",
    }


def lines_of(command: str) -> tuple[int, list[str]]:
    """Run a command; return its exit code and what it refuses, a line each."""
    out, err = io.StringIO(), io.StringIO()
    words = [*COMMANDS[command], *(["--json"] if command == "doctor" else [])]
    with redirect_stdout(out), redirect_stderr(err):
        code = exit_code(lambda: cli(words, standalone_mode=False))
    if command == "doctor":
        checks = json.loads(out.getvalue())
        return code, [each["said"] for each in checks.values() if not each["ok"]]
    assert out.getvalue() == ""
    return code, err.getvalue().splitlines()


@pytest.mark.parametrize(("changed", "command", "blamed"), CASES)
def test_the_line_blames_the_setting_that_is_wrong_and_no_other(
    changed: dict[str, str],
    command: str,
    blamed: tuple[str, ...],
    right: dict[str, str],
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = make_url(right["HIERDIFF_DATABASE_URL"])
    there = {
        **places,
        "s3": right["HIERDIFF_S3_ENDPOINT_URL"].removeprefix("http://"),
        "other database": ledger.set(database="absent").render_as_string(hide_password=False),
    }
    for name, value in {**right, **changed}.items():
        monkeypatch.setenv(name, value.format_map(there))
    before = sorted(Path().iterdir())
    code, lines = lines_of(command)
    if command == "doctor":
        assert code == 1
        # There is no right Prefect server here.
        lines = [each for each in lines if PREFECT[0] in changed or PREFECT[0] not in each]
    else:
        assert code == 2
    (line,) = lines
    assert line == printable(line)
    assert len(line) < 1000
    for word in blamed:
        assert word in line
    innocent = [name for name in BLAMES if name in line and not any(name in b for b in blamed)]
    assert innocent in ([], ["HIERDIFF_S3_BUCKET"])  # what a bucket's account may do with it
    assert [each for each in Path().iterdir() if each not in before and each.name != "home"] == []


@pytest.mark.parametrize("name", ["HIERDIFF_S3_ENDPOINT_URL", "PREFECT_API_URL"])
def test_a_server_that_accepts_and_never_answers_is_said_within_ten_seconds(
    name: str, right: dict[str, str], places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(storage_clients.FOR_A_TRY, "read_timeout", 3)
    for each, value in right.items():
        monkeypatch.setenv(each, value)
    seconds: dict[str, list[float]] = {"dead": [], "silent": []}
    for place, taken in [*seconds.items()] * 2:  # the first time something may be loaded
        monkeypatch.setenv(name, f"http://{places[place]}/api")
        began = time.monotonic()
        code, lines = lines_of("run")
        taken.append(time.monotonic() - began)
        assert (code, len(lines)) == (2, 1)
    # Who refuses at once takes what this machine takes without a wait.
    assert min(seconds["silent"]) - min(seconds["dead"]) < LIMIT - START


@pytest.mark.parametrize("name", [*LEDGER, *BUCKET, *PREFECT])
def test_a_secret_in_an_address_stays_out_of_the_line(
    name: str, right: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = "postgresql" if name in LEDGER else "http"
    for each, value in {**right, name: f"{scheme}://me:hush@{DEAD}/x"}.items():
        monkeypatch.setenv(each, value)
    _, (line,) = lines_of("run")
    assert DEAD in line
    assert "hush" not in line
