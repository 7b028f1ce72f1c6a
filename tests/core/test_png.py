"""What a picture's file says of its origin survives, stays within bounds and never changes."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hierdiff_core.plan import PAPER, Plan, Segment
from hierdiff_core.png import SOURCE_TYPE, XMP_KEY, Provenance, encode_png, read_provenance, trace
from hierdiff_core.prompt import Prompt
from tests.core.recipes import bare_recipe

EXTENSION = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
HOSTILE = [
    'a mug with "quotes", commas, colons: and \\ backslashes',
    "<script>alert(1)</script> & ]]> <!-- -->",
    "two\nlines\r\nand\ttabs",
    "Negative prompt: not really\nSteps: 1, Seed: 2",
    "ein Stuhl 🪑, 椅子, כיסא \u202e",
    "bell \x07 and half a pair \ud83d",
    "long " * 50_000,
]


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def provenance(text: str = "a red mug", **changes: object) -> Provenance:
    fields = {"model": "miniature/decoder", "prior": "miniature/prior", "steps": 8, "seed": 7}
    recipe = bare_recipe(revision="abc123def4567890", **(fields | changes))
    return Provenance("run-1", "SKU-1", text, recipe, "c" * 64, (6, 4, 0), (3, 5), 3, 5)


def texts(body: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(body)) as image:
        return dict(image.text)


def source_type(body: bytes) -> str | None:
    return ElementTree.fromstring(texts(body)[XMP_KEY]).findtext(f".//{EXTENSION}DigitalSourceType")


def test_the_pixels_come_back_unchanged(pixels: NDArray[np.uint8]) -> None:
    with Image.open(io.BytesIO(encode_png(pixels, provenance()))) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_equal_input_gives_equal_bytes(pixels: NDArray[np.uint8]) -> None:
    assert encode_png(pixels, provenance()) == encode_png(pixels.copy(), provenance())


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_prompt_comes_back_verbatim(text: str, pixels: NDArray[np.uint8]) -> None:
    facts = provenance(text, negative_prompt=text)
    body = encode_png(pixels, facts)
    assert read_provenance(body) == facts
    assert source_type(body) == SOURCE_TYPE


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1), st.text())
def test_no_text_breaks_the_file(text: str, reference: str) -> None:
    facts = dataclasses.replace(provenance(text), reference=reference)
    body = encode_png(np.zeros((1, 1, 3), np.uint8), facts)
    assert read_provenance(body) == facts
    assert source_type(body) == SOURCE_TYPE


def test_web_interfaces_find_their_parameters(pixels: NDArray[np.uint8]) -> None:
    body = encode_png(pixels, provenance("a mug 🍵", negative_prompt="blur"))
    assert texts(body)["parameters"] == (
        "a mug 🍵\nNegative prompt: blur\n"
        "Steps: 8, Sampler: DDIM, CFG scale: 4, Seed: 7, Size: 9x6, "
        "Model hash: abc123def4, Model: miniature/decoder"
    )


def test_a_setting_with_separators_is_quoted(pixels: NDArray[np.uint8]) -> None:
    body = encode_png(pixels, provenance(model="a, b"))
    assert texts(body)["parameters"].endswith('Model: "a, b"')


def test_the_prompt_can_stay_out_but_the_source_type_cannot(pixels: NDArray[np.uint8]) -> None:
    facts = provenance("secret words", negative_prompt="hidden words")
    body = encode_png(pixels, facts, with_prompt=False)
    assert b"secret" not in body
    assert b"hidden" not in body
    assert source_type(body) == SOURCE_TYPE
    read = read_provenance(body)
    assert read is not None
    assert (read.text, read.recipe.negative_prompt, read.content_key) == ("", "", "c" * 64)


def test_readers_find_every_text_before_the_pixels(pixels: NDArray[np.uint8]) -> None:
    body, kinds, at = encode_png(pixels, provenance()), [], 8
    while at < len(body):
        (length,) = struct.unpack(">I", body[at : at + 4])
        kinds.append(body[at + 4 : at + 8])
        at += length + 12
    assert kinds == [b"IHDR", b"iTXt", b"tEXt", b"iTXt", b"IDAT", b"IEND"]


def test_the_xmp_packet_stands_uncompressed_under_its_reserved_key(
    pixels: NDArray[np.uint8],
) -> None:
    assert b"iTXtXML:com.adobe.xmp\0\0\0\0\0<?xpacket" in encode_png(pixels, provenance())


def test_a_local_folder_is_not_given_away(pixels: NDArray[np.uint8]) -> None:
    facts = provenance(model="/home/ada/models/decoder", prior="/home/ada/models/prior")
    body = encode_png(pixels, facts)
    assert b"ada" not in body
    read = read_provenance(body)
    assert read is not None
    assert read.recipe.model == "models/decoder"
    assert read.recipe.options["prior"] == "models/prior"


def test_a_picture_of_before_there_were_families_is_read(pixels: NDArray[np.uint8]) -> None:
    facts = provenance()
    fields = json.loads(texts(encode_png(pixels, facts))["hierdiff"])
    del fields["recipe"]["family"]
    fields["recipe"]["prior_revision"] = fields["recipe"].pop("text_revision")
    info, file = PngInfo(), io.BytesIO()
    info.add_itxt("hierdiff", json.dumps(fields))
    Image.fromarray(pixels).save(file, "PNG", pnginfo=info)
    read = read_provenance(file.getvalue())
    assert read is not None
    assert (read.recipe.model, read.recipe.options["prior_steps"]) == ("miniature/decoder", 25)
    assert dataclasses.replace(read, recipe=facts.recipe) == facts


def test_a_foreign_png_has_no_provenance() -> None:
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    assert read_provenance(file.getvalue()) is None


def test_a_trace_tells_shared_from_own_evaluations() -> None:
    segments = (
        Segment(0, 4, 0, 3, None, 0, 3),
        Segment(1, 3, 3, 5, 0, 0, 2),
        Segment(2, 0, 5, 8, 1, 0, 1),
        Segment(3, 1, 5, 8, 1, 1, 2),
        Segment(4, 2, 3, 8, 0, 2, 3),
    )
    plan = Plan(8, (0, 1, 2), segments, PAPER, "ward", 1.0)
    prompt = Prompt(1, "SKU-1", "a red mug", provenance().recipe)
    facts = trace(plan, 1, prompt=prompt, run="run-1", content_key="c" * 64)
    assert facts.node_path == (4, 3, 1)
    assert facts.split_steps == (3, 5)
    assert (facts.shared_evaluations, facts.own_evaluations) == (5, 3)
