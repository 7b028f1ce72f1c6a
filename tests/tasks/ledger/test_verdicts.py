"""Verdicts are of pictures: the newest holds, all are kept, and another picture has none yet."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from hierdiff_core.prompt import content_key
from tasks import ledger
from tasks.database import session_scope
from tasks.ledger import NewVerdict, StoredImage
from tasks.states import VerdictState
from tests.tasks.conftest import make_prompts

ACCEPTED, REJECTED, WITHDRAWN = VerdictState
PICTURE, OTHER = "a" * 64, "b" * 64


def draw(database: Engine, run: UUID, pictures: dict[int, str]) -> None:
    stored = {leaf: StoredImage("key", sha256, 1, 64, 64) for leaf, sha256 in pictures.items()}
    with session_scope(database) as session:
        ledger.record_images(session, run, stored)


def say(database: Engine, *verdicts: NewVerdict) -> None:
    with session_scope(database) as session:
        ledger.record_verdicts(session, "shop", verdicts)


def test_the_newest_verdict_holds_and_all_are_kept_in_their_order(
    database: Engine, run: UUID
) -> None:
    say(
        database,
        NewVerdict("SKU-1", 1, PICTURE, REJECTED, "two handles", "ann"),
        NewVerdict("SKU-2", 1, OTHER, ACCEPTED, reviewer="ann"),
    )
    say(database, NewVerdict("SKU-1", 1, PICTURE, ACCEPTED, "it is a pot", "bob"))
    with session_scope(database) as session:
        found = ledger.find_verdicts(session, "shop", [PICTURE, OTHER, "c" * 64])
        history = ledger.list_verdicts(session, "shop", "SKU-1")
        assert ledger.find_verdicts(session, "outlet", [PICTURE]) == {}
    assert {sha256: each.verdict for sha256, each in found.items()} == {
        PICTURE: ACCEPTED,
        OTHER: ACCEPTED,
    }
    assert [(each.verdict, each.reason, each.reviewer) for each in history] == [
        (REJECTED, "two handles", "ann"),
        (ACCEPTED, "it is a pot", "bob"),
    ]


def test_a_verdict_that_is_withdrawn_leaves_none(database: Engine, run: UUID) -> None:
    draw(database, run, {0: PICTURE})
    for state in (REJECTED, WITHDRAWN):
        say(database, NewVerdict("SKU-1", 1, PICTURE, state))
    with session_scope(database) as session:
        assert ledger.find_verdicts(session, "shop", [PICTURE]) == {}
        assert ledger.rejected_keys(session, "shop") == set()


def test_a_rejected_picture_is_found_by_what_it_is_of_until_it_is_another_one(
    database: Engine, run: UUID
) -> None:
    draw(database, run, {0: PICTURE, 1: OTHER})
    key = content_key(make_prompts(1)[0])
    with session_scope(database) as session:
        assert ledger.named_pictures(session, run) == {"SKU-1": PICTURE, "SKU-2": OTHER}
    say(database, NewVerdict("SKU-1", 1, PICTURE, REJECTED))
    with session_scope(database) as session:
        assert ledger.rejected_keys(session, "shop") == {key}
        assert ledger.rejected_keys(session, "outlet") == set()
    draw(database, run, {0: "c" * 64})  # the same row, made anew
    with session_scope(database) as session:
        assert ledger.rejected_keys(session, "shop") == set()


@pytest.mark.parametrize("reason", ["", 'it\'s "odd"; DROP TABLE verdicts'])
def test_a_shop_writes_verdicts_by_sql_with_no_more_than_it_knows(
    database: Engine, run: UUID, reason: str
) -> None:
    statement = (
        "INSERT INTO verdicts (catalogue_id, reference, sha256, verdict, reason)"
        " SELECT id, 'SKU-1', :picture, 'rejected', :reason FROM catalogues WHERE name = 'shop'"
    )
    with session_scope(database) as session:
        session.execute(text(statement), {"picture": PICTURE, "reason": reason})
        user = session.execute(text("SELECT CURRENT_USER")).scalar_one()
        found = ledger.find_verdicts(session, "shop", [PICTURE])[PICTURE]
    assert (found.name, found.verdict, found.reason) == ("SKU-1", REJECTED, reason)
    assert found.reviewer == user
