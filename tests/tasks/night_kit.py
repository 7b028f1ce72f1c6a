"""A small night for tests: a dozen prompts, few steps, the shipped miniature."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from PIL import Image
from sqlalchemy import text

from tasks import stages
from tasks.ledger import StoredSegment, claim_night, load_plan, stored_segments
from tasks.object_keys import picture_key
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tasks.worker.shard import StoredStates

NIGHT = date(2026, 11, 22)
WORDS = [(c, p) for c in ("red", "blue", "green") for p in ("mug", "clock", "chair", "lamp")]
STEPS = 6


@dataclass(frozen=True)
class SmallNight:
    """A planned night."""

    stores: Stores
    settings: Settings
    run: uuid.UUID


def small(settings: Settings, **changed: object) -> Settings:
    """Return settings that make a night short."""
    fields: dict[str, object] = {"steps": STEPS, "saving": 0.4, "accept_loss": True, "slots": 4}
    fields |= {"shards": 3, "device": "cpu", "solver": "ddpm"}
    fields |= {"options": {"prior_steps": 5}} | changed
    return settings.model_copy(update=fields)


def write_catalogue(folder: Path, words: list[tuple[str, str]] = WORDS) -> Path:
    """Write a CSV of prompts and return it."""
    file = folder / "catalogue.csv"
    lines = [f"{c}-{p},a product photo of a {c} {p} on a wooden table" for c, p in words]
    file.write_text("\n".join(["reference,prompt", *lines]) + "\n")
    return file


def plan_small_night(
    stores: Stores, settings: Settings, file: Path, day: date = NIGHT, catalogue: str = "shop"
) -> SmallNight:
    """Claim, read, embed and plan a night."""
    with stores.session() as session:
        claimed = claim_night(session, catalogue, day)
    stages.ingest(stores, settings, claimed, stages.Source(file=file))
    stages.embed(stores, settings, claimed.batch, lambda done, total: None)
    return SmallNight(stores, settings, stages.plan(stores, settings, claimed.batch))


@contextmanager
def published(settings: Settings, folder: Path) -> Iterator[SmallNight]:
    """Make and publish a night of two pictures, of a red mug and a blue clock."""
    torch.set_num_threads(1)
    short = small(settings, planner="paper", shards=1, steps=3, saving=0.3)
    file = write_catalogue(folder, [("red", "mug"), ("blue", "clock")])
    with open_stores(short) as stores:
        night = plan_small_night(stores, short, file)
        for shard in (0, 1):
            denoise_shard(stores, short, night.run, shard, "worker")
        publish(stores, short, night.run)
        yield night


def end_states(stores: Stores, run: uuid.UUID) -> dict[str, str]:
    """Return a digest of what each finished segment ended in, latents or pixels, by its key."""
    with stores.session() as session:
        plan, done = load_plan(session, run).plan, stored_segments(session, run)
    states, digests = StoredStates(stores.bucket, done), {}
    for segment, entry in done.items():
        leaf = plan.is_leaf(plan.segments[segment])
        bits = _pixels(stores, entry) if leaf else states[segment].latents.numpy().tobytes()
        digests[entry.key] = hashlib.sha256(bits).hexdigest()
    return digests


def _pixels(stores: Stores, leaf: StoredSegment) -> bytes:
    body = stores.bucket.get(picture_key(leaf.sha256), leaf.sha256)
    with Image.open(io.BytesIO(body)) as image:
        return image.tobytes()


def forget_results(small_night: SmallNight) -> None:
    """Empty the object store of all but embeddings, which are no result."""
    bucket = small_night.stores.bucket
    for key in [each for each in bucket.list() if not each.startswith("embeddings/")]:
        bucket.client.delete_object(Bucket=bucket.name, Key=bucket.prefix + key)


def planned_evaluations(stores: Stores, run: uuid.UUID) -> int:
    """Return what the plan costs."""
    with stores.session() as session:
        return load_plan(session, run).plan.evaluations


def start_over(small_night: SmallNight) -> None:
    """Put the night back to where it had a plan and nothing else."""
    forget_results(small_night)
    run = {"run": small_night.run}
    statements = (
        "DELETE FROM images WHERE run_id = :run",
        "UPDATE segments SET state = 'waiting', sha256 = NULL, bytes = NULL, attempts = 0,"
        " reused = false, failures = 0, reason = NULL, finished_at = NULL WHERE run_id = :run",
        "UPDATE subtrees SET state = CASE evaluations_planned WHEN 0 THEN 'completed'"
        " ELSE 'waiting' END, lease_owner = NULL, lease_until = NULL, attempts = 0, crashes = 0,"
        " evaluations_done = 0, evaluations_resumed = 0 WHERE run_id = :run",
    )
    with small_night.stores.session() as session:
        for statement in statements:
            session.execute(text(statement), run)


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings as a worker's environment has them."""
    told = dict(os.environ)
    fields = settings.model_dump(exclude_none=True)
    fields |= {f"option_{name}": value for name, value in fields.pop("options").items()}
    for name, value in fields.items():
        plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        told[f"HIERDIFF_{name.upper()}"] = str(plain)
    told["PYTHONPATH"] = str(Path(__file__).parents[2])
    return told | {"OMP_NUM_THREADS": "1"}
