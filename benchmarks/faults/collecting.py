"""Kills of `hierdiff gc` at random moments, alone, two at once, and beside a running night."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from sqlalchemy import text

from benchmarks.errors import NightFailed
from benchmarks.faults.kills import State, Undisturbed, Wish, carry_out, run_of
from benchmarks.faults.two_workers import pictures
from benchmarks.faults.worker import CONTEXT, environment
from flows.quiet import quiet_libraries
from tasks.gc.collect import collect_garbage
from tasks.gc.retention import Retention
from tasks.ledger import summarise
from tasks.object_keys import CHECKPOINTS, PICTURES, PREVIEWS
from tasks.settings import read_settings
from tasks.stores import open_stores

_SETTLED = 5.0  # seconds for which objects are left alone; a worker writes its rows sooner
_KEEP = Retention(1, settled=_SETTLED)


@dataclass(frozen=True)
class KilledCollection:
    """What the next night has come to after collections that were killed."""

    way: str
    kills: int
    wrong: int  # pictures that are missing or whose bits are others
    dangling: int  # objects that rows name and the bucket lacks
    more: int  # evaluations beyond those of the undisturbed night

    @property
    def good(self) -> bool:
        """Whether nothing is lost and nothing is made twice."""
        return not (self.wrong or self.dangling or self.more)


@dataclass(frozen=True)
class _Outcome:
    """The last night, as it came out."""

    pictures: Mapping[int, str]
    evaluations: int


@dataclass(frozen=True)
class _Trial:
    """A copy of the ledger and the bucket before the last night."""

    state: State
    night: Undisturbed
    seconds: float  # that a collection takes
    chance: random.Random

    def collect(self, after: float | None = None) -> bool:
        """Collect to the end, or kill it so many seconds after it began; return if it was."""
        return _end(_start(_collect_in_process, self.state, ()), after)

    def moment(self) -> float:
        """Return a moment of a collection."""
        return self.chance.uniform(0.0, self.seconds)

    def make(self) -> None:
        """Make the last night."""
        _end(self.start())

    def start(self) -> BaseProcess:
        """Start the last night."""
        about = (self.night.wish,)
        return _start(_make_in_process, self.state, about)


def killed_collections(last: Undisturbed, count: int, seed: int) -> Iterator[KilledCollection]:
    """Yield the outcome of each trial: the last night, after or beside killed collections.

    With what is removed before it, the last night may be planned otherwise than without; each of
    the two is compared with an undisturbed one.
    """
    chance = random.Random(seed)
    removed, seconds = _undisturbed_collection(last, chance)
    allowed = [removed, _outcome(last.after, last)]
    for number in range(count):
        way = list(_WAYS)[number % len(_WAYS)]
        state = last.before.copy(f"collect{number}")
        time.sleep(_SETTLED)  # what was copied is as young as its copy
        kills = _WAYS[way](_Trial(state, last, seconds, chance))
        found, dangling = _outcome(state, last), _dangling(state)
        # What is removed beside a night may be removed before or after it was planned.
        goals = allowed if way == "beside a night" else allowed[:1]
        wrong = [
            sum(found.pictures.get(k) != v for k, v in goal.pictures.items()) for goal in goals
        ]
        best = min(range(len(goals)), key=wrong.__getitem__)
        more = max(0, found.evaluations - goals[best].evaluations)
        yield KilledCollection(way, kills, wrong[best], dangling, more)
        state.drop()


def _killed(trial: _Trial) -> int:
    kills = sum(trial.collect(trial.moment()) for _ in range(trial.chance.randint(1, 3)))
    trial.collect()
    trial.make()
    return kills


def _killed_beside_another(trial: _Trial) -> int:
    other = _start(_collect_in_process, trial.state, ())
    kills = int(trial.collect(trial.moment()))
    _end(other)
    trial.make()
    return kills


def _killed_beside_a_night(trial: _Trial) -> int:
    night = trial.start()
    time.sleep(trial.chance.uniform(0.0, trial.night.seconds))
    kills = int(trial.collect(trial.moment()))
    trial.collect()
    _end(night)
    return kills


_WAYS: Mapping[str, Callable[[_Trial], int]] = {
    "killed": _killed,
    "two at once": _killed_beside_another,
    "beside a night": _killed_beside_a_night,
}


def _undisturbed_collection(last: Undisturbed, chance: random.Random) -> tuple[_Outcome, float]:
    state = last.before.copy("collected")
    time.sleep(_SETTLED)
    trial, began = _Trial(state, last, 0.0, chance), time.monotonic()
    trial.collect()
    seconds = time.monotonic() - began
    trial.make()
    found = _outcome(state, last)
    state.drop()
    return found, seconds


def _outcome(state: State, last: Undisturbed) -> _Outcome:
    with open_stores(state.settings) as stores:
        run = run_of(stores, last.wish.day)
        with stores.session() as session:
            spent = summarise(session, run).evaluations_done
        return _Outcome(pictures(stores, run), spent)


def _dangling(state: State) -> int:
    """Return how many objects rows name and the bucket lacks."""
    statement = text(
        "SELECT DISTINCT s.sha256, s.preview, s.stop = r.steps AS leaf"
        " FROM segments s JOIN runs r ON r.id = s.run_id"
    )
    with open_stores(state.settings) as stores:
        there = set(stores.bucket.list())
        with stores.session() as session:
            rows = session.execute(statement).all()
            images = session.execute(text("SELECT key FROM images")).scalars().all()
    kinds = {(PICTURES if row.leaf else CHECKPOINTS).key(row.sha256) for row in rows if row.sha256}
    shown = {PREVIEWS.key(row.preview) for row in rows if row.preview}
    return len((kinds | shown | set(images)) - there)


def _start(target: Callable[..., None], state: State, about: tuple[object, ...]) -> BaseProcess:
    """Start a process and wait until it begins."""
    mine, its = CONTEXT.Pipe(duplex=False)
    arguments = (environment(state.settings), *about, its)
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    its.close()
    mine.poll(60.0)
    return process


def _end(process: BaseProcess, after: float | None = None) -> bool:
    """Wait for a process, or kill it so many seconds later; return whether it was killed."""
    process.join(after)
    if killed := process.is_alive() and process.pid is not None:
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    if not killed and process.exitcode:
        raise NightFailed(day=process.name)
    return killed


def _collect_in_process(given: Mapping[str, str], line: Any) -> None:
    _prepare(given, line)
    with open_stores(read_settings()) as stores:
        collect_garbage(stores, _KEEP)


def _make_in_process(given: Mapping[str, str], wish: Wish, line: Any) -> None:
    _prepare(given, line)
    carry_out(read_settings(), wish)


def _prepare(given: Mapping[str, str], line: Any) -> None:
    os.environ.update(given)
    torch.set_num_threads(1)
    quiet_libraries()
    line.send_bytes(b"began")
