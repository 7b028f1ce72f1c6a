"""Renditions: a picture as a shop serves it, smaller and in another format, made from its PNG.

What the PNG says of its origin is kept: the XMP packet with our own record in it, and the
`parameters` text as EXIF has it for the common web interfaces. Every file says that it is sRGB.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from hierdiff_core.markup import xml_text
from hierdiff_core.png import KEY, XMP_KEY, read_provenance, xmp_packet

NAMESPACE = "https://hierdiff.dev/ns/1.0/"  # of our own record in an XMP packet; never fetched
_LONGEST = 65_000  # bytes of XMP or EXIF in a JPEG, whose segments hold 64 KiB
_DATE = slice(24, 36)  # of an ICC profile, when it was made


@dataclass(frozen=True, slots=True)
class Texts:
    """What a file says of a picture's origin."""

    xmp: str
    parameters: str
    record: str  # our own, as JSON


@dataclass(frozen=True, slots=True)
class Format:
    """A file format."""

    ending: str
    content_type: str
    quality: int | None  # unless one is asked for; None: it loses nothing
    save: Callable[[Image.Image, Texts, int], bytes]


@dataclass(frozen=True, slots=True)
class Rendition:
    """A format, and how large and how good."""

    format: str  # of FORMATS
    side: int | None = None  # pixels of the longer side, at most; None: the picture's own
    quality: int | None = None  # 1 to 100; None: it loses nothing

    @property
    def name(self) -> str:
        """What it is called, such as webp-1200; no two of a night are called alike."""
        return self.format if self.side is None else f"{self.format}-{self.side}"

    @property
    def words(self) -> str:
        """Everything that decides its bytes, as `read_renditions` reads it."""
        size = "" if self.side is None else f" {self.side}px"
        return self.format + size + ("" if self.quality is None else f" q{self.quality}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The file of a rendition."""

    body: bytes
    width: int  # pixels
    height: int


def read_renditions(text: str) -> tuple[Rendition, ...]:
    """Return what words such as `jpeg, webp 1200px q80` ask for; raises ValueError with a hint."""
    found = tuple(_read(words) for words in text.split(",") if words.strip())
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"ask for {twice[0]} once")
    return found


def render(master: bytes, rendition: Rendition) -> Rendered:
    """Return a picture's rendition; never larger than the picture. Equal input, equal bytes."""
    form = FORMATS[rendition.format]
    with Image.open(io.BytesIO(master), formats=("PNG",)) as image:
        texts = {name: str(image.info.get(name, "")) for name in (XMP_KEY, "parameters", KEY)}
        picture = image.convert("RGB")
    picture.info = {}
    if rendition.side is not None:
        picture.thumbnail((rendition.side, rendition.side), Image.Resampling.LANCZOS)
    said = Texts(texts[XMP_KEY], texts["parameters"], texts[KEY])
    if rendition.format == "jpeg":
        said = _shortened(said, master)
    body = form.save(picture, said, rendition.quality or 0)
    return Rendered(body, *picture.size)


def _read(words: str) -> Rendition:
    format_name, *rest = words.lower().split()
    if format_name not in FORMATS:
        raise ValueError(f"use formats out of {', '.join(FORMATS)}")
    side, quality = None, FORMATS[format_name].quality
    for word in rest:
        if (size := re.fullmatch(r"(\d{1,5})px", word)) and int(size[1]) > 0:
            side = int(size[1])
        elif (good := re.fullmatch(r"q(\d{1,3})", word)) and 1 <= int(good[1]) <= 100:
            if quality is None:
                raise ValueError(f"leave out the quality of {format_name}, which loses nothing")
            quality = int(good[1])
        else:
            raise ValueError("write each as a format, a size and a quality: `webp 1200px q80`")
    return Rendition(format_name, side, quality)


def _shortened(said: Texts, master: bytes) -> Texts:
    """Return texts that fit into a JPEG: without the prompt where that is longer than 64 KB."""
    if max(len(_packet(said)), 2 * len(said.parameters)) <= _LONGEST:
        return said
    facts = read_provenance(master)
    if facts is None:
        return Texts("", "", "")
    return Texts(xmp_packet(facts, with_prompt=False), "", "")


def _packet(said: Texts) -> bytes:
    """Return the XMP packet with our own record as a property of our own."""
    if not said.record:
        return said.xmp.encode()
    start, end, rest = said.xmp.rpartition("</rdf:Description>")
    record = f'<hierdiff:record xmlns:hierdiff="{NAMESPACE}">{xml_text(said.record)}'
    return f"{start}{record}</hierdiff:record>\n{end}{rest}".encode()


def _exif(said: Texts) -> bytes:
    """Return EXIF with the `parameters` as its user comment, where web interfaces look for them."""
    if not said.parameters:
        return b""
    exif = Image.Exif()
    exif.endian = ">"  # as the comment itself is read by most
    comment = b"UNICODE\x00" + said.parameters.encode("utf-16-be", "replace")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif.tobytes()


@cache
def _srgb() -> bytes:
    """Return the profile of sRGB without the time at which it was made."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_DATE] = bytes(12)
    return bytes(profile)


def _saved(picture: Image.Image, name: str, said: Texts, options: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    kept = {"xmp": _packet(said), "exif": _exif(said), "icc_profile": _srgb()}
    picture.save(file, name, **kept, **options)
    return file.getvalue()


def _jpeg(picture: Image.Image, said: Texts, quality: int) -> bytes:
    # Thin red lines on white suffer from halved colour; who asks for so much quality wants them.
    colour = "4:4:4" if quality >= 90 else "4:2:0"
    options = {"quality": quality, "optimize": True, "progressive": True, "subsampling": colour}
    return _saved(picture, "JPEG", said, options)


def _webp(picture: Image.Image, said: Texts, quality: int) -> bytes:
    return _saved(picture, "WEBP", said, {"quality": quality, "method": 4})


def _avif(picture: Image.Image, said: Texts, quality: int) -> bytes:
    # One thread: tiles follow the number of processors, and bytes the tiles.
    return _saved(picture, "AVIF", said, {"quality": quality, "speed": 6, "max_threads": 1})


def _png(picture: Image.Image, said: Texts, quality: int) -> bytes:
    info = PngInfo()
    info.add(b"sRGB", b"\x00")  # with the intent that suits pictures
    if said.xmp:
        info.add_itxt(XMP_KEY, said.xmp)
    if said.parameters:
        info.add_text("parameters", said.parameters)
    if said.record:
        info.add_itxt(KEY, said.record)
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=info, compress_level=6)
    return file.getvalue()


FORMATS: Mapping[str, Format] = {
    "jpeg": Format(".jpg", "image/jpeg", 85, _jpeg),
    "webp": Format(".webp", "image/webp", 80, _webp),
    "avif": Format(".avif", "image/avif", 60, _avif),
    "png": Format(".png", "image/png", None, _png),
}
