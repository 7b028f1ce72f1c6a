"""A night that exists never answers for another request, and gives way to one that replaces it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import update

from hierdiff_core.prompt import Prompt
from tasks import ledger, stages
from tasks.errors import LeaseHeld, NightDiffers, NightTaken, UnknownRun
from tasks.ingest import Ingested
from tasks.night_settings import NightSettings
from tasks.records import Batch, SegmentRow
from tasks.rejected import Rejected
from tasks.requests import check_rows, check_settings, settings_of_run
from tasks.settings import Settings
from tasks.states import RunState, SegmentState
from tasks.stores import Stores, open_stores
from tests.tasks.conftest import NIGHT, RECIPE, make_night_plan, make_prompts, store_night

ASKED = NightSettings(saving=0.4, steps=8)
ROWS = make_prompts(6)
REFUSED = (Rejected(9, "Row 9: the prompt is empty"),)


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


def claim(stores: Stores) -> ledger.Night:
    with stores.session() as session:
        return ledger.claim_night(session, "shop", NIGHT)


def ingested(stores: Stores, rows: tuple[Prompt, ...] = ROWS) -> ledger.Night:
    with stores.session() as session:
        batch = ledger.claim_night(session, "shop", NIGHT).batch
        assert stages.store_rows(session, batch, Ingested(rows, REFUSED), ASKED)
    return claim(stores)


def planned(stores: Stores, rows: tuple[Prompt, ...] = ROWS) -> ledger.Night:
    night = ingested(stores, rows)
    plan, _ = make_night_plan(rows)
    with stores.session() as session:
        embeddings = {
            leaf.embedding_key: ledger.StoredEmbedding(b"embedding") for leaf in plan.leaves
        }
        ledger.store_embeddings(session, embeddings)
        ledger.store_plan(session, night.batch, plan)
    return claim(stores)


def test_the_same_words_ask_for_the_same_night(stores: Stores) -> None:
    for night in (ingested(stores), planned_again(stores)):
        check_settings(stores, night, ASKED)
        check_rows(stores, night, Ingested(ROWS, REFUSED))
        check_rows(stores, night, Ingested(tuple(reversed(ROWS)), REFUSED))


def planned_again(stores: Stores) -> ledger.Night:
    with stores.session() as session:
        ledger.replace_night(session, "shop", NIGHT)
    return planned(stores)


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"saving": 0.5}, "saving was 0.4, now 0.5"),
        ({"saving": None}, "saving was 0.4, now unset"),
        ({"steps": 12}, "steps was 8, now 12"),
        ({"options": {"prior_steps": 5}}, "options was {}, now {'prior_steps': 5}"),
        ({"shards": 9}, "shards was 4, now 9"),
        ({"model": "other"}, "now other"),
    ],
)
def test_a_planned_night_is_refused_to_other_settings(
    stores: Stores, asked: dict[str, object], change: str
) -> None:
    night = planned(stores)
    with pytest.raises(NightDiffers, match=r"--replace") as caught:
        check_settings(stores, night, ASKED.model_copy(update=asked))
    assert change in str(caught.value)


def test_rows_that_wait_for_a_plan_may_be_planned_by_any_budget_but_no_other_recipe(
    stores: Stores,
) -> None:
    night = ingested(stores)
    check_settings(stores, night, ASKED.model_copy(update={"saving": 0.9, "shards": 1}))
    with pytest.raises(NightDiffers, match="seed was 0, now 3"):
        check_settings(stores, night, ASKED.model_copy(update={"seed": 3}))


@pytest.mark.parametrize(
    ("rows", "change"),
    [
        ((replace(ROWS[0], text="a blue mug"), *ROWS[1:]), "1 rows are new or changed, 1 are gone"),
        ((replace(ROWS[0], reference="other"), *ROWS[1:]), "1 rows are new or changed, 1 are gone"),
        ((replace(ROWS[0], recipe=replace(RECIPE, seed=4)), *ROWS[1:]), "1 rows are new or"),
        (ROWS[1:], "0 rows are new or changed, 1 are gone"),
        ((*ROWS, replace(ROWS[0], row=7)), "1 rows are new or changed, 0 are gone"),
    ],
)
def test_a_night_is_refused_to_other_rows(
    stores: Stores, rows: tuple[Prompt, ...], change: str
) -> None:
    for night in (ingested(stores), planned_again(stores)):
        with pytest.raises(NightDiffers, match=change):
            check_rows(stores, night, Ingested(rows, REFUSED))


def test_a_row_that_was_rejected_and_is_no_more_is_another_request(stores: Stores) -> None:
    night = ingested(stores)
    with pytest.raises(NightDiffers, match="0 rows are rejected, then it was 1"):
        check_rows(stores, night, Ingested(ROWS, ()))


def test_rows_whose_embedding_was_useless_are_still_the_same_rows(stores: Stores) -> None:
    night = ingested(stores)
    with stores.session() as session:
        ledger.reject_prompts(session, night.batch, [Rejected(1, "Row 1: its embedding is zero")])
    check_rows(stores, night, Ingested(ROWS, REFUSED))


def test_a_night_of_an_earlier_version_answers_as_it_did(stores: Stores) -> None:
    night = planned(stores)
    with stores.session() as session:
        session.execute(update(Batch).values(settings=None, rows_digest=None))
    check_settings(stores, night, NightSettings())
    check_rows(stores, night, Ingested(ROWS, REFUSED))
    with pytest.raises(NightDiffers):
        check_rows(stores, night, Ingested(ROWS[1:], REFUSED))


def test_a_worker_takes_the_settings_of_the_run_and_keeps_its_own(
    stores: Stores, settings: Settings
) -> None:
    night = planned(stores)
    assert night.run is not None
    here = settings.model_copy(update={"saving": 0.1, "slots": 3})
    there = settings_of_run(stores, here, night.run)
    assert (there.saving, there.steps, there.slots) == (0.4, 8, 3)
    with pytest.raises(UnknownRun):
        settings_of_run(stores, here, uuid4())


def test_a_replaced_night_keeps_what_it_made_and_is_not_found_again(stores: Stores) -> None:
    first = planned(stores)
    with stores.session() as session:
        session.execute(update(SegmentRow).values(state=SegmentState.DONE, sha256="0" * 64))
        assert ledger.replace_night(session, "shop", NIGHT)
        assert ledger.find_night(session, "shop", NIGHT) is None
    second = planned(stores, make_prompts(5))
    assert (second.replaced, second.batch != first.batch) == (1, True)
    with stores.session() as session:
        lines = {line.run: line.state for line in ledger.list_runs(session)}
        assert first.run is not None
        assert second.run is not None
        assert lines == {first.run: RunState.REPLACED, second.run: RunState.PLANNED}
        kept = ledger.stored_segments(session, second.run)
        plan = ledger.load_plan(session, second.run)
    # Five single leaves are what six rows and five rows have in common.
    assert {plan.keys[each] for each in kept} <= set(plan.keys)
    assert kept


def test_a_night_that_is_being_made_is_not_replaced(stores: Stores) -> None:
    night = claim(stores)
    with stores.session() as session:
        ledger.take_night(session, night, "a flow run", 60)
    with pytest.raises(NightTaken, match="a flow run"), stores.session() as session:
        ledger.replace_night(session, "shop", NIGHT)


def test_a_night_of_which_a_subtree_is_being_made_is_not_replaced(stores: Stores) -> None:
    run, _ = store_night(stores.engine, ROWS)
    with stores.session() as session:
        ledger.take_lease(session, run, 1, "a worker", 60)
    with pytest.raises(LeaseHeld, match="a worker"), stores.session() as session:
        ledger.replace_night(session, "shop", NIGHT)


def test_a_flow_run_that_is_tried_again_does_not_replace_its_own_night(stores: Stores) -> None:
    night = planned(stores)
    assert night.run is not None
    with stores.session() as session:
        ledger.note_flow_run(session, night.run, "me")
        assert not ledger.replace_night(session, "shop", NIGHT, owner="me")
        assert ledger.replace_night(session, "shop", NIGHT, owner="somebody else")
