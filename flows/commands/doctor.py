"""The command `doctor`: is everything there that a night needs?"""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import uuid4

import click

from flows.commands.client import prefect
from flows.commands.options import json_option
from flows.commands.variables import in_words_of_the_shell
from flows.deployments import POOLS
from flows.errors import NotDeployed
from hierdiff_core.errors import HierdiffError
from hierdiff_core.models.device import choose_device
from hierdiff_core.models.recipes import pin_recipe
from tasks.database import check_schema, connect, safe_url
from tasks.settings import Settings, read_settings
from tasks.signing import try_signing
from tasks.storage import connect_bucket


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check settings, database, bucket, Prefect server, model, device and signing."""
    settings = read_settings()
    checks: dict[str, Callable[[Settings], str]] = {
        "database": _database,
        "bucket": _bucket,
        "prefect": _prefect,
        "model": _model,
        "device": _device,
    }
    if settings.c2pa_certificate is not None:
        checks["signing"] = try_signing
    found = {name: _try(check, settings) for name, check in checks.items()}
    if as_json:
        click.echo(
            json.dumps({name: {"ok": ok, "said": message} for name, (ok, message) in found.items()})
        )
    else:
        for name, (ok, message) in found.items():
            click.echo(f"{'ok  ' if ok else 'FAIL'}  {name:<9} {message}")
    return 0 if all(ok for ok, _ in found.values()) else 1


def _try(check: Callable[[Settings], str], settings: Settings) -> tuple[bool, str]:
    try:
        return True, check(settings)
    except HierdiffError as error:
        return False, str(in_words_of_the_shell(error))


def _database(settings: Settings) -> str:
    engine = connect(settings)
    try:
        check_schema(engine)
        return safe_url(engine.url)
    finally:
        engine.dispose()


def _bucket(settings: Settings) -> str:
    bucket = connect_bucket(settings)
    key, body = f"doctor/{uuid4()}", b"written by hierdiff doctor"
    sha256 = bucket.put(key, body)
    bucket.get(key, sha256)
    bucket.delete(key)
    return f"{bucket.name} can be written and read"


def _prefect(settings: Settings) -> str:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with prefect(settings) as url, get_client(sync_client=True) as client:
        for name in ("nightly/nightly", "subtree/subtree"):
            try:
                client.read_deployment_by_name(name)
            except ObjectNotFound:
                raise NotDeployed(url=url, name=name) from None
        return f"{url}, pools {' and '.join(POOLS)}"


def _model(settings: Settings) -> str:
    recipe = pin_recipe(settings.recipe)
    return f"{recipe.model} at revision {recipe.revision}"


def _device(settings: Settings) -> str:
    return str(choose_device(settings.device))
