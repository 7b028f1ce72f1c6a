"""Small copies of pictures, fit to lie inside a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp"}


def thumbnail_side(images: int) -> int:
    """Return how many pixels a thumbnail may have a side, so that a page stays below ~30 MB."""
    return next(side for limit, side in ((300, 320), (3000, 192), (10**9, 96)) if images <= limit)


def thumbnail(body: bytes, side: int) -> bytes:
    """Return a picture as WebP of at most `side` pixels a side, without its metadata."""
    return small_copy(body, side)[0]


def small_copy(body: bytes, side: int) -> tuple[bytes, bool]:
    """Return a picture's thumbnail, and whether the picture is of one flat colour."""
    with Image.open(io.BytesIO(body)) as image:
        small = image.convert("RGB")
    flat = all(low == high for low, high in small.getextrema())  # type: ignore[misc]
    whole = max(small.size) <= side
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    # Pictures that are small already are kept exactly; artefacts would show when enlarged.
    small.save(file, "WEBP", lossless=whole and side <= 128, quality=82, method=4)
    return file.getvalue(), flat


def data_uri(body: bytes) -> str:
    """Return an image file as a `data:` address; empty for no or an unknown file."""
    kinds = [kind for start, kind in _SIGNATURES.items() if body.startswith(start)]
    return f"data:{kinds[0]};base64,{base64.b64encode(body).decode()}" if kinds else ""
