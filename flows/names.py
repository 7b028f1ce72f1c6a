"""Names of nights for people and for Prefect: every one says the catalogue and the date."""

from __future__ import annotations

import hashlib
import re
from datetime import date


def night_name(catalogue: str, day: date, zone: str = "UTC") -> str:
    """Return a night's name; its date is that of a zone, which is named unless it is UTC."""
    return f"{catalogue} {day}" + ("" if zone == "UTC" else f" ({zone})")


def artifact_key(kind: str, catalogue: str) -> str:
    """Return the key under which a catalogue's artifacts of a kind follow each other.

    A key may hold a-z, 0-9 and dashes only; where a name has other characters a digest keeps it
    apart from names that look alike.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", catalogue.lower()).strip("-")
    if plain != catalogue:
        plain = f"{plain[:40]}-{hashlib.sha256(catalogue.encode()).hexdigest()[:8]}".lstrip("-")
    return f"{kind}-{plain[:60]}"
