"""Stores that are away for a while: what is finished is held, the device waits, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pydantic import SecretStr
from sqlalchemy import make_url

from benchmarks.faults.proxy import Proxy, proxy_to_unix
from benchmarks.faults.s3_proxy import S3Proxy, s3_proxy
from benchmarks.faults.worker import start_worker
from tasks.errors import StillAway
from tasks.ledger import summarise
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import SubtreeState
from tasks.stores import open_patiently, open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import SmallNight, plan_small_night, small, write_catalogue

pytestmark = pytest.mark.slow

AWAY = 4.0  # seconds


@dataclass(frozen=True)
class Behind:
    """A planned night whose worker reaches its stores through proxies."""

    night: SmallNight
    worker: Settings
    ledger: Proxy
    objects: S3Proxy


@pytest.fixture
def behind(settings: Settings, tmp_path: Path) -> Iterator[Behind]:
    torch.set_num_threads(1)
    short = small(settings, shards=1, lease_seconds=2.0)
    url = make_url(str(short.database_url.get_secret_value()))  # type: ignore[union-attr]
    with (
        open_stores(short) as stores,
        proxy_to_unix(f"{url.query['host']}/.s.PGSQL.5432") as line,
        s3_proxy(str(short.s3_endpoint_url)) as objects,
    ):
        address = url.set(username="postgres", host="127.0.0.1", port=line.port, query={})
        there = {
            "database_url": SecretStr(address.render_as_string(hide_password=False)),
            "s3_endpoint_url": objects.endpoint,
        }
        night = plan_small_night(stores, short, write_catalogue(tmp_path))
        yield Behind(night, short.model_copy(update=there), line, objects)


def refuse(behind: Behind) -> Callable[[], None]:
    return strike(behind, "refusing all")


def fill_disk(behind: Behind) -> Callable[[], None]:
    return strike(behind, "full")


def redirect(behind: Behind) -> Callable[[], None]:
    return strike(behind, "redirecting")


def cut_ledger(behind: Behind) -> Callable[[], None]:
    behind.ledger.cut()
    return behind.ledger.mend


def strike(behind: Behind, fault: str) -> Callable[[], None]:
    behind.objects.fault = fault
    return lambda: setattr(behind.objects, "fault", "")


@pytest.mark.parametrize("fault", [refuse, fill_disk, redirect, cut_ledger])
def test_a_store_that_is_away_for_longer_than_the_lease_costs_no_evaluation(
    behind: Behind, fault: Callable[[Behind], Callable[[], None]]
) -> None:
    night = behind.night
    worker = start_worker(behind.worker, night.run, 1, "worker")
    assert worker.await_calls(2)
    mend = fault(behind)
    time.sleep(AWAY)
    assert worker.process.is_alive()
    mend()
    worker.await_end()
    with night.stores.session() as session:
        facts = summarise(session, night.run)
    assert worker.ended == str(facts.evaluations_planned)
    assert facts.evaluations_done == facts.evaluations_planned
    assert facts.subtrees[1].attempts == 1
    assert publish(night.stores, night.settings, night.run).complete


def test_patience_ends_with_one_true_line_and_a_retry_makes_the_rest(behind: Behind) -> None:
    night, hasty = behind.night, behind.worker.model_copy(update={"patience_seconds": 1.0})
    behind.objects.fault = "full"
    with open_patiently(hasty) as stores, pytest.raises(StillAway) as caught:
        denoise_shard(stores, hasty, night.run, 1, "worker")
    with night.stores.session() as session:
        facts = summarise(session, night.run)
    said = facts.subtrees[1].error or ""
    assert said == str(caught.value)
    assert "often a full disk" in said
    assert "for during 1 s (HIERDIFF_PATIENCE_SECONDS)" in said
    assert "credentials" not in said
    assert facts.subtrees[1].state is SubtreeState.FAILED
    behind.objects.fault = ""
    with open_patiently(hasty) as stores:
        denoise_shard(stores, hasty, night.run, 1, "worker")
    assert publish(night.stores, night.settings, night.run).complete
