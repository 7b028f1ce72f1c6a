"""A device whose memory really runs out: calls get narrower, and every segment still ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hierdiff_core.embedding import Conditioning
from hierdiff_core.plan import Plan
from tests.gpu.conftest import SLOTS, Load, play, predict, states_of

pytestmark = pytest.mark.gpu


@pytest.fixture
def _unbounded_after(device: torch.device) -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.usefixtures("_unbounded_after")
def test_out_of_memory_makes_calls_narrower_and_every_segment_still_ends(
    load: Load, device: torch.device, conditioning: Conditioning, plan: Plan
) -> None:
    decoder = load(height=768, width=768)  # a row takes 30 MiB
    wanted = states_of(list(play(decoder, plan, conditioning)))

    def peak(rows: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        predict(decoder, conditioning, rows)
        return torch.cuda.max_memory_reserved(device)

    few, all_slots = peak(2), peak(SLOTS)
    assert all_slots - few > 2**27  # far above the allocator's blocks of 20 MiB
    torch.cuda.empty_cache()
    bound = few + (all_slots - few) // 4
    _, whole = torch.cuda.mem_get_info(device)
    torch.cuda.set_per_process_memory_fraction(bound / whole, device)
    outcome = list(play(decoder, plan, conditioning))
    assert outcome[-1].slots < SLOTS
    assert sum(each.evaluations for each in outcome) == plan.evaluations
    found = states_of(outcome)
    assert set(found) == set(wanted)
    for segment, state in wanted.items():
        torch.testing.assert_close(found[segment].latents, state.latents, rtol=1e-3, atol=1e-3)
