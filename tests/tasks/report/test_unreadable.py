"""A picture that cannot be read just now is made all the same, and has no thumbnail."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from tasks.ledger import load_images, open_subtrees, summarise
from tasks.report.data import ReportData
from tasks.report.gather import gather_report
from tasks.settings import Settings
from tasks.states import RunState
from tests.tasks.night_kit import SmallNight, published

pytestmark = pytest.mark.slow


@dataclass
class Refusal:
    """An S3 server that refuses to read an object, so many times."""

    key: str
    left: int
    refused: int = 0

    def __call__(self, request: Any, **_: object) -> AWSResponse | None:
        if not self.left or self.key not in request.url:
            return None
        self.left -= 1
        self.refused += 1
        body = b"<Error><Code>AccessDenied</Code></Error>"
        return AWSResponse(request.url, 403, {}, _Raw(body))


class _Raw(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


@pytest.fixture
def made(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    with published(settings, tmp_path) as night:
        yield night


def test_what_fails_in_passing_is_read_again(made: SmallNight) -> None:
    data, refusal = gather(made, times=1)
    assert refusal.refused == 1
    assert all(image.made and image.thumbnail for image in data.images)


def test_what_cannot_be_read_has_no_thumbnail_and_is_still_made(made: SmallNight) -> None:
    data, refusal = gather(made, times=100)
    assert refusal.refused == 2  # it was read again
    assert [image.made for image in data.images] == [True, True]
    assert sorted(bool(image.thumbnail) for image in data.images) == [False, True]
    assert all(image.link for image in data.images)
    with made.stores.session() as session:
        facts = summarise(session, made.run)
        assert open_subtrees(session, made.run) == ()
    assert (facts.state, facts.images_missing) == (RunState.COMPLETED, 0)


def gather(night: SmallNight, times: int) -> tuple[ReportData, Refusal]:
    """Gather a report while the first picture cannot be read so many times."""
    with night.stores.session() as session:
        refusal = Refusal(load_images(session, night.run)[0].key, times)
    events = night.stores.bucket.client.meta.events
    events.register("before-send.s3.GetObject", refusal)
    try:
        return gather_report(night.stores, night.settings, night.run), refusal
    finally:
        events.unregister("before-send.s3.GetObject", refusal)
