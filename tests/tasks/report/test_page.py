"""A report tells the night truthfully, needs nothing but itself and never trusts a prompt."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.plan import make_plan
from hierdiff_core.schedule import make_schedule, solve_tau
from tasks.ledger import PartEnergy
from tasks.rejected import Rejected
from tasks.report.gallery import gallery_groups, safe_link
from tasks.report.headline import claim, duration, headline
from tasks.report.page import (
    ReportData,
    ReportImage,
    ReportSetAside,
    ReportStage,
    ReportSubtree,
    render_report,
    small_copy,
    subtree_table,
    summary_markdown,
    thumbnail,
)

HOSTILE = [
    "<script>alert(1)</script>",
    "</style></script><img src=x onerror=alert(1)>",
    "\"><b onmouseover='alert(1)'>",
    "{{ 7 * 7 }} {% raw %} ${x}",
    "[click](javascript:alert(1)) ![x](http://evil) | # *bold* `code` <u>",
    "كرسي أحمر \u202e כיסא 🪑\n\n# second line",
    "long " * 5000,
]


class Page(HTMLParser):
    """What a browser would find: tags with attributes, text, scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        inside = self.scripts if self.tags and self.tags[-1][0] == "script" else self.text
        if data.strip():
            inside.append(data)

    def found(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        found = [attributes for name, attributes in self.tags if name == tag]
        return [each for each in found if not css or css in (each.get("class") or "").split()]


def picture(side: int = 16, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def night(size: int = 12, text: str = "a red mug", **changes: object) -> ReportData:
    vectors = np.random.default_rng(size).normal(size=(size, 4)) + 1
    tree = build_tree(vectors, linkage="ward")
    schedule = (
        solve_tau(tree, 8, Budget(saving=0.4)) if size > 4 else make_schedule(steps=8, tau=1.0)
    )
    small = thumbnail(picture(), 16)
    images = tuple(
        ReportImage(leaf, (f"SKU-{leaf}",), text, True, small, f"../../images/{leaf}.png")
        for leaf in range(size)
    )
    data = ReportData(
        run="run-1",
        catalogue="autumn",
        business_date=date(2026, 11, 22),
        state="completed",
        plan=make_plan(tree, schedule),
        images=images,
        subtrees=(
            ReportSubtree(0, "completed", 0, 10, 10, 0, 1, 3.0),
            ReportSubtree(1, "completed", size, 40, 32, 8, 1, 12.0),
        ),
        stages=(ReportStage("denoise", 90.0, "cpu"),),
        parameters={"model": "miniature", "steps": 8, "negative_prompt": ""},
        seconds=100.0,
        price_per_hour=3.6,
    )
    return dataclasses.replace(data, **changes)  # type: ignore[arg-type]


def without(data: ReportData, *leaves: int) -> ReportData:
    images = tuple(
        dataclasses.replace(image, made=False, thumbnail=b"") if image.leaf in leaves else image
        for image in data.images
    )
    broken = ReportSubtree(2, "failed", 2, 20, 4, 0, 3, 1.0, "out of memory <on> device 0")
    return dataclasses.replace(
        data, images=images, subtrees=(*data.subtrees, broken), state="failed"
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text_wherever_it_stands(text: str) -> None:
    innocent = Page(render_report(without(night(), 3)))
    data = without(night(text=text, catalogue=text, run=text, parameters={"prompt": text}), 3)
    images = tuple(dataclasses.replace(i, references=(text, text)) for i in data.images)
    rejected = (Rejected(1, text),)
    page = Page(render_report(dataclasses.replace(data, images=images, rejected=rejected)))
    assert len(page.found("script")) == len(innocent.found("script")) == 2
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert not page.found("b")
    assert not page.found("u")
    assert text in page.text
    assert {image["src"] for image in page.found("img") if "src" in image} == {
        image["src"] for image in innocent.found("img") if "src" in image
    }


def test_the_page_needs_nothing_but_itself() -> None:
    html = render_report(night())
    page = Page(html)
    assert not page.found("link")
    assert not page.found("iframe")
    assert "@import" not in html
    assert "url(" not in html
    sources = [a["src"] for _, a in page.tags if a.get("src")]
    assert sources
    assert all(source.startswith("data:image/") for source in sources if source)
    assert re.findall(r"https?://[^\"' ]+", html) == ["http://www.w3.org/2000/svg"] * 2


def test_the_policy_allows_the_page_s_own_script_and_no_other() -> None:
    page = Page(render_report(night()))
    policy = next(a["content"] for a in page.found("meta") if a.get("http-equiv"))
    own = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{own}'" in policy
    assert "default-src 'none'" in policy


def test_an_equal_night_gives_an_equal_page() -> None:
    assert render_report(night()) == render_report(night())


def test_the_first_figures_say_what_was_made_paid_and_spared() -> None:
    data = night()
    plan = data.plan
    figures = {each.label: (each.value, each.note) for each in headline(data)}
    assert figures["Images"] == ("12", "all made")
    assert figures["Evaluations"] == (f"{plan.evaluations}", "instead of 96")
    assert figures["Saved"] == (f"{plan.saving:.0%}", f"{96 - plan.evaluations} evaluations")
    assert figures["Time"] == ("1 min 40 s", "0.12 images/s")
    assert figures["Cost"] == ("0.10 USD", "8.33 per 1,000 images")
    assert figures["Resumed"] == ("8", "evaluations not repeated")


def test_energy_is_told_for_each_picture_and_where_it_is_unknown() -> None:
    def told(*energy: PartEnergy, **changes: object) -> tuple[str, str]:
        data = night(energy=energy, spent=48, **changes)
        (figure,) = (each for each in headline(data) if each.label == "Energy")
        return figure.value, figure.note

    cpu, gpu = PartEnergy("cpu", 43200.0, ""), PartEnergy("gpu", None, "no driver")
    spared = 96 - max(48, night().plan.evaluations)
    assert told(cpu) == ("12 Wh", f"1 Wh per image, {spared / 4:.3g} Wh saved")
    assert told(gpu) == ("not measured", "gpu: no driver")
    assert told(cpu, gpu, accepted=3)[1].endswith(
        f"4 Wh per accepted one, {spared / 4:.3g} Wh saved, not measured: gpu: no driver"
    )
    assert night(energy=(cpu,), kwh_price=100.0).cost == pytest.approx(0.1 + 1.2)


def test_unknown_figures_are_left_out() -> None:
    labels = [
        each.label for each in headline(night(seconds=None, price_per_hour=None, subtrees=()))
    ]
    # Quality is said all the same.
    assert labels == ["Images", "Evaluations", "Saved", "Lost"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(12.34, "12.3 s"), (59.99, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_times_are_written_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_pictures_stand_in_the_plan_s_order_each_once() -> None:
    data = night(40)
    page = Page(render_report(data))
    hrefs = [a["href"] for a in page.found("a", "picture")]
    assert hrefs == [f"../../images/{leaf}.png" for leaf in data.plan.order]


@pytest.mark.parametrize("size", [1, 2, 3, 12, 60, 200])
def test_families_hold_every_picture_once_and_tell_what_it_paid_alone(size: int) -> None:
    data = night(size)
    cards = [card for family in gallery_groups(data) for card in family.cards]
    assert [card.at for card in cards] == list(range(size))
    own = sum(card.own for card in cards)
    assert own == sum(s.steps for s in data.plan.segments if s.size == 1)
    assert all(card.own + card.shared == 8 for card in cards)


def test_equal_prompts_share_a_picture_under_all_their_references() -> None:
    data = night()
    doubled = dataclasses.replace(data.images[0], references=("SKU-0", "SKU-0b", "SKU-0c"))
    data = dataclasses.replace(data, images=(doubled, *data.images[1:]))
    page = Page(render_report(data))
    assert page.found("span", "more") == [{"class": "more", "title": "SKU-0b, SKU-0c"}]
    assert headline(data)[0].note == "for 14 prompts"


def test_a_complete_night_raises_no_alarm() -> None:
    assert not Page(render_report(night())).found("section", "alert")


def test_what_is_missing_is_named_with_the_error_and_the_command() -> None:
    data = without(night(), 4, 7)
    page = Page(render_report(data))
    text = " ".join(page.text)
    assert page.found("section", "alert")
    assert "2 images are missing" in text
    assert {"SKU-4", "SKU-7", "hierdiff retry run-1"} <= set(page.text)
    assert "out of memory <on> device 0" in page.text
    assert len(page.found("span", "absent")) == 2
    assert claim(data) == "10 of 12 images"


def test_rejected_rows_are_listed_with_their_reasons() -> None:
    empty = "the prompt is empty; write a prompt or drop the row."
    rejected = [Rejected(row, f"Row {row} (A{row}): {empty}") for row in range(17, 29)]
    rejected.append(Rejected(40, "Row 40: it has 3 cells"))
    data = night(rejected=tuple(rejected))
    others = "18, 19, 20, 21, 22, 23, 24, 25 and 3 more."
    line = f"Row 17 (A17): {empty} The same holds for 11 more: {others}"
    assert {"12", line, "1", "Row 40: it has 3 cells"} <= set(Page(render_report(data)).text)


def test_rows_that_were_set_aside_are_named_with_reference_attempts_and_reason() -> None:
    aside = (ReportSetAside(17, "<b>mug</b>", 3, "ValueError: <i>no</i> such latents"),)
    data = night(set_aside=aside)
    page = Page(render_report(data))
    assert {"17", "<b>mug</b>", "3", "ValueError: <i>no</i> such latents"} <= set(page.text)
    told = summary_markdown(data)
    assert "## 1 rows were set aside" in told
    assert "row 17, &lt;b&gt;mug&lt;/b&gt;, failed 3 times: ValueError" in told


def test_pictures_of_one_flat_colour_are_suspects_that_the_report_lists() -> None:
    data = night()
    images = (dataclasses.replace(data.images[0], flat=True), *data.images[1:])
    suspicious = dataclasses.replace(data, images=images)
    page = Page(render_report(suspicious))
    assert "Pictures of one flat colour" in page.text
    at = data.plan.order.index(images[0].leaf)
    assert f"#at-{at}" in [a.get("href") for a in page.found("a")]
    assert "## 1 images are of one flat colour" in summary_markdown(suspicious)
    assert "Pictures of one flat colour" not in Page(render_report(data)).text


@pytest.mark.parametrize(("colour", "flat"), [((0, 0, 0), True), ((9, 80, 7), True), (None, False)])
def test_a_picture_is_flat_where_every_pixel_is_equal(
    colour: tuple[int, int, int] | None, flat: bool
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour or (1, 2, 3)).save(file, "PNG")
    if colour is None:
        with Image.open(file) as image:
            image.putpixel((5, 7), (1, 2, 4))
            file = io.BytesIO()
            image.save(file, "PNG")
    assert small_copy(file.getvalue(), 16)[1] is flat


def test_decoded_previews_lie_in_the_page_under_their_segments() -> None:
    html = render_report(night(previews={0: thumbnail(picture(), 16)}))
    assert '{"0": "data:image/webp;base64,' in html


def test_without_scripts_all_pictures_show_and_no_dead_control() -> None:
    page = Page(render_report(night()))
    assert len(page.found("a", "picture")) == 12
    controls = page.found("input") + page.found("button", "all")
    assert controls
    assert all("hidden" in a for a in controls)


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("../../images/a.png", True),
        ("https://bucket/a.png?X-Amz-Signature=1&b=2", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)", False),
        ("data:text/html,x", False),
        ("http://[", False),
        ("", True),
    ],
)
def test_only_web_and_relative_links_are_followed(link: str, kept: bool) -> None:
    assert safe_link(link) == (link if kept else "")


def test_every_size_of_night_renders() -> None:
    for size in (1, 2, 300):
        assert "</html>" in render_report(night(size))
    assert "nothing shared" in claim(night(1))


def test_a_saving_is_never_told_without_what_it_is_predicted_to_cost() -> None:
    unknown = night()
    assert claim(unknown).endswith(", quality not predicted")
    assert {each.label: each.value for each in headline(unknown)}["Lost"] == "unknown"
    losses = dict(enumerate([0.0, 2.0, 0.01]))
    images = tuple(
        dataclasses.replace(each, loss=losses.get(each.leaf, 0.0)) for each in unknown.images
    )
    known = dataclasses.replace(unknown, images=images, bound=0.05)
    assert claim(known).endswith(", 1 predicted to be told apart")
    assert {each.label: each.value for each in headline(known)}["Lost"] == "16.8%"
    page = Page(render_report(known))
    links = [each.get("href") or "" for each in page.found("a")]
    assert [each for each in links if each.startswith("#at-")] == [
        f"#at-{known.plan.order.index(leaf)}" for leaf in (1, 2)
    ]
    assert len(page.found("span", "apart")) == 2  # in the list and in the gallery
    assert len(Page(render_report(unknown)).found("ol", "worst")) == 0


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_shows_hostile_text_literally(text: str) -> None:
    plain = summary_markdown(without(night(), 3))
    data = without(night(catalogue=text), 3)
    images = tuple(dataclasses.replace(i, references=(text,)) for i in data.images)
    written = summary_markdown(dataclasses.replace(data, images=images))
    assert written.count("\n") == plain.count("\n")
    bare = re.sub(r"\\.", "", written)
    assert not re.search(r"<(script|img|b|u)", bare)
    assert "](" not in bare
    assert len(written) < 5000


def test_the_summary_says_how_to_go_on() -> None:
    written = summary_markdown(without(night(), 3), "https://reports/run-1")
    assert "**11 of 12 images**" in written
    assert "```\nhierdiff retry run-1\n```" in written
    assert "[Open the report](<https://reports/run-1>)" in written


def test_the_subtree_table_has_one_plain_row_for_each() -> None:
    rows = subtree_table(without(night(), 3))
    assert [row["subtree"] for row in rows] == ["trunk", "subtree 1", "subtree 2"]
    assert rows[1]["resumed"] == 8
    assert rows[2]["error"] == "out of memory <on> device 0"


def test_evaluations_of_an_unfinished_night_are_called_planned() -> None:
    assert headline(without(night(), 3))[1].note == "planned, instead of 96"
