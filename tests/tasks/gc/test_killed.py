"""A collection may end at any moment: nothing points nowhere, and the next does the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count as numbers

import pytest
from sqlalchemy.orm import Session

from tasks import ledger
from tasks.gc.collect import collect_garbage
from tasks.gc.find import find_garbage
from tasks.gc.retention import Retention
from tasks.object_keys import picture_key
from tasks.settings import Settings
from tasks.storage import Bucket
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import dangling, keys, make_nights

SMALL = Retention(1, 100, settled=0.0)


class Killed(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class MortalBucket(Bucket):
    """A bucket whose process ends at one of its requests to remove something, half of it done."""

    left: list[int] = field(default_factory=list)

    def delete_all(self, keys: list[str]) -> None:  # type: ignore[override]
        if keys:
            self.left[0] -= 1
        if not self.left[0]:
            super().delete_all(keys[: len(keys) // 2])
            raise Killed
        super().delete_all(keys)


@dataclass(frozen=True)
class MortalStores(Stores):
    """Stores whose process ends just before, or just after, one of its commits."""

    left: list[int] = field(default_factory=list)
    after: bool = False

    @contextmanager
    def session(self) -> Iterator[Session]:
        with super().session() as session:
            yield session
            self.left[0] -= not self.after
            if not self.after and not self.left[0]:
                raise Killed
        self.left[0] -= self.after
        if self.after and not self.left[0]:
            raise Killed


def mortal(stores: Stores, way: str, moment: int) -> Stores:
    left = [moment]
    if way == "removing an object":
        return replace(stores, bucket=MortalBucket(**vars(stores.bucket), left=left))
    return MortalStores(**vars(stores), left=left, after=way == "after a commit")


@pytest.mark.parametrize("way", ["before a commit", "after a commit", "removing an object"])
def test_it_may_end_at_any_moment(settings: Settings, way: str) -> None:
    with open_stores(settings) as stores:
        nights = make_nights(stores, *[(day + 1, day + 2, day + 3, 50) for day in range(4)])
        stores.bucket.put(picture_key("a" * 64), b"nobody names it")
        with stores.session() as session:
            kept = {image.key for image in ledger.load_images(session, nights[-1].run).values()}
        kills = 0
        for moment in numbers(1):
            try:
                collect_garbage(mortal(stores, way, moment), SMALL)
            except Killed:
                kills += 1
                assert dangling(stores) == []
                assert kept <= keys(stores)
                continue
            break
        assert kills > 2
        assert find_garbage(stores, SMALL) == ()
        assert dangling(stores) == []
        assert kept <= keys(stores, "images/")
