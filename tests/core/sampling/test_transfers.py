"""States that are on their way for a round, as on a GPU, arrive whole and in order."""

from __future__ import annotations

import pytest
import torch

from hierdiff_core.checkpoint import State
from hierdiff_core.plan import Segment
from hierdiff_core.sampling.transfers import Transfers


def segment(number: int) -> Segment:
    return Segment(number, number, 0, 1, None, number, number + 1)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_states_arrive_some_rounds_later_and_in_order(lag: int) -> None:
    transfers = Transfers(torch.device("cpu"), lag)
    arrived: list[list[int]] = []
    for number in range(5):
        transfers.put(segment(number), State(torch.full((2,), float(number)), 1))
        transfers.close_round()
        arrived.append([each.segment.id for each in transfers.take()])
    assert arrived == [[]] * lag + [[number] for number in range(5 - lag)]
    late = transfers.take(all_of_it=True)
    assert [each.segment.id for each in late] == list(range(5 - lag, 5))
    assert all(float(each.state.latents[0]) == each.segment.id for each in late)


def test_a_cpu_hands_out_a_round_at_once() -> None:
    transfers = Transfers(torch.device("cpu"))
    transfers.put(segment(7), State(torch.zeros(2), 1))
    transfers.close_round()
    assert [each.segment.id for each in transfers.take()] == [7]
