"""Progress is shown in Prefect beside the work, which never waits for it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from flows import subtree
from tasks.worker.attempt import Progress


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set once the server answers; what it was shown is in `shown`."""
    answering = threading.Event()

    def create(**given: object) -> uuid.UUID:
        answering.wait(30)
        shown.append(str(given["description"]))
        return uuid.uuid4()

    def update(artifact: uuid.UUID, **given: object) -> None:
        shown.append(str(given["description"]))

    shown.clear()
    monkeypatch.setattr(subtree, "create_progress_artifact", create)
    monkeypatch.setattr(subtree, "update_progress_artifact", update)
    monkeypatch.setattr(subtree, "_REPORT_EVERY", 0.0)
    yield answering
    answering.set()


shown: list[str] = []


def test_a_server_that_does_not_answer_holds_no_step_up_and_is_shown_the_end(
    answers: threading.Event,
) -> None:
    reporter = subtree._Reporter("subtree 1")
    began = time.monotonic()
    for done in range(1, 4):
        reporter(Progress(done, 10, 0))
    assert time.monotonic() - began < 5
    assert shown == []
    answers.set()
    reporter.finish(Progress(10, 10, 2))
    assert [line.split(": ")[1].split(" of")[0] for line in shown] == ["1", "10"]
