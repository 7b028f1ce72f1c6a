"""In half precision the device predicts what it predicts in single precision, nearly."""

from __future__ import annotations

import pytest
import torch

from hierdiff_core.embedding import Conditioning
from hierdiff_core.plan import Plan
from tests.gpu.conftest import Load, play, predict, states_of

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("bfloat16", 0.08)])
def test_a_decoder_in_half_precision_is_finite_and_close_to_single_precision(
    load: Load, conditioning: Conditioning, plan: Plan, dtype: str, tolerance: float
) -> None:
    """The tolerance is a share of the largest number in single precision."""
    single, half = load(), load(dtype=dtype)
    assert_near(predict(half, conditioning, 4), predict(single, conditioning, 4), tolerance)
    wanted = states_of(list(play(single, plan, conditioning)))
    found = states_of(list(play(half, plan, conditioning)))
    for segment, state in wanted.items():
        assert found[segment].latents.dtype is torch.float32
        assert_near(found[segment].latents, state.latents, tolerance)


def assert_near(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert torch.isfinite(found).all()
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()
