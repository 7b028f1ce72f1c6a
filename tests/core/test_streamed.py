"""Means of conditionings that are read as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.streamed import StreamedConditioning

SLOTS = (Slot("states", "tokens", mask="mask"), Slot("mask", "mask"))
SIZE = 40


@pytest.fixture
def whole() -> Conditioning:
    draws = torch.Generator().manual_seed(0)
    mask = torch.rand(SIZE, 6, generator=draws) < 0.5
    return Conditioning({"states": torch.randn(SIZE, 6, 32, generator=draws), "mask": mask})


class Store:
    """Rows that are read by key, and what has been asked for."""

    def __init__(self, whole: Conditioning) -> None:
        self.whole, self.asked = whole, list[str]()

    def __call__(self, keys: Sequence[str]) -> dict[str, Conditioning]:
        self.asked += keys
        return {key: self.whole.take([int(key)]) for key in keys}

    def open(self, members: Sequence[int], room: int) -> StreamedConditioning:
        return StreamedConditioning([str(leaf) for leaf in range(SIZE)], self, members, room)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_a_mean_has_the_bits_of_one_that_is_held_whatever_room_there_is(
    whole: Conditioning, rows: int
) -> None:
    streamed = Store(whole).open(range(SIZE), rows * whole.take([0]).bytes)
    for members in ([3], [4, 9], range(SIZE), [39, 0, 20]):
        wanted = whole.mean(members, SLOTS)
        for name, found in streamed.mean(members, SLOTS).tensors.items():
            assert torch.equal(found, wanted.tensors[name])


def test_small_rows_are_read_once_and_before_they_are_asked_for(whole: Conditioning) -> None:
    store = Store(whole)
    streamed = store.open([2, 3, 5], room=2**20)
    assert store.asked == ["2", "3", "5"]
    for members in ([2], [2, 3, 5], [5, 2]):
        streamed.mean(members, SLOTS)
    assert store.asked == ["2", "3", "5"]


def test_no_more_is_held_than_there_is_room_for(whole: Conditioning) -> None:
    row, store = whole.take([0]).bytes, Store(whole)
    streamed = store.open(range(SIZE), room=5 * row)
    for members in (range(SIZE), [1], [7, 30], range(10)):
        streamed.mean(members, SLOTS)
        assert sum(each.bytes for each in streamed._held.values()) <= 5 * row


def test_a_blank_row_has_the_shapes_of_the_others(whole: Conditioning) -> None:
    blank = Store(whole).open([4], room=0).blank()
    for name, tensor in whole.tensors.items():
        assert blank.tensors[name].shape == tensor[:1].shape
        assert blank.tensors[name].dtype == tensor.dtype
        assert not blank.tensors[name].any()
