"""Forgetting a row: it leaves the ledger and the bucket, for requests to delete it.

Objects and rows go in one transaction, in this order: the rows are gone last, so a start after an
interruption finds by them what is left.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tasks.errors import UnknownRow
from tasks.gc.sweep import remove_results
from tasks.handover.published import withdraw_names
from tasks.ledger import note_published, plain_of, renditions_of
from tasks.ledger.erasure import (
    Erasure,
    erase,
    find_rejected,
    find_rows,
    last_nights,
    lock,
    survey,
)
from tasks.ledger.object_names import find_named, names_of_embeddings
from tasks.object_keys import (
    CHECKPOINTS,
    KINDS,
    PICTURES,
    PLAIN,
    PREVIEWS,
    RENDITIONS,
    ObjectKind,
    report_key,
)
from tasks.report.gather import gather_report
from tasks.report.page import render_report
from tasks.report.publish import write_manifest
from tasks.requests import settings_of_run
from tasks.settings import Settings
from tasks.stores import Stores

_AT_ONCE = 1000  # objects of a request


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows to forget: those with a reference or with a prompt, of a catalogue or of all."""

    reference: str | None = None
    prompt: str | None = None
    catalogue: str | None = None


@dataclass(frozen=True)
class Rewritten:
    """What has become of the nights that had the row."""

    manifests: int = 0  # written anew, without it
    reports: int = 0  # written anew
    removed: int = 0  # reports that were removed


def find_traces(stores: Stores, asked: Asked) -> Erasure:
    """Return all that `forget_rows` would take away; raises UnknownRow."""
    with stores.snapshot() as session:
        return _survey(session, asked)


def forget_rows(stores: Stores, settings: Settings, asked: Asked) -> tuple[Erasure, Rewritten]:
    """Erase rows everywhere; return what went and what became of their nights.

    Raises UnknownRow, and NightTaken or LeaseHeld while somebody works on one of their nights.
    """
    with stores.session() as session:
        lock(session, _survey(session, asked))
        erasure = _survey(session, asked)  # as it is now that nobody changes it
        derived = [(kind, names_of_embeddings(session, kind, erasure.embeddings)) for kind in KINDS]
        files = renditions_of(session, erasure.pictures)
        derived += [(RENDITIONS[each.partition("-")[0]], names) for each, names in files.items()]
        derived.append((PLAIN, plain_of(session, erasure.pictures)))
        erase(session, erasure)
        published = {run for run in erasure.runs if list(remove_results(stores, run))}
        _remove_objects(session, stores, erasure, derived)
        last = last_nights(session, published)
    for catalogue in sorted({row.catalogue for row in erasure.rows}):
        named = {row.reference for row in erasure.rows if row.catalogue == catalogue}
        withdraw_names(stores, catalogue, named)
    finished = published - erasure.open_runs
    for run in sorted(finished):
        manifest = write_manifest(stores, settings_of_run(stores, settings, run), run)
        report = _write_report(stores, settings, run) if run in last else None
        with stores.session() as session:
            note_published(session, run, manifest, report)
    return erasure, Rewritten(len(finished), len(last), len(published - last))


def _survey(session: Session, asked: Asked) -> Erasure:
    rows = find_rows(session, asked.reference, asked.prompt, asked.catalogue)
    words = [each for each in (asked.reference, asked.prompt) if each]
    rejected = find_rejected(session, words, asked.catalogue)
    if not rows and not rejected:
        raise UnknownRow(row=asked.reference or asked.prompt)
    return survey(session, rows, rejected)


def _remove_objects(
    session: Session,
    stores: Stores,
    erasure: Erasure,
    derived: Sequence[tuple[ObjectKind, set[str]]],
) -> None:
    """Remove those objects that no row names once the transaction ends."""
    for kind, names in (
        *derived,
        (PICTURES, erasure.pictures),
        (CHECKPOINTS, erasure.splits),
        (PREVIEWS, erasure.previews),
    ):
        gone = sorted(names - find_named(session, kind, names))
        for first in range(0, len(gone), _AT_ONCE):
            stores.bucket.delete_all([kind.key(each) for each in gone[first : first + _AT_ONCE]])


def _write_report(stores: Stores, settings: Settings, run: uuid.UUID) -> str:
    tonight = settings_of_run(stores, settings, run)
    page = render_report(gather_report(stores, tonight, run))
    return stores.bucket.put(report_key(run), page.encode(), "text/html; charset=utf-8")
