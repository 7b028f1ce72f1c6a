"""docs/production.md, followed literally: on servers of others, from the wheel, as a service.

PostgreSQL is Debian's, the Prefect server stands behind TLS and asks for a key, S3 is served by
another server where npm has installed one, and workers start as systemd starts them.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest

from flows.errors import ServiceFailed
from flows.stack.services import Service
from tests.production import (
    PASSWORDS,
    Postgres,
    another_s3,
    build_wheel,
    debian_binaries,
    debian_postgres,
    install,
    prefect_behind_tls,
    somebody,
)
from tests.servers import PATIENCE, Place, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(debian_binaries() is None, reason="needs apt-get install postgresql"),
]

ROWS = [(f"{colour}-mug", f"a {colour} mug") for colour in ("red", "blue", "green", "pink")]
# What `hierdiff run` and `hierdiff schedule` send: small pictures, soon made.
TONIGHT = {
    "HIERDIFF_STEPS": "4",
    "HIERDIFF_OPTION_PRIOR_STEPS": "3",
    "HIERDIFF_SHARDS": "1",
    "HIERDIFF_SOURCE_QUERY": "SELECT title AS prompt, sku AS reference FROM products ORDER BY sku",
}


@dataclass(frozen=True)
class Machine:
    """A machine with hierdiff installed, and `machine.env` of the page."""

    programs: Path
    folder: Path
    settings: Mapping[str, str]

    def run(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run a command as an operator does, by its full path; return what it prints."""
        done = self.start(*arguments, **environment)
        output, _ = done.communicate()
        assert done.returncode == code, output
        return output

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.programs / "hierdiff"), *arguments],
            env={**service_environment(self), **TONIGHT, **environment},
            cwd=self.folder,
            user=somebody(),  # as systemd-run does on the page
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def postgres(server_place: Place) -> Iterator[Postgres]:
    binaries = debian_binaries()
    assert binaries is not None
    with debian_postgres(server_place, binaries) as server:
        yield server


@pytest.fixture(scope="module")
def prefect(server_place: Place, postgres: Postgres) -> Iterator[dict[str, str]]:
    database = postgres.url("orchestra", "prefect", "postgresql+asyncpg")
    with prefect_behind_tls(server_place, database) as server:
        yield server


@pytest.fixture(scope="module")
def s3(server_place: Place) -> Iterator[S3Server]:
    with another_s3(server_place) as server:
        connect_s3(server).create_bucket(Bucket="pictures")
        yield server


def connect_s3(server: S3Server) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, server_place: Place) -> Path:
    """The programs of an installed wheel, where another user can read them."""
    return install(build_wheel(tmp_path_factory.mktemp("build")), server_place.home / "opt")


@pytest.fixture(scope="module")
def machine(
    programs: Path, server_place: Place, postgres: Postgres, prefect: dict[str, str], s3: S3Server
) -> Machine:
    home = server_place.home / "var-lib-hierdiff"
    temporary = home / "tmp"
    temporary.mkdir(parents=True)
    for folder in (home, temporary):
        os.chown(folder, worker_user().pw_uid, worker_user().pw_gid)
    (temporary / "runner_storage").touch()  # what Prefect names its folder is another user's
    for name in ("flows", "tasks", "migrations"):  # whatever else lies where it is started
        (home / name).mkdir()
        (home / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    settings = {
        "HIERDIFF_DATABASE_URL": postgres.url("ledger"),
        "HIERDIFF_S3_BUCKET": "pictures",
        "HIERDIFF_S3_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "HIERDIFF_SOURCE_URL": postgres.url("shop"),
        "HIERDIFF_HOME": str(home),
        "TMPDIR": str(temporary),
        "HIERDIFF_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        **prefect,
        "PREFECT_HOME": str(home / "prefect"),
    }
    return Machine(programs, home, settings)


def test_a_production_is_set_up_and_makes_nights_as_its_page_says(
    machine: Machine, postgres: Postgres, s3: S3Server, server_place: Place
) -> None:
    with psycopg.connect(postgres.url("shop")) as shop:
        shop.execute("CREATE TABLE products (sku text, title text)")
        shop.cursor().executemany("INSERT INTO products VALUES (%s, %s)", ROWS)
    # 2. Make the tables: two at once take turns, and whoever may not is told in one line.
    both = [machine.start("migrate") for _ in range(2)]
    assert [each.communicate()[0].split()[:2] for each in both] == [["the", "tables"]] * 2
    assert [each.returncode for each in both] == [0, 0]
    stranger = machine.run("migrate", code=2, HIERDIFF_DATABASE_URL=postgres.url("orchestra"))
    assert_one_line(stranger, "permission denied")
    plain = f"{postgres.url('ledger')}?sslmode=require"
    assert_one_line(machine.run("migrate", code=2, HIERDIFF_DATABASE_URL=plain), "SSL")
    # 4. Register.
    assert "deployed" in machine.run("deploy")
    unknown = machine.run("schedule", "mugs", code=2, PREFECT_API_KEY="pnu_wrong")
    assert_one_line(unknown, "PREFECT_API_KEY")
    untrusted = machine.run("deploy", code=2, PREFECT_API_SSL_CERT_FILE="")
    assert_one_line(untrusted, "certificate")
    # 5. and 6. Start workers, check the machine.
    with unit(machine, server_place, "cpu"), unit(machine, server_place, "gpu"):
        assert "FAIL" not in machine.run("doctor")
        # A night whose rows the CPU worker reads from the shop.
        night = json.loads(machine.run("run", "mugs", "--json"))
        assert (night["state"], night["images"]) == ("completed", 4)
        status = json.loads(machine.run("status", night["run"], "--json"))
        assert [each["state"] for each in status["subtrees"]] == ["completed"] * 2
        assert "nothing is missing" in machine.run("retry", night["run"])
        damage_a_picture(machine, s3, night["run"])
        healed = machine.run("retry", night["run"], "--json").splitlines()[-1]  # after warnings
        assert json.loads(healed)["missing"] == 0
        # 7. Schedule.
        assert "is scheduled" in machine.run("schedule", "mugs", "--cron", "0 1 * * *")
    assert not [each for each in PASSWORDS.values() if each in logs(server_place)]
    with psycopg.connect(postgres.url("ledger")) as ledger:
        ledger.execute("UPDATE alembic_version SET version_num = '9999'")
    assert_one_line(machine.run("migrate", code=2), "9999")
    assert_one_line(machine.run("status", code=2), "9999")


def assert_one_line(output: str, words: str) -> None:
    assert output.count("\n") == 1, output
    assert output.startswith("hierdiff: ")
    assert words in output


@contextmanager
def unit(machine: Machine, place: Place, pool: str) -> Iterator[Service]:
    """Run a worker as systemd runs the page's unit: ExecStart, the file of settings, no more."""
    command = [str(machine.programs / "hierdiff"), "worker", "--pool", pool]
    line = f"cd {shlex.quote(str(machine.folder))} && exec {shlex.join(command)}"
    log = place.home / "logs" / f"unit-{pool}.log"
    service = Service(
        f"unit-{pool}",
        ["/bin/sh", "-c", line],
        service_environment(machine),
        log,
        place.guard,
        lambda each: each.logged("started!"),
        user=somebody(),
    )
    service.start()
    try:
        service.await_ready(PATIENCE)
        yield service
    except ServiceFailed:
        print(log.read_text()[-2000:])
        raise
    finally:
        service.stop()


def service_environment(machine: Machine) -> dict[str, str]:
    """Return what systemd gives a service of this machine, and no more."""
    user = worker_user()
    given = {"USER": user.pw_name, "HOME": user.pw_dir}
    given["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**given, **machine.settings}


def worker_user() -> pwd.struct_passwd:
    name = somebody()
    return pwd.getpwuid(os.geteuid()) if name is None else pwd.getpwnam(name)


def damage_a_picture(machine: Machine, s3: S3Server, run: str) -> None:
    with psycopg.connect(machine.settings["HIERDIFF_DATABASE_URL"]) as ledger:
        found = ledger.execute("SELECT key FROM images WHERE run_id = %s LIMIT 1", [run])
        (key,) = found.fetchone() or ("",)
    connect_s3(s3).put_object(Bucket="pictures", Key=key, Body=b"no picture")


def logs(place: Place) -> str:
    return "".join(file.read_text() for file in (place.home / "logs").glob("unit-*.log"))
