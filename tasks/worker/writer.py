"""The writer: stores what the sampler finishes while the device goes on.

What is stored together is a `write_batch`. A few threads make and upload pictures, one gathers all
that arrives for a moment, stores its splits and writes its rows. So much may wait and no more
(`room`): a slow bucket slows the night and does not fill the memory. While a store is away the
writer's threads wait for it, and once the room is full so does the device.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType

from tasks.lease import Hold
from tasks.settings import Settings
from tasks.worker.room import WAITING, Room
from tasks.worker.shard import Work
from tasks.worker.write_batch import (
    Made,
    Maker,
    Split,
    WriteBatch,
    store_made,
    write_batch,
)

_HANDS = 4  # threads that make and upload
# Seconds from a batch's first arrival to its rows. A crash loses the batch that is open and what
# arrives while the one before it is being written; a longer one means fewer objects and more loss.
_WINDOW = 0.5
_QUIET = 1.0  # seconds after which rounds that finished nothing are counted


def open_writer(hold: Hold, settings: Settings, work: Work) -> Writer:
    """Return a writer of a shard's results, with the memory that this machine has for them."""
    memory = settings.hold_megabytes * 1_000_000
    return Writer(hold, work.run, work.shard, memory=memory, picture=work.picture_bytes)


class Writer:
    """Use as a context: leaving it waits for everything, or, after an error, for what it can."""

    def __init__(
        self, hold: Hold, run: uuid.UUID, shard: int, *, memory: int, picture: int
    ) -> None:
        """`memory` may be held while a store is away; `picture`: of one picture, both in bytes."""
        self.hold, self.run, self.shard, self.picture = hold, run, shard, picture
        self._hands = ThreadPoolExecutor(_HANDS, thread_name_prefix="writer")
        self._room = Room(memory, lambda: hold.stores.patience.waits)
        self._arriving: SimpleQueue[WriteBatch] = SimpleQueue()
        self._noted = WriteBatch()
        self._noted_at = time.monotonic()
        self._fault: BaseException | None = None
        self._writer = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._writer.start()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._noted.last = True
        self._arriving.put(self._noted)
        self._writer.join()
        self._hands.shutdown()
        if error is None:
            self._raise_fault()

    def note(
        self,
        started: Sequence[int] = (),
        evaluations: int = 0,
        splits: Sequence[Split] = (),
        makers: Sequence[Maker] = (),
        failed: Mapping[int, str] | None = None,
        parked: Sequence[Split] = (),
    ) -> None:
        """Take a round: what it started, what it evaluated, its splits, how to make its pictures,
        what failed in it, with the reason, and what is left between two steps.

        Makers are called on threads of the writer. Waits while too much is waiting to be stored,
        and raises what could not be.
        """
        self._raise_fault()
        self._noted.started += started
        self._noted.evaluations += evaluations
        self._noted.failed |= failed or {}
        self._noted.parked += parked
        for split in splits:
            self._take_room(split.bytes)
            self._noted.splits.append(split)
        for make in makers:
            self._take_room(self.picture)
            self._noted.made.append(self._hands.submit(self._store, make))
        if started or splits or makers or failed or time.monotonic() - self._noted_at > _QUIET:
            self._hand_on()

    def _take_room(self, size: int) -> None:
        if not self._room.try_take(size):
            self._hand_on()  # or the room that this round takes would never be free again
            self._room.take(size, self._check)

    def _check(self) -> None:
        self._raise_fault()
        if self.hold.lost:
            self.hold.check()

    def _hand_on(self) -> None:
        self._arriving.put(self._noted)
        self._noted, self._noted_at = WriteBatch(), time.monotonic()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _store(self, make: Maker) -> Made:
        self._raise_fault()
        return store_made(self.hold.stores.bucket, make())

    def _write_all(self) -> None:
        while True:
            batch = self._gather()
            things = batch.size
            size = sum(split.bytes for split in batch.splits) + self.picture * len(batch.made)
            if self._fault is not None:
                # Their parents may be what could not be stored.
                batch.splits, batch.parked, batch.made = [], [], []
            try:
                write_batch(self.hold, self.run, self.shard, batch)
            except BaseException as fault:
                self._fault = self._fault or fault
            self._room.give_back(things, size)
            if batch.last:
                return

    def _gather(self) -> WriteBatch:
        batch = self._arriving.get()
        until = time.monotonic() + _WINDOW
        # Half of what may wait is enough: who waits for room should not wait for the clock.
        while not batch.last and batch.size < WAITING // 2:
            try:
                batch.add(self._arriving.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                break
        return batch
