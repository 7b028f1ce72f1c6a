"""Tables of a night's pictures for other programs: one line for each file of each row."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator, Sequence

from tasks.handover.pictures import HandedPicture
from tasks.object_keys import csv_key, jsonl_key
from tasks.storage import Bucket

COLUMNS = (
    *("reference", "number", "name", "row", "rendition", "object", "url", "sha256", "bytes"),
    *("width", "height", "made", "seed", "revision", "verdict", "run"),
)


def write_tables(
    bucket: Bucket, run: uuid.UUID, pictures: Sequence[HandedPicture]
) -> list[dict[str, str]]:
    """Write both tables of a run; return the key and sha256 of each."""
    lines = list(lines_of(pictures))
    written = (
        (csv_key(run), to_csv(lines), "text/csv; charset=utf-8"),
        (jsonl_key(run), to_jsonl(lines), "application/jsonl; charset=utf-8"),
    )
    return [
        {"key": key, "sha256": bucket.put(key, body.encode(), content_type)}
        for key, body, content_type in written
    ]


def lines_of(pictures: Sequence[HandedPicture]) -> Iterator[dict[str, object]]:
    """Yield a line for each file: the picture itself has no rendition's name."""
    for picture in pictures:
        for file in picture.files:
            yield {
                name: getattr(file if hasattr(file, name) else picture, name) for name in COLUMNS
            }


def to_csv(lines: Sequence[dict[str, object]]) -> str:
    """Return lines as CSV with a header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def to_jsonl(lines: Sequence[dict[str, object]]) -> str:
    """Return lines as one JSON object each."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
