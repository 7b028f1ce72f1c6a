"""Names of published files: readable, safe in any store and on any disk, and never the same twice.

A name is a slug of the reference, for people, and a digest of the reference and of the file's
bytes, for everything else. So it tells case twins apart and changes with the file, and nothing of a
reference can lead out of the folder.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_LENGTH = 80  # characters of a slug
_DIGITS = 16  # of a digest
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")
# Names that a disk may not bear, whatever follows their first dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def file_name(name: str, sha256: str, ending: str) -> str:
    """Return the name of a picture's file, such as A-17.0123456789abcdef.webp."""
    return f"{slug(name)}.{_digest(name, sha256)}{ending}"


def folder_name(catalogue: str) -> str:
    """Return the folder of a catalogue: its own name where that is plain."""
    if _PLAIN.fullmatch(catalogue) and not _DEVICES.fullmatch(catalogue):
        return catalogue
    return f"{slug(catalogue)}~{_digest(catalogue, '')}"


def slug(name: str) -> str:
    """Return what people can still read of a name, in letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    short = _OTHERS.sub("-", plain).strip("-")[:_LENGTH].strip("-")
    return f"{short}-" if _DEVICES.fullmatch(short) else short or "picture"


def _digest(name: str, sha256: str) -> str:
    said = f"{len(name)} {name} {sha256}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(said).hexdigest()[:_DIGITS]
