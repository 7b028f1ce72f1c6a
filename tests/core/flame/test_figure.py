"""The picture of a plan accounts for every evaluation, at any size and for any name."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.flame.figure import draw_plan
from hierdiff_core.flame.tiles import LEVELS, share_level, tiles, top_level
from hierdiff_core.plan import PAPER, Plan, Segment

SVG = "{http://www.w3.org/2000/svg}"


def random_plan(seed: int, size: int, steps: int) -> Plan:
    """A forest in which a segment has any number of children."""
    dice = random.Random(seed)
    segments: list[Segment] = []

    def grow(first: int, last: int, start: int, parent: int | None) -> None:
        alone = last - first == 1
        stop = steps if alone else dice.randint(start + 1, steps)
        stop = stop if alone else min(stop, steps - 1)
        if stop <= start:
            split(first, last, start, parent)
            return
        here = len(segments)
        segments.append(Segment(here, here, start, stop, parent, first, last))
        if not alone:
            split(first, last, stop, here)

    def split(first: int, last: int, start: int, parent: int | None) -> None:
        wanted = dice.randint(1, min(4, last - first - 1)) if start < steps - 1 else last - first
        cuts = sorted(dice.sample(range(first + 1, last), min(wanted, last - first - 1)))
        for left, right in zip([first, *cuts], [*cuts, last], strict=True):
            grow(left, right, start, parent)

    grow(0, size, 0, None)
    order = list(range(size))
    dice.shuffle(order)
    return Plan(steps, tuple(order), tuple(segments), PAPER, "ward", 1.0)


def groups(svg: str) -> list[ElementTree.Element]:
    return [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "hd-tile"]


plans = st.builds(random_plan, st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 12))


@settings(max_examples=80, deadline=None)
@given(plans, st.floats(0.1, 20))
def test_tiles_cover_every_step_of_every_prompt_once(plan: Plan, narrowest: float) -> None:
    covered = [
        (place, step)
        for tile in tiles(plan, narrowest)
        for place in range(tile.first, tile.last)
        for step in range(tile.start, tile.stop)
    ]
    assert len(covered) == plan.evaluations_standard
    assert len(set(covered)) == len(covered)


@settings(max_examples=80, deadline=None)
@given(plans, st.floats(0.1, 20))
def test_tiles_account_for_what_is_paid_and_what_is_saved(plan: Plan, narrowest: float) -> None:
    drawn = list(tiles(plan, narrowest))
    assert sum(tile.evaluations for tile in drawn) == plan.evaluations
    assert sum(tile.saved for tile in drawn) == plan.evaluations_standard - plan.evaluations


@settings(max_examples=30, deadline=None)
@given(plans)
def test_where_there_is_room_each_segment_is_one_tile(plan: Plan) -> None:
    assert sorted(t.segment for t in tiles(plan, 0.5)) == [s.id for s in plan.segments]


def test_levels_rise_with_sharing_from_own_steps_to_the_widest() -> None:
    for widest in (2, 3, 4, 9, 100, 20_000):
        levels = [share_level(share, widest) for share in range(1, widest + 1)]
        assert levels == sorted(levels)
        assert (levels[0], levels[-1]) == (0, top_level(widest))
        assert top_level(widest) < LEVELS


@pytest.mark.parametrize("width", [440, 1120])
@pytest.mark.parametrize("size", [1, 2, 12, 2000])
def test_every_tile_is_visible_and_inside_the_picture(size: int, width: int) -> None:
    svg = draw_plan(random_plan(size, size, 12), width=width)
    found = groups(svg)
    assert 1 <= len(found) <= 12 * width
    for group in found:
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, w, h = (float(rect.get(name) or 0) for name in ("x", "width", "height"))
        assert w >= 0.75
        assert h >= 0.75
        assert x >= 0
        assert x + w <= width


def test_twenty_thousand_prompts_make_a_picture_of_bounded_size() -> None:
    wide = Segment(0, 0, 0, 1, None, 0, 20_000)
    leaves = (Segment(i, i, 1, 4, 0, i - 1, i) for i in range(1, 20_001))
    plan = Plan(4, tuple(range(20_000)), (wide, *leaves), PAPER, "ward", 1.0)
    assert len(groups(draw_plan(plan))) < 1120


def test_the_heading_says_what_is_paid_and_what_is_saved() -> None:
    segments = (
        Segment(0, 2, 0, 5, None, 0, 2),
        Segment(1, 0, 5, 8, 0, 0, 1),
        Segment(2, 1, 5, 8, 0, 1, 2),
    )
    svg = draw_plan(Plan(8, (1, 0), segments, PAPER, "ward", 1.0), names={0: "SKU-0", 1: "SKU-1"})
    assert "11 evaluations instead of 16" in svg
    assert "31% saved" in svg
    titles = [group.findtext(f"{SVG}title") for group in groups(svg)]
    assert titles[0] == (
        "Steps 1 to 5: shared by 2 prompts\n5 evaluations instead of 10, 5 saved\nSKU-1, SKU-0"
    )
    assert titles[1] == "Steps 6 to 8: taken for one prompt alone\n3 evaluations\nSKU-1"


def test_segments_can_be_found_in_the_picture() -> None:
    plan = random_plan(3, 12, 8)
    facts = {
        tuple(int(g.get(f"data-{name}") or 0) for name in ("segment", "first", "last", "stop"))
        for g in groups(draw_plan(plan))
    }
    assert facts == {(s.id, s.first, s.last, s.stop) for s in plan.segments}


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "\"]]>&'", "כיסא \u202e🪑", "\x07\ud83d\x00", "x" * 9999]
)
def test_a_hostile_name_stays_text(name: str) -> None:
    svg = draw_plan(random_plan(1, 3, 4), names=dict.fromkeys(range(3), name))
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert len(svg) < 20_000


def test_thumbnails_stand_below_their_columns_in_plan_order() -> None:
    plan = random_plan(5, 6, 4)
    svg = draw_plan(plan, pictures={leaf: f"data:,{leaf}" for leaf in range(6)})
    images = list(ElementTree.fromstring(svg).iter(f"{SVG}image"))
    assert [image.get("href") for image in images] == [f"data:,{leaf}" for leaf in plan.order]
    places = [float(image.get("x") or 0) for image in images]
    assert places == sorted(places)


def test_a_picture_follows_light_and_dark_mode() -> None:
    assert "prefers-color-scheme: dark" in draw_plan(random_plan(0, 3, 4))


def test_an_equal_plan_gives_an_equal_picture() -> None:
    assert draw_plan(random_plan(9, 40, 8)) == draw_plan(random_plan(9, 40, 8))
