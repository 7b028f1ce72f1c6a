"""Two live workers on one shard: what is done twice, what is left undone, which bits differ."""

from __future__ import annotations

import hashlib
import io
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image
from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.faults.proxy import Proxy, proxy_to_unix
from benchmarks.faults.worker import Worker, start_worker
from benchmarks.night import SHARD, PlannedNight
from tasks.ledger import load_images, load_plan, stored_segments
from tasks.settings import Settings
from tasks.stores import Stores, open_stores

_LEASE = 1.0  # seconds


@dataclass(frozen=True)
class TwoWorkers:
    """What one trial has come to."""

    fault: str
    doubled: int  # calls of the first worker that ended after the second one's first
    undone: int  # segments
    wrong: int  # pictures whose bits are not those of the undisturbed night
    ends: tuple[str, str]

    @property
    def good(self) -> bool:
        """Whether the trial is as it should be."""
        return self.doubled <= 1 and not self.undone and not self.wrong


@dataclass
class _Pair:
    """A trial under way: the first worker is at work."""

    settings: Settings
    stores: Stores
    run: uuid.UUID
    first: Worker
    line: Proxy  # of the first worker to the ledger
    chance: random.Random

    def second(self, owner: str) -> Worker:
        """Start the second worker."""
        return start_worker(self.settings, self.run, SHARD, owner)


def _stop(pair: _Pair, owner: str) -> Worker:
    """Stop the first for longer than its lease, and let it go on while the second is at work."""
    pair.first.signal(signal.SIGSTOP)
    second = pair.second(owner)
    second.await_calls(pair.chance.randint(1, 4))
    pair.first.signal(signal.SIGCONT)
    return second


def _cut(pair: _Pair, owner: str) -> Worker:
    """Cut the first off the ledger, and mend the line while the second is at work."""
    pair.line.cut()
    second = pair.second(owner)
    second.await_calls(pair.chance.randint(1, 4))
    pair.line.mend()
    return second


def _jump(pair: _Pair, owner: str) -> Worker:
    """Let the ledger's clock jump, as far as leases can tell, until the second has taken over."""
    second = pair.second(owner)
    jump = "UPDATE subtrees SET lease_until = lease_until - interval '1 hour' WHERE attempts = 1"
    while not second.calls and pair.first.process.is_alive():
        with pair.stores.session() as session:
            session.execute(text(jump))
        second.read(0.02)
    return second


def _twice(pair: _Pair, owner: str) -> Worker:
    """Start the shard a second time while the first is well."""
    return pair.second(owner)


FAULTS: dict[str, Callable[[_Pair, str], Worker]] = {
    "stopped": _stop,
    "cut off": _cut,
    "clock jumps": _jump,
    "started twice": _twice,
}


def trials(planned: PlannedNight, count: int, seed: int = 0) -> Iterator[TwoWorkers]:
    """Yield the outcome of each trial: a fault at a random call of the first worker."""
    chance = random.Random(seed)
    with _fresh(planned, "reference") as (settings, _):
        worker = start_worker(settings, planned.run, SHARD, "alone")
        worker.await_end()
        calls = len(worker.calls)
        with open_stores(settings) as stores:
            wanted = pictures(stores, planned.run)
    for number in range(count):
        fault = list(FAULTS)[number % len(FAULTS)]
        with _fresh(planned, f"trial{number}") as (settings, line), open_stores(settings) as stores:
            yield _trial(planned, settings, stores, line, fault, chance, calls, wanted)


def _trial(
    planned: PlannedNight,
    settings: Settings,
    stores: Stores,
    line: Proxy,
    fault: str,
    chance: random.Random,
    calls: int,
    wanted: dict[int, str],
) -> TwoWorkers:
    address = f"postgresql://postgres@127.0.0.1:{line.port}/{stores.engine.url.database}"
    behind = settings.model_copy(update={"database_url": SecretStr(address)})
    first = start_worker(behind, planned.run, SHARD, "flow")
    pair = _Pair(settings, stores, planned.run, first, line, chance)
    first.await_calls(chance.randint(1, max(1, calls - 3)))
    second = FAULTS[fault](pair, chance.choice(["flow", "another flow"]))
    second.await_end()
    first.await_end()
    began = second.calls[0] if second.calls else time.time()
    doubled = sum(each >= began for each in first.calls) if second.calls else 0
    with stores.session() as session:
        plan = load_plan(session, planned.run).plan
        undone = len(plan.segments) - len(stored_segments(session, planned.run))
    found = pictures(stores, planned.run)
    wrong = sum(found.get(leaf) != digest for leaf, digest in wanted.items())
    return TwoWorkers(fault, doubled, undone, wrong, (first.ended, second.ended))


def pictures(stores: Stores, run: uuid.UUID) -> dict[int, str]:
    """Return a digest of the pixels of each picture, by leaf."""
    with stores.session() as session:
        images = load_images(session, run)
    found = {}
    for leaf, image in images.items():
        with Image.open(io.BytesIO(stores.bucket.get(image.key, image.sha256))) as opened:
            found[leaf] = hashlib.sha256(opened.tobytes()).hexdigest()
    return found


@contextmanager
def _fresh(planned: PlannedNight, name: str) -> Iterator[tuple[Settings, Proxy]]:
    """A copy of the night, and a line to its ledger that can be cut."""
    socket = f"{planned.url.query['host']}/.s.PGSQL.5432"
    with planned.copy(name) as settings, proxy_to_unix(socket) as line:
        yield settings.model_copy(update={"lease_seconds": _LEASE}), line
