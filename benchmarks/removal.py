"""What `hierdiff gc` takes on a large ledger: `python -m benchmarks.removal --pictures 100000`.

Two nights of a catalogue of which one row in a hundred has changed; the earlier one is removed.
Rows are written by SQL and objects as files of the S3 server, since making them would take days;
reading, counting and removing them are the product's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from flows.stack.standalone import standalone
from tasks.gc.collect import collect_garbage
from tasks.gc.find import find_garbage
from tasks.gc.lot import Lot
from tasks.gc.retention import Retention
from tasks.object_keys import CHECKPOINTS, PICTURES, ObjectKind
from tasks.settings import read_settings
from tasks.stores import Stores, open_stores

_SPLITS = 3  # pictures for one split
_OLD = 40 * 24 * 3600.0  # seconds
_BYTES = 4096  # of an object: the server's disk is not what is measured
_NAME = "encode(sha256(convert_to(:kind || n, 'UTF8')), 'hex')"
# n counts pictures from :first on; an equal n is an equal picture in both nights.
_EACH = "FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n"
_STATEMENTS = (
    "INSERT INTO embeddings (key, content, sha256, created_at)"
    " SELECT 'e' || n, decode(repeat('00', 3072), 'hex'), '', now() - interval '40 days'"
    f" {_EACH} ON CONFLICT DO NOTHING",
    "INSERT INTO prompts (batch_id, row, number, anew, reference, text, content_key, recipe)"
    f" SELECT :batch, n, 1, false, 'SKU-' || n, 'a mug ' || n, 'c' || n, '{{}}' {_EACH}",
    "INSERT INTO trees (run_id, index, compatibility_key, recipe, first_leaf, leaves)"
    " SELECT :run, t, 'recipe', CAST(:recipe AS jsonb), 0, :count"
    " FROM generate_series(0, CAST(:trees AS int) - 1) AS t",
    "INSERT INTO leaves (run_id, leaf, content_key, embedding_key)"
    f" SELECT :run, n - :first, 'c' || n, 'e' || n {_EACH}",
    "INSERT INTO nodes (run_id, node, tree, height, size)"
    f" SELECT :run, n - :first, (n - :first) % :trees, 0, 1 {_EACH}",
    "INSERT INTO subtrees (run_id, shard, state, attempts, crashes, evaluations_planned,"
    " evaluations_done, evaluations_resumed)"
    " SELECT :run, n, 'completed', 1, 0, 0, 0, 0 FROM generate_series(0, 8) AS n",
    "INSERT INTO segments (run_id, segment, tree, node, start, stop, first, last, key, shard,"
    " state, sha256, bytes, attempts, reused, anew, failures, finished_at)"
    " SELECT :run, n - :first, (n - :first) % :trees, 0, 10, 20, n - :first, n - :first + 1,"
    f" 'leaf' || n, 1 + n % 8, 'done', {_NAME.replace(':kind', ':picture')}, 1, 1, false, false, 0,"
    f" now() - interval '40 days' {_EACH}",
    "INSERT INTO segments (run_id, segment, tree, node, start, stop, first, last, key, shard,"
    " state, sha256, bytes, attempts, reused, anew, failures, finished_at)"
    " SELECT :run, :count + n - :first, (n - :first) % :trees, 0, 0, 10, 0, 1,"
    f" 'split' || n, 1 + n % 8, 'done', {_NAME.replace(':kind', ':split')}, 1, 1, false, false, 0,"
    f" now() - interval '40 days' {_EACH} WHERE n % {_SPLITS} = 0",
    "INSERT INTO images (run_id, leaf, key, sha256, bytes, width, height)"
    f" SELECT :run, n - :first, 'images/' || {_NAME.replace(':kind', ':picture')} || '.png',"
    f" {_NAME.replace(':kind', ':picture')}, 1, 8, 8 {_EACH}",
)


@dataclass(frozen=True)
class Taken:
    """The seconds of a step, and the most memory of this process so far."""

    step: str
    seconds: float
    mebibytes: float

    def __str__(self) -> str:
        return f"{self.step:12} {self.seconds:8.1f} s {self.mebibytes:8.0f} MiB"


def main() -> None:
    """Print what showing and removing take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.removal", description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--trees", type=int, default=1, help="of a night; rows may have their own")
    asked = parser.parse_args()
    with _filled(asked.pictures, asked.trees) as stores:
        keep = Retention(1)
        shown = _timed("shown", lambda: find_garbage(stores, keep))
        gone = _timed("removed", lambda: collect_garbage(stores, keep))
        for lot in gone:
            print(f"  {lot.kind:14} {lot.count:8,}")
        again = _timed("again", lambda: collect_garbage(stores, keep))
    print("as shown" if gone == shown and not again else "NOT as shown")


@contextmanager
def _filled(pictures: int, trees: int) -> Iterator[Stores]:
    """Yield stores with two nights, the second with one row in a hundred changed."""
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=print) as stack,
    ):
        settings, changed = read_settings(home=stack.home), pictures // 100
        with open_stores(settings) as stores:
            for night in range(2):
                first = 1 + night * changed
                fill(stores, night, first, first + pictures - 1, trees)
            bucket = stack.home / "s3" / stores.bucket.name
            _write(bucket, PICTURES, "picture", range(1, 1 + pictures + changed))
            splits = range(_SPLITS, 1 + pictures + changed, _SPLITS)
            _write(bucket, CHECKPOINTS, "split", splits)
            yield stores


def fill(stores: Stores, night: int, first: int, last: int, trees: int) -> None:
    """Write the rows of a night of numbered pictures."""
    recipe = read_settings().recipe.to_json()
    with stores.session() as session:
        catalogue = session.execute(
            text(
                "INSERT INTO catalogues (name) VALUES ('shop')"
                " ON CONFLICT (name) DO UPDATE SET name = 'shop' RETURNING id"
            )
        ).scalar_one()
        batch = session.execute(
            text(
                "INSERT INTO batches (catalogue_id, business_date, state, attempts, crashes,"
                " created_at) VALUES (:catalogue, CAST('2026-01-01' AS date) + :night, 'ingested',"
                " 1, 0, now() - interval '40 days') RETURNING id"
            ),
            {"catalogue": catalogue, "night": night},
        ).scalar_one()
        about = {"run": uuid.uuid4(), "batch": batch, "first": first, "last": last}
        about |= {"count": last - first + 1, "trees": trees, "recipe": json.dumps(recipe)}
        about |= {"picture": "picture", "split": "split"}
        session.execute(
            text(
                "INSERT INTO runs (id, batch_id, recipe, planner, steps, shards, state, leaves,"
                " plan_order, evaluations_planned, evaluations_standard, created_at)"
                " VALUES (:run, :batch, CAST(:recipe AS jsonb), 'paper', 20, 8, 'completed',"
                " :count, '[]', 1, 1, now() - interval '40 days')"
            ),
            about,
        )
        for statement in _STATEMENTS:
            session.execute(text(statement), about)


def _write(bucket: Path, kind: ObjectKind, word: str, numbers: range) -> None:
    """Put objects where the S3 server keeps them, as old as the nights."""
    body, then = bytes(_BYTES), time.time() - _OLD
    (bucket / kind.folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        file = bucket / kind.key(hashlib.sha256(f"{word}{number}".encode()).hexdigest())
        file.write_bytes(body)
        os.utime(file, (then, then))


def _timed(step: str, work: Callable[[], tuple[Lot, ...]]) -> tuple[Lot, ...]:
    began = time.perf_counter()
    lots = work()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(Taken(step, time.perf_counter() - began, most), flush=True)
    return lots


if __name__ == "__main__":
    main()
