"""A rendition shows the picture, says where it came from, and is the same file every time."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from hierdiff_core.png import SOURCE_TYPE, encode_png, read_provenance
from hierdiff_core.rendition import (
    FORMATS,
    NAMESPACE,
    Rendered,
    Rendition,
    read_renditions,
    render,
)
from tests.core.test_png import EXTENSION, HOSTILE, provenance

each_format = pytest.mark.parametrize("name", FORMATS)
LOSSY = [name for name, form in FORMATS.items() if form.quality is not None]


def master(text: str = "a red mug", width: int = 96, height: int = 64, **changes: object) -> bytes:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)
    return encode_png(pixels, provenance(text, **changes))


def opened(made: Rendered) -> Image.Image:
    image = Image.open(io.BytesIO(made.body))
    image.load()
    return image


def packet(image: Image.Image) -> ElementTree.Element:
    found = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    return ElementTree.fromstring(found if isinstance(found, str) else bytes(found).decode())


def record(image: Image.Image) -> dict[str, Any]:
    """Return our own record: in the XMP packet, or beside it in a PNG."""
    found = packet(image).findtext(f".//{{{NAMESPACE}}}record")
    return dict(json.loads(found or image.info["hierdiff"]))


def comment(image: Image.Image) -> str:
    if "parameters" in image.info:
        return str(image.info["parameters"])
    raw = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert raw.startswith(b"UNICODE\x00")
    return bytes(raw[8:]).decode("utf-16-be")


@each_format
def test_it_shows_the_picture_in_its_format(name: str) -> None:
    (rendition,) = read_renditions(name)
    made = render(master(), rendition)
    image = opened(made)
    assert image.format == name.upper()
    assert (image.size, (made.width, made.height)) == ((96, 64), (96, 64))
    with Image.open(io.BytesIO(master())) as original:
        far = np.abs(np.asarray(original, int) - np.asarray(image.convert("RGB"), int))
    assert far.mean() < 3
    assert (far.max() == 0) == (name == "png")


@each_format
def test_it_says_where_the_picture_came_from(name: str) -> None:
    body = master('a mug 🍵 <of> "tea" & more', negative_prompt="blur")
    image = opened(render(body, Rendition(name, 48, FORMATS[name].quality)))
    said = packet(image)
    assert said.findtext(f".//{EXTENSION}DigitalSourceType") == SOURCE_TYPE
    assert said.findtext(f".//{EXTENSION}AIPromptInformation") == 'a mug 🍵 <of> "tea" & more'
    with Image.open(io.BytesIO(body)) as original:
        assert record(image) == json.loads(original.info["hierdiff"])
        assert comment(image) == original.info["parameters"]


@each_format
@pytest.mark.parametrize("text", HOSTILE[:-1], ids=range(len(HOSTILE) - 1))
def test_no_prompt_takes_the_source_type_out_of_it(name: str, text: str) -> None:
    image = opened(render(master(text, 8, 8), Rendition(name, None, FORMATS[name].quality)))
    assert packet(image).findtext(f".//{EXTENSION}DigitalSourceType") == SOURCE_TYPE
    assert record(image)["prompt"] == text


def test_a_prompt_that_no_jpeg_holds_is_left_out_of_it() -> None:
    image = opened(render(master("long " * 20_000, 8, 8), Rendition("jpeg", None, 85)))
    assert packet(image).findtext(f".//{EXTENSION}AIPromptInformation") is None
    assert packet(image).findtext(f".//{EXTENSION}AISystemUsed") == "miniature/decoder"


@each_format
def test_it_says_that_it_is_srgb(name: str) -> None:
    image = opened(render(master(), Rendition(name, None, FORMATS[name].quality)))
    if name == "png":
        assert image.info["srgb"] == 0
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)


@each_format
def test_equal_input_gives_equal_bytes(name: str) -> None:
    rendition = Rendition(name, 60, FORMATS[name].quality)
    assert render(master(), rendition) == render(master(), rendition)


@each_format
def test_a_prompt_that_the_picture_does_not_hold_is_not_in_it(name: str) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    facts = provenance("secret words", negative_prompt="hidden words")
    body = render(encode_png(pixels, facts, with_prompt=False), Rendition(name, None, 50)).body
    for word in ("secret", "hidden"):
        assert word.encode() not in body
        assert word.encode("utf-16-be") not in body


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (20, 10)])
def test_the_longer_side_is_bounded_and_nothing_is_enlarged(width: int, height: int) -> None:
    made = render(master(width=width, height=height), Rendition("webp", 48, 80))
    assert max(made.width, made.height) == min(48, max(width, height))
    assert made.width / made.height == width / height


@pytest.mark.parametrize("name", LOSSY)
def test_more_quality_takes_more_bytes_and_is_nearer(name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    body = encode_png(noise, provenance())
    sizes = [len(render(body, Rendition(name, None, quality)).body) for quality in (30, 60, 95)]
    assert sizes == sorted(set(sizes))


def test_the_master_still_says_what_it_said() -> None:
    assert read_provenance(render(master(), Rendition("png")).body) == provenance()


def test_words_are_read_and_said_again() -> None:
    found = read_renditions(" jpeg, WebP 1200px q80 ,avif q50 600px, png")
    assert [each.name for each in found] == ["jpeg", "webp-1200", "avif-600", "png"]
    words = ", ".join(each.words for each in found)
    assert words == "jpeg q85, webp 1200px q80, avif 600px q50, png"
    assert read_renditions(words) == found
    assert read_renditions("") == ()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("gif", "formats out of jpeg, webp, avif, png"),
        ("jpeg 0px", "a format, a size and a quality"),
        ("jpeg q101", "a format, a size and a quality"),
        ("jpeg big", "a format, a size and a quality"),
        ("png q80", "leave out the quality"),
        ("webp, webp q50", "ask for webp once"),
    ],
)
def test_words_that_ask_for_nothing_sensible_are_refused(words: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        read_renditions(words)
