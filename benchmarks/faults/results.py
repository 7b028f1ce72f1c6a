"""Kills of a result query at random moments: every picture is told to the shop once in effect."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, text

from benchmarks.faults.worker import CONTEXT
from benchmarks.lab import Lab
from flows.stack.standalone import standalone
from tasks.database import with_driver
from tasks.handover.pictures import File, HandedPicture
from tasks.handover.result_query import tell_shop
from tasks.patience import AT_ONCE
from tasks.settings import read_settings

_PICTURES = 300
_QUERY = "INSERT INTO news (sku, image) VALUES (:reference, :url)"


@dataclass(frozen=True)
class KilledQuery:
    """A shop after a delivery that was killed, and one that was not."""

    left: int  # rows that were there after the kill
    rows: int
    distinct: int

    @property
    def good(self) -> bool:
        """Whether every picture is there, and none twice."""
        return self.rows == self.distinct == _PICTURES


def killed_queries(lab: Lab, count: int, seed: int) -> Iterator[KilledQuery]:
    """Tell an empty shop of 300 pictures, be killed at a random moment, and tell it again.

    The statement adds a row, so that telling twice would show. The shop's database is PostgreSQL.
    """
    chance = random.Random(seed)
    CONTEXT.set_forkserver_preload([__name__])  # a process begins at once, so that kills hit it
    with (
        # Where PostgreSQL's own user may enter, and near enough for a Unix socket's path.
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lab.say) as stack,
    ):
        url = read_settings(home=stack.home).database_url
        shop = _Shop(create_engine(with_driver(make_url(url.get_secret_value() if url else ""))))
        whole = min(shop.seconds() for _ in range(3))  # the first one is slower
        for _ in range(count):
            shop.clear()
            left: list[int] = []
            while not left:
                if shop.tell(chance.uniform(0.0, whole)):
                    left.append(shop.count()[0])
                else:
                    shop.clear()  # it had ended before
            shop.tell(None)
            yield KilledQuery(left[0], *shop.count())


@dataclass(frozen=True)
class _Shop:
    """A shop's database."""

    engine: Engine

    def clear(self) -> None:
        """Empty it, receipts included."""
        with self.engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS news, hierdiff_receipts"))
            connection.execute(text("CREATE TABLE news (sku TEXT, image TEXT)"))

    def count(self) -> tuple[int, int]:
        """Return its rows, and how many of them differ."""
        statement = text("SELECT count(*), count(DISTINCT sku) FROM news")
        with self.engine.connect() as connection:
            rows, distinct = connection.execute(statement).one()
        return int(rows), int(distinct)

    def seconds(self) -> float:
        """Return how long it takes to tell it of everything."""
        self.clear()
        began = time.monotonic()
        self.tell(None)
        return time.monotonic() - began

    def tell(self, after: float | None) -> bool:
        """Tell it in a process of its own; return whether that was killed after so many seconds."""
        url = self.engine.url.render_as_string(hide_password=False)
        process: Any = CONTEXT.Process(target=_tell_in_process, args=(url,))
        process.start()
        process.join(after)
        if not process.is_alive():
            return False
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return True


def _tell_in_process(url: str) -> None:
    given: Mapping[str, object] = {
        "result_url": SecretStr(url),
        "result_query": _QUERY,
        "public_url": "https://pictures.example.com",
    }
    tell_shop(read_settings(**given), "shop", _pictures(), AT_ONCE)


def _pictures() -> tuple[HandedPicture, ...]:
    file = File("", "images/a.png", "https://pictures.example.com/a.png", "a" * 64, 1, 8, 8)
    return tuple(
        HandedPicture("run", n, f"SKU-{n}", 1, f"SKU-{n}", "made", 0, "1", "", (file,))
        for n in range(_PICTURES)
    )
