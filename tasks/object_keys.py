"""Where objects lie in the bucket: every key that is ever written, in one place."""

from __future__ import annotations

import uuid


def checkpoint_key(sha256: str) -> str:
    """Return where the states of splits lie that were stored together."""
    return f"checkpoints/{sha256}.safetensors"


def picture_key(sha256: str) -> str:
    """Return where a picture lies."""
    return f"images/{sha256}.png"


def preview_key(segment_key: str) -> str:
    """Return where the small picture of a split lies."""
    return f"previews/{segment_key}.webp"


def manifest_key(run: uuid.UUID) -> str:
    """Return where the list of a run's pictures lies."""
    return f"manifests/{run}.json"


def report_key(run: uuid.UUID) -> str:
    """Return where a run's report lies."""
    return f"reports/{run}/index.html"
