"""States leave the device while it goes on: a round late, in order, as they were."""

from __future__ import annotations

import pytest
import torch

from hierdiff_core.checkpoint import State
from hierdiff_core.embedding import Conditioning
from hierdiff_core.plan import Segment
from hierdiff_core.sampling.transfers import Transfers
from tests.gpu.conftest import SLOTS, Load, predict

pytestmark = pytest.mark.gpu


def test_states_arrive_a_round_late_in_order_and_as_the_device_held_them(
    load: Load, conditioning: Conditioning
) -> None:
    decoder = load(height=512, width=512)  # enough work for the host to be ahead
    transfers, held, arrived = Transfers(decoder.device), [], []
    for number in range(6):
        slots = predict(decoder, conditioning, SLOTS) + number
        state = State(slots[0].clone(), 1, (slots[1].clone(),))
        held.append((state.latents.clone(), state.history[0].clone()))
        transfers.put(Segment(number, number, 0, 1, None, number, number + 1), state)
        transfers.close_round()
        slots.zero_()  # the next rows take their places
        arrived.append(transfers.take())
    arrived.append(transfers.take(all_of_it=True))
    assert [[each.segment.id for each in few] for few in arrived] == [[], *([n] for n in range(6))]
    for (finished,), (latents, past) in zip(arrived[1:], held, strict=True):
        assert finished.state.latents.device.type == "cpu"
        assert torch.equal(finished.state.latents, latents.cpu())
        assert torch.equal(finished.state.history[0], past.cpu())
