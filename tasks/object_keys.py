"""The keys of objects in the bucket: every kind that is ever written, in one place."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from hierdiff_core.rendition import FORMATS

_SHA256 = r"[0-9a-f]{64}"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass(frozen=True)
class ObjectKind:
    """What one folder of the bucket holds, and which columns of the ledger name it."""

    folder: str
    name: str  # pattern of the part of a key that the ledger knows
    ending: str
    named_by: tuple[str, ...]  # table.column; an object that none of them names is of no use

    def key(self, name: str) -> str:
        """Return the key of an object."""
        return f"{self.folder}/{name}{self.ending}"

    def name_of(self, key: str) -> str | None:
        """Return the name in a key, or None where the key is not of this kind."""
        form = f"{re.escape(self.folder)}/({self.name}){re.escape(self.ending)}"
        found = re.fullmatch(form, key)
        return found[1] if found else None


CHECKPOINTS = ObjectKind("checkpoints", _SHA256, ".safetensors", ("segments.sha256",))
# A leaf's segment names the picture that an earlier run made; it is drawn again from that one.
PICTURES = ObjectKind("images", _SHA256, ".png", ("images.sha256", "segments.sha256"))
# The sample's rows without sharing; never published.
PLAIN = ObjectKind("plain", _SHA256, ".png", ("pairs.plain",))
EMBEDDINGS = ObjectKind("embeddings", _SHA256, ".safetensors", ("embeddings.object",))
PREVIEWS = ObjectKind("previews", _SHA256, ".webp", ("segments.preview",))
MANIFESTS = ObjectKind("manifests", _UUID, ".json", ("runs.id",))
# Beside the manifest; it says their digests.
CSV_TABLES = ObjectKind("manifests", _UUID, ".csv", ("runs.id",))
JSONL_TABLES = ObjectKind("manifests", _UUID, ".jsonl", ("runs.id",))
REPORTS = ObjectKind("reports", _UUID, "/index.html", ("runs.id",))
RENDITIONS = {
    name: ObjectKind(f"renditions/{name}", _SHA256, form.ending, ("renditions.sha256",))
    for name, form in FORMATS.items()
}

KINDS = (
    *(CHECKPOINTS, EMBEDDINGS, PICTURES, PLAIN, PREVIEWS, MANIFESTS, REPORTS),
    *(CSV_TABLES, JSONL_TABLES),
    *RENDITIONS.values(),
)


def checkpoint_key(sha256: str) -> str:
    """Return the key of the states of splits that were stored together."""
    return CHECKPOINTS.key(sha256)


def embedding_object_key(sha256: str) -> str:
    """Return the key of an embedding that is too large for the ledger."""
    return EMBEDDINGS.key(sha256)


def picture_key(sha256: str) -> str:
    """Return the key of a picture."""
    return PICTURES.key(sha256)


def plain_key(sha256: str) -> str:
    """Return the key of a picture that was made without sharing."""
    return PLAIN.key(sha256)


def preview_key(sha256: str) -> str:
    """Return the key of a split's preview."""
    return PREVIEWS.key(sha256)


def manifest_key(run: uuid.UUID) -> str:
    """Return the key of the list of a run's pictures."""
    return MANIFESTS.key(str(run))


def csv_key(run: uuid.UUID) -> str:
    """Return the key of the table of a run's pictures, as CSV."""
    return CSV_TABLES.key(str(run))


def jsonl_key(run: uuid.UUID) -> str:
    """Return the key of the table of a run's pictures, as JSON lines."""
    return JSONL_TABLES.key(str(run))


def report_key(run: uuid.UUID) -> str:
    """Return the key of a run's report."""
    return REPORTS.key(str(run))
