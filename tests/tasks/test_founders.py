"""What stands is compared with new rows by kept sums, not by every founder's vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import pytest
import torch
from sqlalchemy import text

from hierdiff_core.budget import Budget
from hierdiff_core.embedding import Conditioning, Embedding, pack
from hierdiff_core.forest import Forest, group_prompts
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt, embedding_key
from tasks import ledger
from tasks.forget import Asked, forget_rows
from tasks.gc.collect import collect_garbage
from tasks.plan import plan_prompts, store_forest
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import Stores, open_stores
from tests.tasks.conftest import NIGHT, make_prompts
from tests.tasks.gc.nights import ONE

PROMPTS = make_prompts(60)
FIRST, NEW = PROMPTS[:40], PROMPTS[40:50]
UNITS = PlanSettings(Budget(saving=0.5), planner="paper")  # by average linkage, of unit vectors
PLAIN = PlanSettings(Budget(saving=0.5), planner="paper", linkage="centroid")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        store_vectors(opened, PROMPTS)
        store_night(opened, FIRST)
        yield opened


def vector(prompt: Prompt) -> np.ndarray:
    """Return a point near one of five centres, of any length."""
    centre = np.random.default_rng(prompt.row % 5).normal(size=16)
    near = centre + 0.3 * np.random.default_rng(1000 + prompt.row).normal(size=16)
    return np.asarray((1 + prompt.row % 3) * near, dtype=np.float32)


def store_vectors(stores: Stores, prompts: Sequence[Prompt]) -> None:
    rows = {}
    for prompt in prompts:
        steers = Conditioning({"y": torch.from_numpy(vector(prompt)[None])})
        packed = pack(Embedding(vector(prompt), steers))
        rows[embedding_key(prompt)] = ledger.StoredEmbedding(packed)
    with stores.session() as session:
        ledger.store_embeddings(session, rows)


def store_night(stores: Stores, prompts: Sequence[Prompt], day: int = 0) -> None:
    """Store a night of its own as if it had been made."""
    (group,) = group_prompts(prompts)
    rows = np.stack([vector(prompt) for prompt in group.prompts])
    forest = plan_forest([group], [rows], UNITS)
    with stores.session() as session:
        batch = ledger.claim_night(session, "shop", NIGHT + timedelta(days=day)).batch
        ledger.store_prompts(session, batch, prompts, [])
    run = store_forest(stores, batch, forest, UNITS.budget, 1)
    done = text(
        "UPDATE segments SET state = 'done', finished_at = now(), bytes = 1,"
        " sha256 = encode(sha256(convert_to(key, 'UTF8')), 'hex') WHERE run_id = :run"
    )
    with stores.session() as session:
        session.execute(done, {"run": run})
        session.execute(text("UPDATE subtrees SET state = 'completed'"))
        ledger.set_run_state(session, run, RunState.COMPLETED)


def plan(stores: Stores, settings: PlanSettings, prompts: Sequence[Prompt] = NEW) -> Forest:
    return plan_prompts(stores, prompts, settings, "shop")


def kept_sums(stores: Stores) -> dict[str, np.ndarray]:
    with stores.session() as session:
        rows = session.execute(text("SELECT key, content FROM founder_sums")).all()
    return {row.key: np.frombuffer(row.content, "<f4") for row in rows}


def lose_vectors(stores: Stores, prompts: Sequence[Prompt]) -> None:
    with stores.session() as session:
        session.execute(
            text("UPDATE embeddings SET content = '' WHERE key = ANY(:keys)"),
            {"keys": [embedding_key(prompt) for prompt in prompts]},
        )


@pytest.mark.parametrize("asked", [UNITS, PLAIN])
def test_a_night_reads_no_vector_of_what_stood_the_night_before(
    stores: Stores, asked: PlanSettings
) -> None:
    first = plan(stores, asked)
    assert first.standing.joined > 0
    lose_vectors(stores, FIRST)
    again = plan(stores, asked)
    assert (again.keys, again.plan, again.stored) == (first.keys, first.plan, first.stored)


def test_what_is_kept_of_a_split_is_the_sum_of_its_founders(stores: Stores) -> None:
    plan(stores, PLAIN)
    by_key = {}
    with stores.session() as session:
        night = ledger.claim_night(session, "shop", NIGHT)
        assert night.run is not None
        made = ledger.load_plan(session, night.run)
    prompts = group_prompts(FIRST)[0].prompts
    for segment in made.plan.segments:
        if not made.plan.is_leaf(segment):
            founders = made.plan.founders(segment)
            by_key[made.keys[segment.id]] = sum(vector(prompts[leaf]) for leaf in founders)
    found = kept_sums(stores)
    assert found.keys() == by_key.keys()
    for key, wanted in by_key.items():
        np.testing.assert_allclose(found[key], wanted, rtol=1e-5, atol=1e-5)


def test_a_damaged_sum_is_made_again(stores: Stores) -> None:
    first = plan(stores, UNITS)
    before = kept_sums(stores)
    with stores.session() as session:
        session.execute(text("UPDATE founder_sums SET content = substring(content FROM 3)"))
    assert plan(stores, UNITS).keys == first.keys
    after = kept_sums(stores)
    assert {key: each.tobytes() for key, each in after.items()} == {
        key: each.tobytes() for key, each in before.items()
    }


def test_no_sum_of_a_forgotten_row_is_kept_and_others_stay(
    stores: Stores, settings: Settings
) -> None:
    plan(stores, UNITS)
    before = kept_sums(stores)
    row = next(prompt for prompt in FIRST if len(_steered(stores, prompt) & before.keys()) > 1)
    steered = _steered(stores, row)
    forget_rows(stores, settings, Asked(row.reference))
    assert kept_sums(stores).keys() == before.keys() - steered
    tonight = plan(stores, UNITS)
    assert tonight.standing.joined > 0
    # Made again of those who are left: the forgotten row counts as a mean of theirs.
    assert kept_sums(stores).keys() == before.keys()
    assert not any(tonight.keys[each] in steered for each in tonight.stored)


def _steered(stores: Stores, prompt: Prompt) -> set[str]:
    leaf = group_prompts(FIRST)[0].prompts.index(prompt)
    with stores.session() as session:
        night = ledger.claim_night(session, "shop", NIGHT)
        assert night.run is not None
        made = ledger.load_plan(session, night.run)
    return {made.keys[each.id] for each in made.plan.segments if leaf in made.plan.founders(each)}


def test_sums_go_with_the_last_night_that_has_their_segments(stores: Stores) -> None:
    plan(stores, UNITS)
    store_night(stores, PROMPTS[50:], day=1)
    plan(stores, UNITS)
    both = kept_sums(stores)
    gone = {lot.kind: (lot.count, lot.bytes) for lot in collect_garbage(stores, ONE)}
    left = kept_sums(stores)
    assert left.keys() < both.keys()
    assert gone["founder_sums"] == (len(both) - len(left), 64 * (len(both) - len(left)))
    assert "founder_sums" not in {lot.kind for lot in collect_garbage(stores, ONE)}
