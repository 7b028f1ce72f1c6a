"""A thumbnail is small, faithful and says nothing of its origin."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tasks.report.thumbnail import data_uri, thumbnail


def picture(side: int) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    info = PngInfo()
    info.add_text("parameters", "a secret prompt")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_a_thumbnail_is_small_and_says_nothing_of_its_origin() -> None:
    body = thumbnail(picture(200), 64)
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (64, 64)
    assert b"secret" not in body


def test_a_picture_that_is_small_already_is_kept_exactly() -> None:
    body = picture(32)
    with (
        Image.open(io.BytesIO(thumbnail(body, 96))) as small,
        Image.open(io.BytesIO(body)) as whole,
    ):
        assert np.array_equal(np.asarray(small.convert("RGB")), np.asarray(whole))


def test_only_known_image_files_become_addresses() -> None:
    assert data_uri(picture(4)).startswith("data:image/png;base64,")
    assert data_uri(thumbnail(picture(4), 4)).startswith("data:image/webp;base64,")
    assert data_uri(b"<svg onload=alert(1)>") == ""
    assert data_uri(b"") == ""
