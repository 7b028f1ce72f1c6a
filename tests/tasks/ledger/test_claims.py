"""A night exists once, is filled once, and keeps what it was given to the letter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from hierdiff_core.prompt import Prompt, content_key
from tasks import ledger
from tasks.database import session_scope
from tasks.errors import UnknownRun
from tasks.records import Batch, Catalogue, PromptRow, RejectedRow
from tasks.rejected import Rejected
from tasks.states import BatchState
from tests.tasks.conftest import NIGHT, RECIPE, make_prompts, store_night

HOSTILE = [
    "a mug'; DROP TABLE prompts; --",
    '"quoted" \\ and %s and :name and {braces} and $1',
    "<script>alert('mug')</script>&amp;",
    "eine Tasse für 🫖👩‍👩‍👧 und 茶",
    "line one\nline two\r\n\ttabbed",
    "../../etc/passwd",
    "مرحبا \u202eright to left\u202c",
    "x" * 20_000,
    "  spaces around  ",
]


def _claim(database: Engine) -> ledger.Night:
    with session_scope(database) as session:
        return ledger.claim_night(session, "shop", NIGHT)


def _count(database: Engine, table: type[object]) -> int:
    with session_scope(database) as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_second_start_of_a_night_attaches_to_the_first(database: Engine) -> None:
    first = _claim(database)
    assert first.state is BatchState.CLAIMED
    assert first.run is None
    assert _claim(database) == first


def test_claims_at_the_same_moment_make_one_batch(database: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        nights = list(pool.map(lambda _: _claim(database), range(16)))
    assert len(set(nights)) == 1
    assert _count(database, Batch) == _count(database, Catalogue) == 1


def test_other_dates_and_catalogues_are_other_nights(database: Engine) -> None:
    with session_scope(database) as session:
        nights = {
            ledger.claim_night(session, catalogue, NIGHT + timedelta(days=days)).batch
            for catalogue in ("shop", "Shop", "it's")
            for days in (0, 1)
        }
    assert len(nights) == 6


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_prompts_are_kept_to_the_letter(database: Engine, text: str) -> None:
    recipe = replace(RECIPE, negative_prompt=text, seed=2**63 - 1, guidance=0.1 + 0.2)
    prompts = (Prompt(1, text[:100], text, recipe), Prompt(2, "plain", "mug", RECIPE))
    night = _claim(database)
    with session_scope(database) as session:
        ledger.store_prompts(session, night.batch, prompts, [Rejected(3, text)])
    with session_scope(database) as session:
        stored = ledger.load_prompts(session, night.batch)
        assert ledger.load_rejected(session, night.batch) == (Rejected(3, text),)
        keys = session.execute(select(PromptRow.content_key).order_by(PromptRow.row)).scalars()
        assert list(keys) == [content_key(prompt) for prompt in prompts]
    assert stored == prompts


def test_a_night_is_filled_once(database: Engine) -> None:
    night, prompts = _claim(database), make_prompts(3)
    with session_scope(database) as session:
        assert ledger.store_prompts(session, night.batch, prompts, [])
    with session_scope(database) as session:
        assert not ledger.store_prompts(session, night.batch, make_prompts(5), [])
    assert _claim(database).state is BatchState.INGESTED
    assert _count(database, PromptRow) == 3


def test_attempts_to_fill_a_night_at_the_same_moment_fill_it_once(database: Engine) -> None:
    night = _claim(database)

    def fill(_: int) -> bool:
        with session_scope(database) as session:
            return ledger.store_prompts(session, night.batch, make_prompts(50), [])

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(fill, range(6))) == 1
    assert _count(database, PromptRow) == 50


def test_a_failure_halfway_leaves_no_half_written_night(database: Engine) -> None:
    night = _claim(database)
    twice = make_prompts(3) + make_prompts(1)
    with pytest.raises(Exception, match="uq_prompts_batch_id_row"), session_scope(database) as s:
        ledger.store_prompts(s, night.batch, twice, [Rejected(9, "empty")])
    assert _count(database, PromptRow) == _count(database, RejectedRow) == 0
    assert _claim(database).state is BatchState.CLAIMED


def test_a_failing_statement_does_not_show_a_prompt(database: Engine) -> None:
    night = _claim(database)
    twice = (Prompt(1, "a", "unreleased product", RECIPE),) * 2
    with pytest.raises(Exception, match="uq_prompts") as caught, session_scope(database) as session:
        ledger.store_prompts(session, night.batch, twice, [])
    assert "unreleased product" not in str(caught.value)


def test_a_run_finds_its_prompts(database: Engine) -> None:
    prompts = make_prompts(4)
    run, _ = store_night(database, prompts)
    with session_scope(database) as session:
        assert ledger.load_run_prompts(session, run) == prompts
        with pytest.raises(UnknownRun):
            ledger.load_run_prompts(session, run.__class__(int=0))
    assert _claim(database).run == run
