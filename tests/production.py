"""What production consists of, for tests: servers that this project did not choose, and its wheel.

PostgreSQL is the distribution's own, over TCP and with passwords; S3 is another server than the
stack's, where one is installed; Prefect is reached through TLS and asks who is calling; hierdiff is
installed from the wheel, in an environment that nobody activates.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flows.stack import orchestrator
from flows.stack.home import clean_environment
from flows.stack.services import Service, listens, started_on_free_port
from tests.servers import PATIENCE, Place, S3Server, open_place, run_s3

ROOT = Path(__file__).parents[1]
PASSWORDS = {
    "postgres": "admin-hush",
    "hierdiff": "ledger-hush",
    "prefect": "orchestra-hush",
    "gateway": "pnu_hush",
}


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server that asks for passwords."""

    port: int

    def url(self, database: str, role: str = "hierdiff", driver: str = "postgresql") -> str:
        """Return the address of a database, as a role's password opens it."""
        return f"{driver}://{role}:{PASSWORDS[role]}@127.0.0.1:{self.port}/{database}"

    def administer(self, *statements: str) -> None:
        """Run statements as the server's administrator."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def somebody() -> str | None:
    """Return the name of another user to run workers as; None where we may not, or he could not
    run what is installed."""
    folders = (*Path(python()).resolve().parents, *Path(sysconfig.get_path("purelib")).parents)
    readable = all(folder.stat().st_mode & 0o001 for folder in folders)
    return "daemon" if os.geteuid() == 0 and readable else None


def python() -> str:
    """Return the Python to install into: the system's, where its packages fit ours."""
    system, version = "/usr/bin/python3", f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = [system, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    if not Path(system).exists():
        return sys.executable
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return system if found == version else sys.executable


def debian_binaries() -> Path | None:
    """Return the folder of the distribution's PostgreSQL, the newest; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


@contextmanager
def debian_postgres(place: Place, binaries: Path) -> Iterator[Postgres]:
    """Run the distribution's PostgreSQL for the block, with a role that has no special rights.

    The role owns the databases `ledger`, `shop` and `orchestra`.
    """
    folder, user = place.home / "debian", "postgres" if os.geteuid() == 0 else None
    place.home.chmod(0o755)  # its user must be able to go in
    folder.mkdir(mode=0o755)
    password = folder / "password"
    password.write_text(PASSWORDS["postgres"])
    for path in (folder, password):
        shutil.chown(path, user or os.geteuid())
    login = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}"]
    subprocess.run(
        [binaries / "initdb", "-D", folder / "data", *login, "--encoding=UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
    )

    def on_port(port: int) -> Service:
        ports.append(port)
        options = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=")
        words = [word for option in options for word in ("-c", option)]
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), *words]
        service = _service(place, "debian-postgres", command, {"LC_ALL": "C"}, user)
        service.ready = lambda _: _lets_in(Postgres(port))
        return service

    ports: list[int] = []
    service = started_on_free_port(on_port, PATIENCE, lambda: False)
    server = Postgres(ports[-1])
    for role, databases in {"hierdiff": ("ledger", "shop"), "prefect": ("orchestra",)}.items():
        server.administer(
            f"CREATE ROLE {role} LOGIN NOSUPERUSER PASSWORD '{PASSWORDS[role]}'",
            *(f"CREATE DATABASE {name} OWNER {role}" for name in databases),
        )
    yield server
    service.stop()


def _lets_in(server: Postgres) -> bool:
    try:
        server.administer("SELECT 1")
    except psycopg.Error:
        return False
    return True


@contextmanager
def another_s3(place: Place) -> Iterator[S3Server]:
    """Run s3rver for the block, where npm has installed it; else the stack's own S3 server."""
    program = shutil.which("s3rver")
    if program is None:
        # In a place of its own: where it ends, it ends all of its name in its place.
        with open_place(place.home / "another") as own, run_s3(own) as server:
            yield server
        return
    folder = place.home / "s3rver"
    folder.mkdir()

    def on_port(port: int) -> Service:
        ports.append(port)
        where = ["-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "--no-vhost-buckets"]
        service = _service(place, "s3rver", [program, *where], {"PATH": os.environ["PATH"]})
        service.ready = lambda each: listens(each, port)
        return service

    ports: list[int] = []
    service = started_on_free_port(on_port, PATIENCE, lambda: False)
    # It knows one account, under this name.
    yield S3Server(f"http://127.0.0.1:{ports[-1]}", "S3RVER", "S3RVER")
    service.stop()


@contextmanager
def prefect_behind_tls(place: Place, database: str) -> Iterator[dict[str, str]]:
    """Run a Prefect server for the block, on a PostgreSQL database, behind TLS and an API key.

    Yields Prefect's settings for its clients, as an operator sets them.
    """
    home = place.home / "prefect-server"
    home.mkdir()
    key, certificate = make_certificate(home)
    environment = orchestrator.prefect_environment(home) | {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "GATEWAY_KEY": PASSWORDS["gateway"],
        "PYTHONPATH": str(ROOT),
    }

    def on_port(port: int) -> Service:
        ports.append(port)
        address = ["--host", "127.0.0.1", "--port", str(port)]
        tls = ["--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)]
        app = ["-m", "uvicorn", "--factory", "tests.production:gateway", "--log-level=warning"]
        command = [sys.executable, *app, *address, *tls]
        service = _service(place, "prefect-tls", command, environment)
        service.ready = lambda each: listens(each, port)
        return service

    ports: list[int] = []
    service = started_on_free_port(on_port, PATIENCE, lambda: False)
    yield {
        "PREFECT_API_URL": f"https://127.0.0.1:{ports[-1]}/api",
        "PREFECT_API_KEY": PASSWORDS["gateway"],
        "PREFECT_API_SSL_CERT_FILE": str(certificate),
    }
    service.stop()


def gateway() -> object:
    """Return Prefect's own application, for whoever brings the key of GATEWAY_KEY."""
    from prefect.server.api.server import create_app

    application, key = create_app(), os.environ["GATEWAY_KEY"]

    async def guarded(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        brought = dict(scope.get("headers", ())).get(b"authorization")
        if scope["type"] == "http" and brought != f"Bearer {key}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"who are you?"})
            return
        await application(scope, receive, send)

    return guarded


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a key and a certificate of 127.0.0.1 that is signed by itself; return both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "prefect")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    bare = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = folder / "key.pem", folder / "certificate.pem"
    files[0].write_bytes(bare)
    files[1].write_bytes(made.public_bytes(pem))
    return files


def build_wheel(folder: Path) -> Path:
    """Build the source archive of this tree, and the wheel from that archive alone."""
    tree = folder / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    # It builds the wheel from the source archive; with the tools of this environment, offline.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run([*command, str(tree)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    shutil.rmtree(tree)
    return next((folder / "dist").glob("*.whl"))


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into an environment of its own; return the folder of its programs.

    What it depends on is taken from this environment, without the editable hierdiff of it.
    """
    subprocess.run([python(), "-m", "venv", "--without-pip", str(folder)], check=True)
    inside = str(folder / "bin" / "python")
    where = [inside, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
    pip = [sys.executable, "-m", "pip", "--python", inside, "install"]
    quiet = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, *quiet, str(wheel)], check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def _service(
    place: Place,
    name: str,
    command: list[str],
    environment: Mapping[str, str],
    user: str | None = None,
) -> Service:
    log = place.home / "logs" / f"{name}.log"
    whole = {**clean_environment(place.home), **environment}
    return Service(name, command, whole, log, place.guard, lambda _: True, user=user)
