"""Nights for tests of what is removed: planned and finished by the ledger, with small objects."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from uuid import UUID

from PIL import Image
from sqlalchemy import text
from sqlalchemy.orm import Session

from hierdiff_core.prompt import Prompt
from tasks import ledger
from tasks.gc.retention import Retention
from tasks.object_keys import (
    checkpoint_key,
    manifest_key,
    picture_key,
    preview_key,
    report_key,
)
from tasks.states import RunState, SubtreeState
from tasks.stores import Stores
from tests.tasks.conftest import NIGHT, make_night_plan, make_prompts

ONE = Retention(1, settled=0.0)


@dataclass(frozen=True)
class StoredNight:
    """A night whose objects are stored."""

    run: UUID
    plan: ledger.NightPlan
    prompts: tuple[Prompt, ...]


def plan_night(
    stores: Stores, numbers: Sequence[int] = (1, 2, 3, 4), day: int = 0, catalogue: str = "shop"
) -> StoredNight:
    """Plan a night of some of a hundred prompts."""
    drafted = draft_night(stores, numbers, day, catalogue)
    with stores.session() as session:
        return replace(drafted, run=store_draft(session, drafted, day, catalogue))


def draft_night(
    stores: Stores, numbers: Sequence[int] = (1, 2, 3, 4), day: int = 0, catalogue: str = "shop"
) -> StoredNight:
    """Bring a night to where its plan is made and not yet stored."""
    every = make_prompts(100)
    prompts = tuple(every[number - 1] for number in numbers)
    plan, _ = make_night_plan(prompts)
    with stores.session() as session:
        night = ledger.claim_night(session, catalogue, date_of(day))
        ledger.store_prompts(session, night.batch, prompts, [])
        embeddings = {
            leaf.embedding_key: ledger.StoredEmbedding(b"embedding") for leaf in plan.leaves
        }
        ledger.store_embeddings(session, embeddings)
    return StoredNight(UUID(int=0), plan, prompts)


def store_draft(
    session: Session,
    draft: StoredNight,
    day: int,
    catalogue: str = "shop",
    standing: Collection[int] = (),
) -> UUID:
    """Store the plan of a night."""
    night = ledger.claim_night(session, catalogue, date_of(day))
    return ledger.store_plan(session, night.batch, draft.plan, standing=standing)


def finish(stores: Stores, night: StoredNight, state: RunState = RunState.COMPLETED) -> None:
    """Store what a night is missing, object before row, and close it."""
    run, plan = night.run, night.plan.plan
    with stores.session() as session:
        done = ledger.stored_segments(session, run)
        kept = ledger.load_images(session, run)
    made: dict[int, ledger.Stored] = {}
    images: dict[int, ledger.StoredImage] = {}
    for segment in plan.segments:
        if segment.id in done:
            continue
        leaf, key = plan.order[segment.first], night.plan.keys[segment.id]
        body = picture(key) if plan.is_leaf(segment) else key.encode()
        sha256 = hashlib.sha256(body).hexdigest()
        key = picture_key(sha256) if plan.is_leaf(segment) else checkpoint_key(sha256)
        stores.bucket.put(key, body)
        made[segment.id] = ledger.Stored(sha256, len(body))
        if plan.is_leaf(segment) and leaf not in kept:
            images[leaf] = ledger.StoredImage(key, sha256, len(body), 8, 8)
    top = hashlib.sha256(b"preview").hexdigest()
    stores.bucket.put(preview_key(top), b"preview")
    for key in (manifest_key(run), report_key(run)):
        stores.bucket.put(key, b"results")
    with stores.session() as session:
        ledger.finish_segments(session, run, made)
        ledger.record_images(session, run, images)
        ledger.record_previews(session, run, {0: top})
        session.execute(
            text("UPDATE subtrees SET state = :state WHERE run_id = :run"),
            {"state": SubtreeState.COMPLETED.value, "run": run},
        )
        ledger.set_run_state(session, run, state)


def picture(key: str) -> bytes:
    """Return a small picture of one colour, other for other keys."""
    file = io.BytesIO()
    colour = tuple(hashlib.sha256(key.encode()).digest()[:3])
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def make_nights(stores: Stores, *rows: Sequence[int]) -> list[StoredNight]:
    """Make a night of one catalogue for each set of rows, on one day after the other."""
    made = []
    for day, numbers in enumerate(rows):
        made.append(plan_night(stores, numbers, day))
        finish(stores, made[-1])
    return made


def count(stores: Stores, table: str) -> int:
    """Return the number of rows of a table."""
    with stores.session() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def keys(stores: Stores, folder: str = "") -> set[str]:
    """Return the keys of the objects in a folder."""
    return set(stores.bucket.list(folder))


def dangling(stores: Stores) -> list[str]:
    """Return what rows name and the bucket does not have."""
    statement = """
        SELECT 'images/' || sha256 || '.png' FROM images
        UNION SELECT 'checkpoints/' || s.sha256 || '.safetensors' FROM segments s
            JOIN runs r ON r.id = s.run_id WHERE s.sha256 IS NOT NULL AND s.stop < r.steps
        UNION SELECT 'images/' || s.sha256 || '.png' FROM segments s
            JOIN runs r ON r.id = s.run_id WHERE s.sha256 IS NOT NULL AND s.stop = r.steps
        UNION SELECT 'renditions/webp/' || sha256 || '.webp' FROM renditions WHERE name LIKE 'webp%'
        UNION SELECT 'renditions/jpeg/' || sha256 || '.jpg' FROM renditions WHERE name LIKE 'jpeg%'
        UNION SELECT 'previews/' || preview || '.webp' FROM segments WHERE preview IS NOT NULL
    """
    with stores.session() as session:
        named = set(session.execute(text(statement)).scalars())
    return sorted(named - keys(stores))


def date_of(day: int) -> date:
    """Return the date of a night."""
    return NIGHT + timedelta(days=day)
