"""Digests are remembered while a file stays as it was, and never trusted beyond that."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hierdiff_core.models import digest_cache as memory
from hierdiff_core.models.digest_cache import file_digests


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    return path


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_a_file_is_read_once(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "home" / "digests.json"
    assert file_digests([weights], place) == {weights: sha256(b"weights")}
    monkeypatch.setattr(memory, "_digest", lambda path: pytest.fail("it was read again"))
    assert file_digests([weights], place) == {weights: sha256(b"weights")}


def test_a_file_that_changed_is_read_again(weights: Path, tmp_path: Path) -> None:
    place = tmp_path / "digests.json"
    file_digests([weights], place)
    other = tmp_path / "other"
    other.write_bytes(b"altered")  # of the same length, put in its place
    other.replace(weights)
    assert file_digests([weights], place) == {weights: sha256(b"altered")}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": 3}', b'{"a": []}', b"\xff"])
def test_a_damaged_memory_is_as_good_as_none(weights: Path, tmp_path: Path, body: bytes) -> None:
    place = tmp_path / "digests.json"
    place.write_bytes(body)
    assert file_digests([weights], place) == {weights: sha256(b"weights")}
    assert str(weights.resolve()) in json.loads(place.read_bytes())


def test_without_a_memory_nothing_is_written(weights: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    file_digests([weights])
    assert set(tmp_path.iterdir()) == before
