"""What commands share: settings, stores and the Prefect server, of a stack or the environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import httpx

from flows.errors import NoPrefect, RefusedByPrefect, UnreachablePrefect, UntrustedPrefect
from flows.stack.home import read_stack_file
from flows.stack.orchestrator import connected
from hierdiff_core.errors import HierdiffError
from tasks.addresses import without_accounts
from tasks.ledger import unattended_runs
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

_PATIENCE = 5.0  # seconds until a server that says nothing is none
_HELLO = "👋"  # what a Prefect server says


@contextmanager
def ledger(**given: object) -> Iterator[tuple[Stores, Settings]]:
    """Yield open stores and the settings they were opened with."""
    settings = read_settings(**given)
    with open_stores(settings) as stores:
        yield stores, settings


@contextmanager
def prefect(settings: Settings) -> Iterator[str]:
    """Make this process a client of the Prefect server and yield the address of its API.

    That is PREFECT_API_URL where it is set, else the stack's, else that of Prefect's own profile;
    credentials and TLS are those of Prefect's settings. Raises NoPrefect, UnreachablePrefect,
    UntrustedPrefect, RefusedByPrefect, also where the server goes away during the block.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    stack = read_stack_file(settings.home)
    if url := os.environ.get("PREFECT_API_URL"):
        client: AbstractContextManager[object] = temporary_settings({PREFECT_API_URL: url})
    elif url := stack.get("PREFECT_API_URL"):
        client = connected({name: stack[name] for name in stack if name.startswith("PREFECT_")})
    elif url := PREFECT_API_URL.value():
        client = nullcontext()
    else:
        raise NoPrefect()
    with client:
        check_prefect(url)
        with _reaching(url):
            yield url


def ask_prefect(stores: Stores, settings: Settings) -> None:
    """Have the ledger agree with Prefect about nights that nobody carries out.

    Where no Prefect server can be asked, the ledger stays as it is.
    """
    with stores.session() as session:
        if not unattended_runs(session, 1):
            return  # and Prefect is not even imported
    from flows.agreement import agree

    with suppress(HierdiffError), prefect(settings):
        agree(stores)


def check_prefect(url: str) -> None:
    """Raise an error unless a Prefect server lets this client in.

    That is UnreachablePrefect, UntrustedPrefect or RefusedByPrefect.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    # Prefect's own patience is a minute and more; who has the address wrong should not wait.
    once = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: _PATIENCE}
    with _reaching(url), temporary_settings(once), get_client(sync_client=True) as client:
        try:
            known = client.hello().json() == _HELLO
        except (httpx.HTTPStatusError, ValueError) as error:  # ValueError: it says no JSON
            if _refuses(error):
                raise
            known = False
    if not known:
        reason = "it answers as no Prefect server does"
        raise UnreachablePrefect(url=without_accounts(url), reason=reason)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        if _refuses(error):
            raise RefusedByPrefect(url=without_accounts(url)) from None
        if error.response.status_code < 500:
            raise
        reason = f"status {error.response.status_code}"
        raise UnreachablePrefect(url=without_accounts(url), reason=reason) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if distrust := _distrust(error):
            raise UntrustedPrefect(url=without_accounts(url), reason=distrust) from None
        reason = without_accounts(" ".join(str(error).split())) or type(error).__name__
        raise UnreachablePrefect(url=without_accounts(url), reason=reason) from None


def _refuses(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403)


def _distrust(error: BaseException | None) -> str:
    """Return why a server's certificate was not taken; empty where that was not the cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""
