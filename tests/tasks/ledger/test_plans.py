"""A plan comes back from the tables equal in every part, and takes over what is done already."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, select

from hierdiff_core.plan import Plan, Segment, join_plans
from hierdiff_core.recipe import compatibility_key
from tasks import ledger
from tasks.database import session_scope
from tasks.errors import GroundLost, UnknownRun
from tasks.records import Run, SegmentRow
from tasks.states import SegmentState, SubtreeState
from tests.tasks.conftest import NIGHT, RECIPE, make_night_plan, make_prompts, store_night


@pytest.mark.parametrize("count", [1, 2, 12])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_plan_comes_back_equal(database: Engine, count: int, shards: int) -> None:
    run, plan = store_night(database, make_prompts(count), shards=shards)
    with session_scope(database) as session:
        assert ledger.load_plan(session, run) == plan


def test_a_forest_of_two_recipes_comes_back_equal(database: Engine) -> None:
    other = replace(RECIPE, seed=7)
    one, _ = make_night_plan(make_prompts(5))
    two, _ = make_night_plan(make_prompts(4, other))
    plan = join_plans([one.plan, two.plan])
    both = replace(
        one,
        plan=plan,
        trees=(*one.trees, ledger.Tree(compatibility_key(other), other, 5, 4)),
        leaves=one.leaves + two.leaves,
        keys=one.keys + two.keys,
        shards=((), tuple(range(len(plan.segments)))),
    )
    run = _store(database, both)
    with session_scope(database) as session:
        assert ledger.load_plan(session, run) == both
        trees = session.execute(select(SegmentRow.tree).order_by(SegmentRow.segment)).scalars()
        assert list(trees) == [0] * len(one.keys) + [1] * len(two.keys)


def test_a_plan_that_is_no_binary_tree_comes_back_equal(database: Engine) -> None:
    segments = (
        Segment(0, 9, 0, 3, None, 0, 3),
        Segment(1, 0, 3, 8, 0, 0, 1),
        Segment(2, 1, 3, 8, 0, 1, 2),
        Segment(3, 2, 3, 8, 0, 2, 3),
    )
    flat = Plan(8, (2, 0, 1), segments, "denoiser", price=0.1 + 0.2)
    night, _ = make_night_plan(make_prompts(3))
    night = replace(night, plan=flat, keys=("a", "b", "c", "d"), shards=((0,), (1, 3), (2,)))
    run = _store(database, night)
    with session_scope(database) as session:
        assert ledger.load_plan(session, run) == night
        assert ledger.load_nodes(session, run) == ()


def test_nodes_of_a_tree_come_back_equal(database: Engine) -> None:
    prompts = make_prompts(6)
    run, _ = store_night(database, prompts)
    _, tree = make_night_plan(prompts)
    with session_scope(database) as session:
        nodes = ledger.load_nodes(session, run)
    assert nodes == tuple(ledger.tree_nodes([tree]))
    assert [node.size for node in nodes if node.left is None] == [1] * 6
    assert nodes[-1].size == 6


def test_nodes_of_later_trees_are_numbered_on() -> None:
    (_, small), (_, large) = make_night_plan(make_prompts(2)), make_night_plan(make_prompts(3))
    nodes = list(ledger.tree_nodes([small, large]))
    assert [node.tree for node in nodes] == [0] * 3 + [1] * 5
    assert {nodes[-1].left, nodes[-1].right} < {3, 4, 5, 6}


def test_a_night_keeps_its_first_plan(database: Engine) -> None:
    run, plan = store_night(database, make_prompts(5))
    again, _ = store_night(database, make_prompts(7))
    assert again == run
    with session_scope(database) as session:
        assert ledger.load_plan(session, run) == plan


def test_plans_stored_at_the_same_moment_make_one_run(database: Engine) -> None:
    prompts = make_prompts(8)
    plan, tree = make_night_plan(prompts)
    with session_scope(database) as session:
        batch = ledger.claim_night(session, "shop", NIGHT).batch
        ledger.store_embeddings(
            session, {leaf.embedding_key: ledger.StoredEmbedding(b"") for leaf in plan.leaves}
        )

    def store(_: int) -> UUID:
        with session_scope(database) as session:
            return ledger.store_plan(session, batch, plan, list(ledger.tree_nodes([tree])))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(store, range(4)))) == 1


def test_a_plan_whose_embeddings_are_missing_is_not_stored_at_all(database: Engine) -> None:
    plan, _ = make_night_plan(make_prompts(3))
    with session_scope(database) as session:
        batch = ledger.claim_night(session, "shop", NIGHT).batch
    with (
        pytest.raises(GroundLost, match="3 splits or embeddings"),
        session_scope(database) as session,
    ):
        ledger.store_plan(session, batch, plan)
    with session_scope(database) as session:
        assert session.execute(select(func.count()).select_from(Run)).scalar() == 0


def test_an_empty_shard_has_nothing_to_run(database: Engine) -> None:
    run, _ = store_night(database, make_prompts(4), shards=1)
    with session_scope(database) as session:
        assert ledger.open_subtrees(session, run) == (1,)
        trunk = ledger.summarise(session, run).subtrees[0]
    assert trunk.state is SubtreeState.COMPLETED
    assert trunk.evaluations_planned == 0


def test_segments_that_an_earlier_night_finished_are_done_at_once(database: Engine) -> None:
    prompts = make_prompts(6)
    yesterday, plan = store_night(database, prompts, catalogue="yesterday")
    with session_scope(database) as session:
        ledger.finish_segments(session, yesterday, {0: ledger.Stored("0" * 64, 123)})
        ledger.finish_segments(session, yesterday, {3: ledger.Stored("3" * 64, 456)})
        ledger.start_segments(session, yesterday, [4])
    today, _ = store_night(database, prompts, catalogue="today")
    with session_scope(database) as session:
        done = ledger.stored_segments(session, today)
        assert done == ledger.stored_segments(session, yesterday)
        reused = session.execute(select(SegmentRow).where(SegmentRow.reused)).scalars().all()
        assert [(row.run_id, row.segment, row.bytes) for row in reused] == [
            (today, 0, 123),
            (today, 3, 456),
        ]
        steps = plan.plan.segments[0].steps + plan.plan.segments[3].steps
        assert ledger.summarise(session, today).evaluations_reused == steps
        assert ledger.summarise(session, yesterday).evaluations_reused == 0


def test_a_reused_segment_whose_object_is_gone_is_done_anew(database: Engine) -> None:
    prompts = make_prompts(3)
    first, _ = store_night(database, prompts, catalogue="first")
    with session_scope(database) as session:
        ledger.finish_segments(session, first, {0: ledger.Stored("0" * 64, 1)})
    second, _ = store_night(database, prompts, catalogue="second")
    with session_scope(database) as session:
        ledger.start_segments(session, second, [0])
        assert ledger.stored_segments(session, second) == {}
        ledger.finish_segments(session, second, {0: ledger.Stored("1" * 64, 1)})
        assert not session.execute(select(SegmentRow.reused).where(SegmentRow.reused)).all()


def test_an_unknown_run_is_named(database: Engine) -> None:
    run = uuid4()
    with pytest.raises(UnknownRun, match=str(run)), session_scope(database) as session:
        ledger.load_plan(session, run)


def test_deleting_a_night_deletes_all_that_hangs_on_it(database: Engine) -> None:
    run, _ = store_night(database, make_prompts(4))
    with session_scope(database) as session:
        session.delete(session.get_one(Run, run))
    with session_scope(database) as session:
        assert session.execute(select(func.count()).select_from(SegmentRow)).scalar() == 0


@pytest.mark.slow
def test_a_night_of_twenty_thousand_prompts_goes_in_whole(database: Engine) -> None:
    count, steps = 20_000, 8
    prompts = make_prompts(count)
    pairs = [(2 * pair, 2 * pair + 2) for pair in range(count // 2)]
    segments: list[Segment] = []
    for first, last in pairs:
        parent = len(segments)
        segments.append(Segment(parent, count + first // 2, 0, 3, None, first, last))
        for leaf in range(first, last):
            segments.append(Segment(len(segments), leaf, 3, steps, parent, leaf, leaf + 1))
    plan = Plan(steps, tuple(range(count)), tuple(segments), "paper", "ward", 1.0)
    leaves = tuple(ledger.Leaf(f"content-{each}", f"embedding-{each}") for each in range(count))
    night = ledger.NightPlan(
        recipe=RECIPE,
        plan=plan,
        trees=(ledger.Tree(compatibility_key(RECIPE), RECIPE, 0, count),),
        leaves=leaves,
        keys=tuple(f"segment-{segment.id}" for segment in segments),
        shards=((), tuple(range(len(segments)))),
    )
    nodes = [ledger.Node(0, None, None, 0.0, 1)] * count + [
        ledger.Node(0, first, first + 1, 0.5, 2) for first, _ in pairs
    ]
    with session_scope(database) as session:
        batch = ledger.claim_night(session, "shop", NIGHT).batch
        ledger.store_prompts(session, batch, prompts, [])
        ledger.store_embeddings(
            session, {leaf.embedding_key: ledger.StoredEmbedding(b"e" * 512) for leaf in leaves}
        )
        run = ledger.store_plan(session, batch, night, nodes)
    with session_scope(database) as session:
        assert ledger.load_plan(session, run) == night
        assert len(ledger.load_prompts(session, batch)) == count
        assert ledger.summarise(session, run).segments == len(segments)
        tomorrow = ledger.claim_night(session, "shop", NIGHT + timedelta(days=1)).batch
        ledger.store_plan(session, tomorrow, night, nodes)
        states = select(func.count()).where(SegmentRow.state == SegmentState.DONE)
        assert session.execute(states).scalar() == 0


def _store(database: Engine, night: ledger.NightPlan) -> UUID:
    with session_scope(database) as session:
        batch = ledger.claim_night(session, "shop", NIGHT).batch
        ledger.store_embeddings(
            session, {leaf.embedding_key: ledger.StoredEmbedding(b"") for leaf in night.leaves}
        )
        return ledger.store_plan(session, batch, night)
