"""A hundred workers on one ledger, and a night on hundreds of GPUs.

The ledger, the bucket and the workers are real, and each worker is a process; only their denoiser
sleeps. Each has a shard of one large night, so that more workers do more of it side by side. The
night on many GPUs is simulated (`many_gpus`) with what was measured here.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
import torch
from sqlalchemy import create_engine, text

from benchmarks.errors import NightFailed
from benchmarks.lab import Lab
from benchmarks.many_gpus import Rates, simulate
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from benchmarks.planning import make_template
from benchmarks.sleeping import SLOT, Worked, work
from benchmarks.standing import made_up_recipe, make_rows, store_rows
from flows.stack.standalone import Stack, standalone
from hierdiff_core.budget import Budget
from hierdiff_core.embedding import Conditioning, Embedding, pack
from hierdiff_core.forest import Forest, group_prompts
from hierdiff_core.plan import Plan
from hierdiff_core.planners import PlanSettings, Vectors, plan_forest
from hierdiff_core.prompt import Prompt, negative_key
from tasks import ledger
from tasks.plan import store_forest
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

TITLE = "A hundred workers on one ledger, and a night on hundreds of GPUs"
SAVING, STEPS, SLOTS = 0.5, 20, 16
CONNECTIONS = 450  # that the server allows, so that all are seen


@dataclass(frozen=True)
class Level:
    """So many workers at once."""

    workers: int
    worked: tuple[Worked, ...]
    connections: int  # at the peak
    memory: float  # GiB of all workers, at the peak
    busy: float  # share of the machine's processors

    @property
    def waiting(self) -> float:
        """Share of their time that the devices' threads wait for the ledger."""
        return sum(each.device for each in self.worked) / self._seconds

    @property
    def waiting_at_all(self) -> float:
        """The same with what waits on other threads while the device goes on."""
        waits = sum(each.device + each.beside for each in self.worked)
        return waits / self._seconds

    @property
    def statements(self) -> float:
        """Statements for an evaluation."""
        done = sum(each.evaluations for each in self.worked)
        return sum(each.statements for each in self.worked) / done

    @property
    def loading(self) -> float:
        """Seconds until the first call, on average."""
        return sum(each.loading for each in self.worked) / len(self.worked)

    @property
    def _seconds(self) -> float:
        return sum(each.seconds for each in self.worked)


def measure(lab: Lab) -> Outcome:
    """Run more and more workers on one night, then simulate one with what was found."""
    prompts, counts, call = (30, (1, 2), 0.01) if lab.quick else (20_000, (1, 8, 32, 100), 2.0)
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder).resolve(), stores_only=True, announce=lab.say) as stack,
    ):
        _allow_connections(stack)
        settings = read_settings(
            home=stack.home, steps=STEPS, slots=SLOTS, device="cpu", previews=False
        )
        run = _store_night(lab, settings, prompts, sum(counts))
        levels, first = [], 1
        for count in counts:
            shards = range(first, first + count)
            levels.append(_level(lab, settings, run, shards, call))
            first += count
    most = levels[-1]
    size = 200 if lab.quick else 100_000
    # Who loads a plan reads all of it.
    rates = Rates(loading=levels[0].loading * size / prompts, waiting=most.waiting)
    lab.say(f"simulating a night of {size:,} prompts")
    simulated = simulate(_plan(settings, size), SLOTS, rates, (2, 4) if lab.quick else (8, 64, 512))
    return Outcome(
        figures=(*_figures(most), *simulated.figures),
        tables=(_table(levels, prompts, call), *simulated.tables),
        notes=(*_NOTES, *simulated.notes),
    )


def _allow_connections(stack: Stack) -> None:
    """Start the server again with room for as many connections as workers may open."""
    engine = create_engine(stack.addresses["HIERDIFF_DATABASE_URL"], isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}"))
    engine.dispose()
    server = stack.services["postgres"]
    server.stop()
    server.start()
    server.await_ready(120.0)


def _store_night(lab: Lab, settings: Settings, prompts: int, shards: int) -> uuid.UUID:
    """Store a planned night whose trunk is done; return its run."""
    vectors = make_template(prompts)
    with open_stores(settings) as stores:
        recipe = made_up_recipe(settings)
        rows = store_rows(stores, recipe, 0, vectors)
        forest = _forest(rows, vectors)
        with stores.session() as session:
            batch = ledger.claim_night(session, "shop", date(2026, 1, 1)).batch
            ledger.store_prompts(session, batch, rows, [])
            ledger.store_embeddings(session, {negative_key(recipe): _negative(vectors)})
        run = store_forest(stores, batch, forest, Budget(saving=SAVING), shards)
        lab.say(f"{prompts:,} prompts, {forest.plan.evaluations:,} evaluations, {shards} shards")
    _together(settings, run, [0], 0.0)
    return run


def _plan(settings: Settings, prompts: int) -> Plan:
    rows = make_rows(made_up_recipe(settings), 0, prompts)
    return _forest(rows, make_template(prompts)).plan


def _forest(rows: Sequence[Prompt], vectors: Vectors) -> Forest:
    (group,) = group_prompts(rows)
    place = {prompt: row for row, prompt in enumerate(rows)}
    ordered = vectors[[place[prompt] for prompt in group.prompts]]
    asked = PlanSettings(Budget(saving=SAVING), planner="paper")
    return plan_forest([group], [ordered], asked)


def _negative(vectors: Vectors) -> ledger.StoredEmbedding:
    row = np.zeros_like(vectors[0])
    return ledger.StoredEmbedding(
        pack(Embedding(row, Conditioning({SLOT: torch.from_numpy(row[None])})))
    )


def _level(
    lab: Lab, settings: Settings, run: uuid.UUID, shards: Sequence[int], call: float
) -> Level:
    psutil.cpu_percent()
    with open_stores(settings) as stores, _watched(stores) as seen:
        worked = _together(settings, run, shards, call)
    busy = psutil.cpu_percent() / 100
    peaks = max(seen.connections, default=0), max(seen.memory, default=0.0)
    level = Level(len(shards), worked, *peaks, busy)
    lab.say(
        f"{len(shards)} workers: {level.waiting:.1%} waiting for the ledger, "
        f"{level.connections} connections, processors {busy:.0%} busy"
    )
    return level


def _together(
    settings: Settings, run: uuid.UUID, shards: Sequence[int], call: float
) -> tuple[Worked, ...]:
    """Run shards side by side, each in a process; raises NightFailed where one of them ends."""
    # Forked from a process that has imported everything and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.sleeping", "hierdiff_core.models.kandinsky22"])
    ends, processes = [], []
    for shard in shards:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(settings, run, shard, call, there))
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)
    try:
        return tuple(end.recv() for end in ends)
    except EOFError:
        raise NightFailed(reason="a worker ended before its shard did") from None
    finally:
        for process in processes:
            process.join()


@dataclass
class _Seen:
    """What was seen of a level while it ran."""

    connections: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # GiB


@contextmanager
def _watched(stores: Stores) -> Iterator[_Seen]:
    """Look each half second at the server's connections, each ten at the workers' memory."""
    seen, ended = _Seen(), Event()

    def look() -> None:
        while not ended.wait(0.5):
            with stores.engine.connect() as connection:
                count = connection.execute(_CONNECTIONS).scalar_one()
            if not len(seen.connections) % 20:  # it costs processor time
                seen.memory.append(_memory())
            seen.connections.append(count - 1)  # this one

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


_CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hierdiff'")


def _memory() -> float:
    """Return GiB that this process and all that it started hold, what they share counted once."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += process.memory_full_info().uss
    return total / 2**30


def _figures(most: Level) -> tuple[Figure, ...]:
    about = f"{most.workers} workers: "
    return (
        Figure(
            f"{about}share of their time that devices wait for the ledger",
            most.waiting,
            ".2%",
            goal=Goal(most=0.03),
        ),
        Figure(f"{about}connections at the peak", most.connections, "d", goal=Goal(most=100)),
        Figure(f"{about}statements for an evaluation", most.statements, ".2f"),
    )


def _table(levels: Sequence[Level], prompts: int, call: float) -> Table:
    return Table(
        f"{prompts:,} prompts, calls of {SLOTS} rows that take {call:g} s",
        (
            Column("workers", "d"),
            Column("devices wait", ".2%"),
            Column("all threads wait", ".2%"),
            Column("statements for an evaluation", ".2f"),
            Column("connections at the peak", "d"),
            Column("seconds to the first call", ".1f"),
            Column("GiB of workers", ".1f"),
            Column("processors busy", ".0%"),
        ),
        [
            (
                each.workers,
                each.waiting,
                each.waiting_at_all,
                each.statements,
                each.connections,
                each.loading,
                each.memory,
                each.busy,
            )
            for each in levels
        ],
    )


_NOTES = (
    "Workers are processes on one machine, with PostgreSQL and the S3 server beside them: where "
    "its processors are busy, waits are longer than on machines of their own. Each has a shard of "
    "the same night, which is planned from made-up embeddings of 1,280 dimensions; more workers do "
    "more of it. A worker waits where its driver waits for the server, new connections included; "
    "its device's thread waits while leases and plans are read, other threads store what is done.",
)
