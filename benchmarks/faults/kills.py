"""Kills at random moments of three nights, or of remakes of the third one.

Every picture has the bits of the undisturbed night, and no other picture is lost.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import torch
from pydantic import SecretStr
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.orm import Session

from benchmarks.catalogue import make_texts
from benchmarks.errors import NightFailed
from benchmarks.faults.two_workers import pictures
from benchmarks.faults.worker import CONTEXT, environment
from benchmarks.lab import Lab
from flows.quiet import quiet_libraries
from flows.stack.standalone import standalone
from tasks import stages
from tasks.errors import CorruptObject, MissingObject
from tasks.ledger import (
    Night,
    claim_night,
    find_night,
    load_plan,
    open_subtrees,
    replace_night,
    stored_segments,
)
from tasks.remake import NO_REMAKE, Remake
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
# Of the last night, one after the other: everything anew, then another picture of two rows.
_REMAKES = (Remake(("all",)), Remake(("2", "5"), 7))


@dataclass(frozen=True)
class KilledNight:
    """What a night has come to that was killed and started again."""

    night: int
    kills: int
    undone: int  # segments
    wrong: int  # pictures that are missing or whose bits are others
    doubled: int  # nights of its date beyond those of the undisturbed one
    lost: int  # pictures of any night that the ledger names and the bucket lacks

    @property
    def good(self) -> bool:
        """Whether the night is as the undisturbed one, and nothing else is lost."""
        return not (self.undone or self.wrong or self.doubled or self.lost)


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
class Wish:
    """What is asked for: rows of a date, or a remake of theirs."""

    file: Path
    day: date
    remake: Remake = NO_REMAKE
    nights: int = 1  # that the date has then, replaced ones too


@dataclass(frozen=True)
class Undisturbed:
    """A night that nobody disturbed, and what was before and after it."""

    before: State
    after: State
    wish: Wish
    seconds: float
    pictures: Mapping[int, str]


def killed_nights(
    lab: Lab, count: int, seed: int, given: Mapping[str, object], *, remakes: bool = False
) -> Iterator[KilledNight]:
    """Yield the outcome of each trial: kills of one night's process at random moments."""
    chance = random.Random(seed)
    with undisturbed_nights(lab, given, remakes=remakes) as every:
        references = every[_NIGHTS if remakes else 0 :]
        for number in range(count):
            reference = references[number % len(references)]
            state = reference.before.copy(f"kill{number}")
            yield _killed(reference, state, every.index(reference) + 1, chance)
            state.drop()


def carry_out(settings: Settings, wish: Wish) -> None:
    """Make a night from its rows to its report, as the flows do, in this process."""
    with open_stores(settings) as stores:
        night = _claim(stores, settings, wish)
        run = night.run
        if run is None:
            stages.embed(stores, settings, night.batch, lambda done, total: None)
            run = stages.plan(stores, settings, night.batch)
        _run_open(stores, settings, run)
        checked = check_night(stores, run)
        _run_open(stores, settings, run)
        publish(stores, settings, run, checked)


def _claim(stores: Stores, settings: Settings, wish: Wish) -> Night:
    """Return the night with its rows; a remake takes the place of the date's night, once."""
    rows = stages.read_rows(settings, stages.Source(file=wish.file))
    with stores.session() as session:
        if _count_nights(session, wish.day) < wish.nights:
            replace_night(session, _CATALOGUE, wish.day)
        night = claim_night(session, _CATALOGUE, wish.day)
        stages.store_rows(session, night.batch, rows, settings.night, wish.remake)
    return night


def _count_nights(session: Session, day: date) -> int:
    statement = text("SELECT count(*) FROM batches WHERE business_date = :day")
    return int(session.execute(statement, {"day": day}).scalar_one())


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
        raise NightFailed(day=reference.wish.day)
    with open_stores(state.settings) as stores:
        run = run_of(stores, reference.wish.day)
        found = pictures(stores, run)
        with stores.session() as session:
            plan, done = load_plan(session, run).plan, stored_segments(session, run)
            nights = _count_nights(session, reference.wish.day)
        lost = _count_lost(stores)
    wrong = sum(found.get(leaf) != each for leaf, each in reference.pictures.items())
    wrong += len(found.keys() - reference.pictures.keys())
    undone, doubled = len(plan.segments) - len(done), nights - reference.wish.nights
    return KilledNight(night, kills, undone, wrong, doubled, lost)


def _count_lost(stores: Stores) -> int:
    with stores.session() as session:
        named = session.execute(text("SELECT DISTINCT key, sha256 FROM images")).all()
    lost = 0
    for key, sha256 in named:
        try:
            stores.bucket.get(key, sha256)
        except (MissingObject, CorruptObject):
            lost += 1
    return lost


def _start_and_kill(
    reference: Undisturbed, state: State, after: float | None
) -> tuple[bool, float]:
    """Start the night, and kill it so many seconds later; return whether it died, and its time."""
    mine, its = CONTEXT.Pipe(duplex=False)
    about = (environment(state.settings), reference.wish, its)
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


def _in_process(given: Mapping[str, str], wish: Wish, line: object) -> None:
    os.environ.update(given)
    torch.set_num_threads(1)
    quiet_libraries()
    line.send_bytes(b"began")  # type: ignore[attr-defined]
    carry_out(read_settings(), wish)


@contextmanager
def undisturbed_nights(
    lab: Lab, given: Mapping[str, object], *, remakes: bool = False
) -> Iterator[list[Undisturbed]]:
    """Make the nights for the block, one after the other, with nobody in the way."""
    with _stack(lab, given) as (start, home):
        wishes = _nights(home)
        if remakes:
            wishes += [
                replace(wishes[-1], remake=remake, nights=number)
                for number, remake in enumerate(_REMAKES, 2)
            ]
        yield _references(start, wishes)


def _nights(home: Path) -> list[Wish]:
    texts, wishes = make_texts(), list[Wish]()
    for night in range(_NIGHTS):
        file = home / f"night{night}.tsv"
        rows = texts[night * _CHANGED : night * _CHANGED + _ROWS]
        file.write_text("\n".join(["prompt", *rows]) + "\n")
        wishes.append(Wish(file, _FIRST + timedelta(days=night)))
    return wishes


def _references(start: State, wishes: Sequence[Wish]) -> list[Undisturbed]:
    before, found = start, list[Undisturbed]()
    for number, wish in enumerate(wishes):
        after = before.copy(f"reference{number}")
        died, seconds = _start_and_kill(Undisturbed(before, after, wish, 0.0, {}), after, None)
        if died:
            raise NightFailed(day=wish.day)
        with open_stores(after.settings) as stores:
            made = pictures(stores, run_of(stores, wish.day))
        found.append(Undisturbed(before, after, wish, seconds, made))
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
