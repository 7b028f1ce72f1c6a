"""A night that builds on the one before: pictures stay, new rows join, and both are told apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hierdiff_core.budget import Budget
from tasks.ledger import find_like, load_images, load_plan, open_subtrees, summarise
from tasks.plan import read_plan_settings
from tasks.report.headline import headline
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    NIGHT,
    STEPS,
    WORDS,
    SmallNight,
    end_states,
    plan_small_night,
    small,
    write_catalogue,
)

pytestmark = pytest.mark.slow

TOMORROW = NIGHT + timedelta(days=1)


def make(night: SmallNight) -> int:
    """Denoise what a night is missing and return the evaluations that it took."""
    with night.stores.session() as session:
        waiting = open_subtrees(session, night.run)
    return sum(
        denoise_shard(night.stores, night.settings, night.run, shard, owner="me").evaluations
        for shard in waiting
    )


def pictures(night: SmallNight) -> dict[str, str]:
    """Return each picture's key in the bucket by its content key."""
    with night.stores.session() as session:
        plan, images = load_plan(session, night.run), load_images(session, night.run)
    return {plan.leaves[leaf].content_key: image.key for leaf, image in images.items()}


@pytest.mark.parametrize("changes", [{}, {"planner": "paper", "tau": 0.3, "saving": None}])
def test_tomorrow_makes_only_what_is_new_and_no_picture_changes(
    settings: Settings, tmp_path: Path, changes: dict[str, object]
) -> None:
    short = small(settings, **changes)
    with open_stores(short) as stores:
        one = plan_small_night(stores, short, write_catalogue(tmp_path))
        paid = make(one)
        before, states = pictures(one), end_states(stores, one.run)
        words = [*WORDS[1:], ("blue", "vase")]
        two = plan_small_night(stores, short, write_catalogue(tmp_path, words), TOMORROW)
        kept = pictures(two)
        assert kept.items() < before.items()
        assert len(kept) == len(WORDS) - 1
        spent = make(two)
        assert 0 < spent <= STEPS < paid
        after = pictures(two)
        assert len(after) == len(WORDS)
        assert kept.items() < after.items()
        again = end_states(stores, two.run)
        assert {key: again[key] for key in again if key in states} == {
            key: states[key] for key in again if key in states
        }
        with stores.session() as session:
            facts = summarise(session, two.run)
        assert facts.evaluations_reused == facts.evaluations_planned - spent
        assert facts.images_kept == len(WORDS) - 1
        figures = {each.label: each for each in headline(publish(stores, short, two.run).data)}
        assert figures["Images"].note == f"{len(WORDS) - 1} kept from earlier nights"
        assert figures["Tonight"].value == str(spent)


def test_a_night_of_the_same_rows_needs_no_worker(settings: Settings, tmp_path: Path) -> None:
    short = small(settings)
    with open_stores(short) as stores:
        file = write_catalogue(tmp_path)
        one = plan_small_night(stores, short, file)
        make(one)
        two = plan_small_night(stores, short, file, TOMORROW)
        with stores.session() as session:
            assert open_subtrees(session, two.run) == ()
        assert pictures(two) == pictures(one)


def test_without_joins_a_new_row_takes_all_its_steps(settings: Settings, tmp_path: Path) -> None:
    short = small(settings, joins=False)
    with open_stores(short) as stores:
        make(plan_small_night(stores, short, write_catalogue(tmp_path)))
        file = write_catalogue(tmp_path, [*WORDS[1:], ("blue", "vase")])
        assert make(plan_small_night(stores, short, file, TOMORROW)) == STEPS


def test_a_row_keeps_its_picture_in_another_catalogue(settings: Settings, tmp_path: Path) -> None:
    short = small(settings)
    with open_stores(short) as stores:
        one = plan_small_night(stores, short, write_catalogue(tmp_path))
        make(one)
        file = write_catalogue(tmp_path, [*WORDS[:3], ("blue", "vase")])
        other = plan_small_night(stores, replace_saving(short), file, catalogue="outlet")
        assert len(pictures(other)) == 3
        assert pictures(other).items() < pictures(one).items()


def test_a_row_that_left_and_comes_back_finds_its_picture(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings)
    with open_stores(short) as stores:
        one = plan_small_night(stores, short, write_catalogue(tmp_path))
        make(one)
        two = plan_small_night(stores, short, write_catalogue(tmp_path, WORDS[1:]), TOMORROW)
        assert make(two) == 0
        day = TOMORROW + timedelta(days=1)
        three = plan_small_night(stores, short, write_catalogue(tmp_path), day)
        assert make(three) == 0
        assert pictures(three) == pictures(one)


def test_a_threshold_stands_while_budget_and_bound_do(settings: Settings, tmp_path: Path) -> None:
    free = small(settings, saving=None, loss=0.1)
    with open_stores(free) as stores:
        night = plan_small_night(stores, free, write_catalogue(tmp_path))
        asked = read_plan_settings(free)
        with stores.session() as session:
            plan = load_plan(session, night.run).plan
            like = find_like(session, "shop", asked)
            assert like is not None
            assert (like.planner, like.price, like.tau) == (plan.planner, plan.price, plan.tau)
            assert find_like(session, "shop", replace(asked, loss=0.2)) is None
            assert find_like(session, "shop", replace(asked, budget=Budget(saving=0.3))) is None
            assert find_like(session, "outlet", asked) is None


def replace_saving(settings: Settings) -> Settings:
    """Return settings whose budget four prompts can meet."""
    return small(settings, saving=0.2)
