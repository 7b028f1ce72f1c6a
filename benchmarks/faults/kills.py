"""Kills at random moments of three nights: every picture has the bits of the undisturbed night."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import torch
from pydantic import SecretStr
from sqlalchemy import URL, create_engine, make_url, text

from benchmarks.catalogue import make_texts
from benchmarks.errors import NightFailed
from benchmarks.faults.two_workers import pictures
from benchmarks.faults.worker import CONTEXT, environment
from benchmarks.lab import Lab
from flows.quiet import quiet_libraries
from flows.stack.standalone import standalone
from tasks import stages
from tasks.ledger import claim_night, find_night, load_plan, open_subtrees, stored_segments
from tasks.report.check import check_night
from tasks.report.publish import publish
from tasks.settings import Settings, read_settings
from tasks.storage import connect_bucket
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard

_CATALOGUE = "shop"
_FIRST = date(2026, 11, 22)
_NIGHTS = 3
_ROWS, _CHANGED = 12, 3  # prompts of a night, and how many of them are new the next night
_KILLS = 3  # in one trial, at most


@dataclass(frozen=True)
class KilledNight:
    """What a night has come to that was killed and started again."""

    night: int
    kills: int
    undone: int  # segments
    wrong: int  # pictures that are missing or whose bits are others

    @property
    def good(self) -> bool:
        """Whether the night is as the undisturbed one."""
        return not self.undone and not self.wrong


@dataclass(frozen=True)
class State:
    """A ledger and a bucket after some nights."""

    settings: Settings
    url: URL

    def copy(self, name: str) -> State:
        """Return a copy of both under another name."""
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{self.url.database}"')
        url = self.url.set(database=name)
        there = {"database_url": SecretStr(url.render_as_string(hide_password=False))}
        settings = self.settings.model_copy(update=there | {"s3_bucket": f"bucket-{name}"})
        here, other = connect_bucket(self.settings), connect_bucket(settings, create=True)
        for key in here.list():
            other.put(key, here.get(key))
        return State(settings, url)

    def drop(self) -> None:
        """Remove both."""
        self._administer(f'DROP DATABASE "{self.url.database}" WITH (FORCE)')
        bucket = connect_bucket(self.settings)
        for key in list(bucket.list()):
            bucket.delete(key)

    def _administer(self, statement: str) -> None:
        engine = create_engine(self.url.set(database="template1"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@dataclass(frozen=True)
class Undisturbed:
    """A night that nobody disturbed, and what was before and after it."""

    before: State
    after: State
    file: Path
    day: date
    seconds: float
    pictures: Mapping[int, str]


def killed_nights(
    lab: Lab, count: int, seed: int, given: Mapping[str, object]
) -> Iterator[KilledNight]:
    """Yield the outcome of each trial: kills of one night's process at random moments."""
    chance = random.Random(seed)
    with undisturbed_nights(lab, given) as references:
        for number in range(count):
            night = number % _NIGHTS
            state = references[night].before.copy(f"kill{number}")
            yield _killed(references[night], state, night + 1, chance)
            state.drop()


def carry_out(settings: Settings, file: Path, day: date) -> None:
    """Make a night from its rows to its report, as the flows do, in this process."""
    with open_stores(settings) as stores:
        with stores.session() as session:
            night = claim_night(session, _CATALOGUE, day)
        stages.ingest(stores, settings, night, stages.Source(file=file))
        run = night.run
        if run is None:
            stages.embed(stores, settings, night.batch, lambda done, total: None)
            run = stages.plan(stores, settings, night.batch)
        _run_open(stores, settings, run)
        checked = check_night(stores, run)
        _run_open(stores, settings, run)
        publish(stores, settings, run, checked)


def _run_open(stores: Stores, settings: Settings, run: UUID) -> None:
    with stores.session() as session:
        waiting = open_subtrees(session, run)
    for shard in waiting:
        denoise_shard(stores, settings, run, shard, "worker")


def _killed(reference: Undisturbed, state: State, night: int, chance: random.Random) -> KilledNight:
    kills = 0
    for _ in range(chance.randint(1, _KILLS)):
        after = chance.uniform(0.0, reference.seconds)
        kills += _start_and_kill(reference, state, after)[0]
    if _start_and_kill(reference, state, None)[0]:
        raise NightFailed(day=reference.day)
    with open_stores(state.settings) as stores:
        run = run_of(stores, reference.day)
        found = pictures(stores, run)
        with stores.session() as session:
            plan, done = load_plan(session, run).plan, stored_segments(session, run)
    wrong = sum(found.get(leaf) != each for leaf, each in reference.pictures.items())
    return KilledNight(night, kills, len(plan.segments) - len(done), wrong)


def _start_and_kill(
    reference: Undisturbed, state: State, after: float | None
) -> tuple[bool, float]:
    """Start the night, and kill it so many seconds later; return whether it died, and its time."""
    mine, its = CONTEXT.Pipe(duplex=False)
    about = (environment(state.settings), str(reference.file), reference.day.isoformat(), its)
    process = CONTEXT.Process(target=_in_process, args=about, daemon=True)
    process.start()
    its.close()
    mine.poll(60.0)
    began = time.monotonic()
    process.join(after)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode != 0, time.monotonic() - began


def _in_process(given: Mapping[str, str], file: str, day: str, line: object) -> None:
    os.environ.update(given)
    torch.set_num_threads(1)
    quiet_libraries()
    line.send_bytes(b"began")  # type: ignore[attr-defined]
    carry_out(read_settings(), Path(file), date.fromisoformat(day))


@contextmanager
def undisturbed_nights(lab: Lab, given: Mapping[str, object]) -> Iterator[list[Undisturbed]]:
    """Make the nights for the block, one after the other, with nobody in the way."""
    with _stack(lab, given) as (start, home):
        yield _references(start, home)


def _references(start: State, home: Path) -> list[Undisturbed]:
    texts, before, found = make_texts(), start, list[Undisturbed]()
    for night in range(_NIGHTS):
        file = home / f"night{night}.tsv"
        rows = texts[night * _CHANGED : night * _CHANGED + _ROWS]
        file.write_text("\n".join(["prompt", *rows]) + "\n")
        after, day = before.copy(f"reference{night}"), _FIRST + timedelta(days=night)
        died, seconds = _start_and_kill(Undisturbed(before, after, file, day, 0.0, {}), after, None)
        if died:
            raise NightFailed(day=day)
        with open_stores(after.settings) as stores:
            made = pictures(stores, run_of(stores, day))
        found.append(Undisturbed(before, after, file, day, seconds, made))
        before = after
    return found


def run_of(stores: Stores, day: date) -> UUID:
    with stores.session() as session:
        night = find_night(session, _CATALOGUE, day)
    if night is None or night.run is None:
        raise LookupError(day)
    return night.run


@contextmanager
def _stack(lab: Lab, given: Mapping[str, object]) -> Iterator[tuple[State, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lab.say) as stack,
    ):
        settings = read_settings(home=stack.home, device="cpu", shards=2, **given)
        if settings.database_url is None:
            raise LookupError("the stack has no database")
        yield State(settings, make_url(settings.database_url.get_secret_value())), stack.home
