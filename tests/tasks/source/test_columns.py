"""Columns are found by name, by mapping and by template, and nothing is guessed."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from hierdiff_core.errors import HierdiffError
from tasks.ingest import Ingested, read_batch
from tasks.rejected import by_kind
from tasks.source.columns import Columns, fold, read_mapping
from tasks.source.source_row import SourceRow
from tasks.source.template import read_template
from tests.tasks.conftest import RECIPE


def read(
    *rows: Mapping[str, object], mapping: str = "", template: str = "", names: str = ""
) -> Ingested:
    columns = Columns(read_mapping(mapping), read_template(template) if template else None)
    repeated = frozenset(names.split())
    numbered = [SourceRow(n, row, repeated=repeated) for n, row in enumerate(rows, start=1)]
    return read_batch(numbered, RECIPE, columns=columns)


def refusal(*rows: Mapping[str, object], **how: str) -> str:
    with pytest.raises(HierdiffError) as refused:
        read(*rows, **how)
    return str(refused.value)


TAKEN = {
    "Seed": "seed", " SEED ": "seed", "Width": "width", "widht": "width",
    "HEIGHT": "height", "heigth": "height", "hieght": "height", "heights": "height",
    "cfg": "guidance", "cfg_scale": "guidance", "CFG Scale": "guidance", "cfg-scale": "guidance",
    "guidance_scale": "guidance", "Guidance Scale": "guidance", "guidence": "guidance",
    "negative_promt": "negative_prompt", "Negative Prompt": "negative_prompt",
    "negative-prompt": "negative_prompt", "negativ_prompt": "negative_prompt",
    "negative prompts": "negative_prompt", "negative": "negative_prompt",
    "Reference": "reference", "refrence": "reference", "references": "reference",
    "referense": "reference",
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_that_can_only_mean_one_column_is_taken(name: str) -> None:
    value = "9" if TAKEN[name] != "negative_prompt" else "blurred"
    wanted = read({"prompt": "a mug", TAKEN[name]: value})
    batch = read({"prompt": "a mug", name: value})
    assert batch.prompts == wanted.prompts
    assert batch.notes == ()


@pytest.mark.parametrize(
    ("name", "ours"),
    [("speed", "seed"), ("seeds", "seed"), ("with", "width"), ("guidances_x", "guidance")],
)
def test_a_name_that_may_be_another_word_is_named_and_not_taken(name: str, ours: str) -> None:
    batch = read({"prompt": "a mug", name: "9"})
    assert batch.prompts == read({"prompt": "a mug"}).prompts
    assert batch.notes == (
        f"Column {name!r} is not read; if it is meant, say --column {ours}={name}.",
    )


@pytest.mark.parametrize(
    "name", ["weight", "title", "color", "preference", "id", "Height (cm)", "prompt in Chinese", ""]
)
def test_other_columns_of_a_source_are_no_ones_business(name: str) -> None:
    batch = read({"prompt": "a mug", name: "9"})
    assert batch.prompts == read({"prompt": "a mug"}).prompts
    assert batch.notes == ()


@pytest.mark.parametrize("name", ["steps", "Solver", "dtype", "initial noise"])
def test_what_is_one_setting_for_a_night_is_named(name: str) -> None:
    assert read({"prompt": "a mug", name: "9"}).notes == (
        f"Column {name!r} is not read: it is one setting for the whole night.",
    )


def test_of_two_that_are_nearly_ours_none_is_taken() -> None:
    batch = read({"prompt": "a mug", "cfg": "3", "cfg_scale": "4"})
    assert batch.prompts == read({"prompt": "a mug"}).prompts
    assert len(batch.notes) == 2
    both = read({"prompt": "a mug", "guidance": "5", "cfg_scale": "4"})
    assert both.prompts[0].recipe.guidance == 5
    assert len(both.notes) == 1


def test_notes_are_made_once_and_not_for_every_row() -> None:
    assert len(read(*[{"prompt": "a mug", "speed": 9}] * 100).notes) == 1
    many = [{"prompt": "a mug", f"speed{n}": 9, "speed": 1} for n in range(100)]
    assert len(read(*many).notes) <= 20


@pytest.mark.parametrize("name", ["prompt", "seed", "title"])
def test_a_name_that_stands_twice_is_refused_where_it_is_read(name: str) -> None:
    row = {"prompt": "a mug", "seed": "1", "title": "x"}
    if name == "title":
        assert len(read(row, names=name).prompts) == 1
        assert name in refusal(row, names=name, mapping="reference=title")
        assert name in refusal(row, names=name, template="{title}")
    else:
        assert refusal(row, names=name).startswith(f"Column {name!r} stands in the source more")


@pytest.mark.parametrize(
    ("mapping", "text", "reference"),
    [
        ("prompt=title", "T", "1"),
        ("prompt=TITLE", "T", "1"),
        ("prompt = title , reference=Variant SKU", "T", "S"),
        ("prompt=title,reference=variant_sku", "T", "S"),
        ("prompt=long  name", "L", "1"),
        ('{"prompt": "a, b"}', "C", "1"),
        ("reference=title", "P", "T"),
        ("", "P", "1"),
        (" , ", "P", "1"),
    ],
)
def test_a_mapping_says_which_column_is_which(mapping: str, text: str, reference: str) -> None:
    row = {"prompt": "P", "title": "T", "Variant SKU": "S", "Long Name": "L", "a, b": "C"}
    (prompt,) = read(row, mapping=mapping).prompts
    assert (prompt.text, prompt.reference) == (text, reference)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("prompt", "'prompt' is not of the form prompt=title"),
        ("prompt=", "'prompt=' is not of the form prompt=title"),
        ("=title", "'=title' is not of the form prompt=title"),
        ("title=prompt", "'title' is no column of a prompt; use prompt, reference"),
        ("prompt=a,prompt=b", "it says twice what prompt is"),
        ("prompt=a;reference=b", None),
        ("steps=a", "'steps' is no column of a prompt"),
        ("{oops", "write it as prompt=title, reference=id"),
        ("{" * 100_000, "write it as prompt=title, reference=id"),
        ('{"a": 1}', "'a' is no column of a prompt"),
        ("prompt title", "'prompt title' is not of the form prompt=title"),
        ("Prompt=title", "'Prompt' is no column of a prompt"),
    ],
)
def test_a_mapping_that_cannot_be_one_is_refused(mapping: str, said: str | None) -> None:
    if said is None:
        assert read_mapping(mapping) == {"prompt": "a;reference=b"}
        return
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        read_mapping(mapping)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"mapping": "prompt=titel"},
            "'titel', which the mapping names, is not in the source: did",
        ),
        ({"mapping": "reference=zzz"}, "the mapping names, is not in the source: it has prompt, "),
        ({"template": "a {colour}"}, "'colour', which the template names, is not in the source"),
        ({"template": "{title} {titel}"}, "the template names, is not in the source: did you mean"),
    ],
)
def test_a_name_that_no_row_has_is_refused(how: dict[str, str], said: str) -> None:
    assert said in refusal({"prompt": "a", "title": "b"}, {"prompt": "c", "title": "d"}, **how)


def test_a_name_that_some_rows_have_costs_the_others_alone() -> None:
    rows = ({"title": "a", "sku": "S"}, {"text": "b"}, {"title": None}, {"title": "d"})
    batch = read(*rows, mapping="prompt=title, reference=sku")
    assert [(each.reference, each.text) for each in batch.prompts] == [("S", "a"), ("4", "d")]
    assert [each.row for each in batch.rejected] == [2, 3]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a photo of {title}, {color}", "a photo of T, red"),
        ("{ TITLE }", "T"),
        ("{long name}", "L"),
        ("{Long_Name}", "L"),
        ("{title}{title}", "TT"),
        ("{{{title}}}", "{T}"),
        ("{{title}} of {title}", "{title} of T"),
        ("{Body (HTML)}", "<p>"),
        ("{tags}", "a, b"),
        ("{price}", "9.9"),
        ("{a.b[0]!r:>9}", "X"),
        ("{prompt} x", "P x"),
        ("$title ${title}", "$title $T"),
        ("%s {title}", "%s T"),
        ("line\n{title}", "line\nT"),
    ],
)
def test_a_template_is_filled_with_the_cells_of_a_row(template: str, text: str) -> None:
    row = {"prompt": "P", "title": " T ", "color": "red", "Long Name": "L", "Body (HTML)": "<p>",
           "tags": ["a", "b"], "price": 9.9, "a.b[0]!r:>9": "X"}  # fmt: skip
    assert [each.text for each in read(row, template=template).prompts] == [text]


@pytest.mark.parametrize(
    "empty", [None, "", " ", "NULL", "#N/A", "nan", float("nan"), [], {}, [[1]]]
)
def test_an_empty_place_costs_its_row(empty: object) -> None:
    batch = read({"title": "a", "color": "b"}, {"title": "c", "color": empty, "reference": "R"},
                 {"title": "d", "color": empty}, template="{title}, {color}")  # fmt: skip
    assert [each.text for each in batch.prompts] == ["a, b"]
    (kind,) = by_kind(batch.rejected)
    assert kind.line() == (
        "Row 2 (R): it has no 'color', which the template needs; correct it or drop the row. The "
        "same holds for 1 more: 3."
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a mug", "it names no column"),
        ("", "it names no column"),
        ("{{title}}", "it names no column"),
        ("{title", "the brace at character 1 has no partner"),
        ("title}", "the brace at character 6 has no partner"),
        ("{a{b}}", "the brace at character 1 has no partner"),
        ("{}", "a place is empty"),
        ("a { } b", "a place is empty"),
        ("{title}}", "the brace at character 8 has no partner"),
    ],
)
def test_a_template_that_cannot_be_one_is_refused(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_template(template)


@pytest.mark.parametrize(
    "name",
    ["Negative Prompt", " negative_prompt\t", "NEGATIVE-PROMPT", "negative\u00a0prompt",
     "\ufeffnegative_prompt", "negative__prompt"],
)  # fmt: skip
def test_case_blanks_and_hyphens_do_not_count(name: str) -> None:
    assert fold(name) == "negative_prompt"


def test_whatever_a_row_holds_costs_that_row_alone() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError("no words for it")

        __repr__ = __float__ = __str__

    broken = Broken()
    bad = (
        {"prompt": "b", "seed": broken},
        {"prompt": "c", "reference": broken},
        {"prompt": broken},
    )
    batch = read({"prompt": "a"}, *bad, {"prompt": "d"})
    assert [each.text for each in batch.prompts] == ["a", "d"]
    assert [each.row for each in batch.rejected] == [2, 3, 4]


def test_many_prompts_with_tags_are_worth_a_note() -> None:
    assert read({"prompt": "<p>a</p>"}, {"prompt": "b"}).notes == (
        "1 of 2 prompts hold HTML tags, which are taken to the letter.",
    )
    assert read({"prompt": "<p>a</p>"}, *[{"prompt": "b < c > d"}] * 10).notes == ()


def test_objects_that_all_have_other_names_take_no_longer_than_a_table() -> None:
    rows = [{"title": "a mug", f"extra {n}": n, "x": n} for n in range(5_000)]
    started = time.monotonic()
    assert len(read(*rows, template="{title}, {x}").prompts) == 5_000
    wide = {"prompt": "a mug"} | {f"seed {n}": n for n in range(20_000)}
    assert len(read(wide).prompts) == 1
    assert time.monotonic() - started < 10
