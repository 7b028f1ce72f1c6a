"""One card makes the same bits again, and makes them after an interruption, too."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.embedding import Conditioning
from hierdiff_core.plan import Plan
from tests.gpu.conftest import Load, play, states_of

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_second_run_and_a_resumed_one_end_in_the_bits_of_the_first(
    load: Load, conditioning: Conditioning, plan: Plan, dtype: str
) -> None:
    decoder = load(dtype=dtype)
    wanted = states_of(list(play(decoder, plan, conditioning)))
    assert len(wanted) == len(plan.segments)
    assert_same(states_of(list(play(decoder, plan, conditioning))), wanted)
    for cut in (3, 7):
        saved = states_of(list(islice(play(decoder, plan, conditioning), cut)))
        assert 0 < len(saved) < len(wanted)
        stored = {segment: unpack(pack({"it": state}))["it"] for segment, state in saved.items()}
        resumed = states_of(list(play(load(dtype=dtype), plan, conditioning, stored)))
        assert set(resumed) == set(wanted) - set(saved)
        assert_same(saved | resumed, wanted)


def assert_same(found: dict[int, State], wanted: dict[int, State]) -> None:
    assert set(found) == set(wanted)
    for segment, state in wanted.items():
        assert torch.equal(found[segment].latents, state.latents)
