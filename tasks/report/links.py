"""Links of a report: where its pictures are opened, from wherever the report is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

from tasks.settings import Settings
from tasks.stores import Stores

WEEK = timedelta(days=7)  # the longest that S3 signs a link for

# Takes an object's key and the name under which people save it; returns its address.
Link = Callable[[str, str], str]


def make_link(stores: Stores, settings: Settings) -> Link:
    """Return how objects are linked: under the public address, else signed for a week."""
    if settings.public_url:
        public = f"{settings.public_url.rstrip('/')}/{stores.bucket.prefix}"
        return lambda key, name: public + quote(key)
    seconds = int(WEEK.total_seconds())
    return lambda key, name: stores.bucket.presigned_url(key, seconds, file_name=name)


def public_link(stores: Stores, settings: Settings) -> Link:
    """Return how objects are linked for good: under the public address, else not at all."""
    return make_link(stores, settings) if settings.public_url else lambda key, name: ""


def relative_link(key: str, name: str) -> str:
    """Return a link from a report to an object that lies beside it as in the bucket."""
    return f"../../{key}"


def links_end(settings: Settings) -> date | None:
    """Return the day until which links that are made now work; None where they have no end."""
    return None if settings.public_url else (datetime.now(UTC) + WEEK).date()
