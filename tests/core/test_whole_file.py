"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hierdiff_core.whole_file import write_whole


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.bin", b"new")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"new"


def test_what_was_there_stays_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "b.bin"
    write_whole(file, b"old")

    def full(self: Path, body: bytes) -> int:
        with self.open("wb") as opened:
            opened.write(body[:1])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"


def test_nothing_but_the_file_is_left_behind(tmp_path: Path) -> None:
    write_whole(tmp_path / "b.bin", b"one")
    write_whole(tmp_path / "b.bin", b"two")
    assert [each.name for each in tmp_path.iterdir()] == ["b.bin"]
