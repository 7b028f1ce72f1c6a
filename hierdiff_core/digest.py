"""Content digests: SHA-256 over canonical JSON."""

from __future__ import annotations

import hashlib
import json


def digest(kind: str, *facts: object) -> str:
    """Return 64 hex digits for JSON facts; `kind` keeps different uses of one value apart."""
    text = json.dumps([kind, *facts], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
