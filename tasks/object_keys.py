"""The keys of objects in the bucket: every key that is ever written, in one place."""

from __future__ import annotations

import uuid


def checkpoint_key(sha256: str) -> str:
    """Return the key of the states of splits that were stored together."""
    return f"checkpoints/{sha256}.safetensors"


def picture_key(sha256: str) -> str:
    """Return the key of a picture."""
    return f"images/{sha256}.png"


def preview_key(sha256: str) -> str:
    """Return the key of a split's preview."""
    return f"previews/{sha256}.webp"


def manifest_key(run: uuid.UUID) -> str:
    """Return the key of the list of a run's pictures."""
    return f"manifests/{run}.json"


def report_key(run: uuid.UUID) -> str:
    """Return the key of a run's report."""
    return f"reports/{run}/index.html"
