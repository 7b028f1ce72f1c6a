"""Rejecting a few pictures of a night: `python -m benchmarks.rejected`.

Makes a night, rejects some of its pictures as a person would, makes the next night of the same
rows, and says what it made, what it kept, byte for byte, and what it took.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

from benchmarks.catalogue import make_texts
from flows.stack.standalone import standalone
from hierdiff_core.prompt import content_key
from tasks import stages
from tasks.ledger import (
    NewVerdict,
    claim_night,
    load_images,
    load_plan,
    load_run_prompts,
    record_verdicts,
    summarise,
)
from tasks.report.publish import publish
from tasks.settings import Settings, read_settings
from tasks.states import VerdictState
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard

_FIRST = date(2026, 11, 22)
_CATALOGUE = "shop"


@dataclass(frozen=True)
class Night:
    """A published night."""

    evaluations: int  # that it took
    steps: int  # K
    pictures: dict[str, bytes]  # by reference


def main() -> None:
    """Make both nights and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--reject", type=int, default=5)
    parser.add_argument("--saving", type=float, default=0.5)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lambda line: None) as stack,
    ):
        given = {"saving": asked.saving, "accept_loss": True, "sample": 0, "previews": False}
        settings = read_settings(home=stack.home, device="cpu", **given)
        file = _write_rows(stack.home, asked.pictures)
        with open_stores(settings) as stores:
            first = _make(stores, settings, file, _FIRST)
            every = max(1, asked.pictures // asked.reject)
            rejected = sorted(first.pictures)[::every][: asked.reject]
            _reject(stores, first, rejected)
            second = _make(stores, settings, file, _FIRST + timedelta(days=1))
    print(_compare(first, second, rejected))


def _write_rows(folder: Path, count: int) -> Path:
    file = folder / "rows.tsv"
    rows = [f"SKU-{number:04}\t{words}" for number, words in enumerate(make_texts()[:count], 1)]
    file.write_text("\n".join(["reference\tprompt", *rows]) + "\n")
    return file


def _make(stores: Stores, settings: Settings, file: Path, day: date) -> Night:
    with stores.session() as session:
        claimed = claim_night(session, _CATALOGUE, day)
    stages.ingest(stores, settings, claimed, stages.Source(file=file))
    stages.embed(stores, settings, claimed.batch, lambda done, total: None)
    run = stages.plan(stores, settings, claimed.batch)
    for shard in range(settings.shards + 1):
        denoise_shard(stores, settings, run, shard, "benchmark")
    if not publish(stores, settings, run).complete:
        raise SystemExit(f"the night of {day} is not whole")
    with stores.session() as session:
        images, night = load_images(session, run), load_plan(session, run)
        prompts, facts = load_run_prompts(session, run), summarise(session, run)
    leaf_of = {leaf.content_key: number for number, leaf in enumerate(night.leaves)}
    stored = {each.reference: images[leaf_of[content_key(each)]] for each in prompts}
    pictures = {name: stores.bucket.get(each.key, each.sha256) for name, each in stored.items()}
    return Night(facts.evaluations_done, night.plan.steps, pictures)


def _reject(stores: Stores, night: Night, references: list[str]) -> None:
    with stores.session() as session:
        for name in references:
            digest = sha256(night.pictures[name]).hexdigest()
            said = NewVerdict(name, 1, digest, VerdictState.REJECTED, "two handles", "benchmark")
            record_verdicts(session, _CATALOGUE, [said])


def _compare(first: Night, second: Night, rejected: list[str]) -> str:
    same = [name for name, body in first.pictures.items() if second.pictures[name] == body]
    changed = sorted(first.pictures.keys() - set(same))
    which = "the rejected ones" if changed == rejected else "NOT the rejected ones"
    rows = second.evaluations / second.steps
    lines = (
        f"pictures           {len(first.pictures)}, made in {first.evaluations:,} evaluations",
        f"rejected           {len(rejected)}",
        f"new the next night {len(changed)}, {which}",
        f"byte for byte      {len(same)}",
        f"evaluations        {second.evaluations}, {rows:.2f} rows of {second.steps} steps",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
