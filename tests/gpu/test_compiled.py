"""A compiled network is called in few widths, and predicts what it does without."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning
from hierdiff_core.plan import Plan
from tests.gpu.conftest import Load, play, states_of

# What the compiler advises differs from card to card.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


class Watched:
    """A denoiser that notes how wide its calls are."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.decode = denoiser, denoiser.decode
        self.latent_shape, self.device = denoiser.latent_shape, denoiser.device
        self.noise_schedule = denoiser.noise_schedule
        self.widths: list[int] = []

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.widths.append(len(latents))
        return self.denoiser.predict(latents, timesteps, conditioning)


def test_a_compiled_network_sees_powers_of_two_only_and_its_latents_are_close(
    load: Load, conditioning: Conditioning, plan: Plan
) -> None:
    wanted = states_of(list(play(load(), plan, conditioning)))
    compiled = Watched(load(compiled=True))
    outcome = list(play(compiled, plan, conditioning, few_shapes=True))
    assert set(compiled.widths) <= {1, 2, 4, 8}
    assert sum(each.evaluations for each in outcome) == plan.evaluations
    found = states_of(outcome)
    for segment, state in wanted.items():
        torch.testing.assert_close(found[segment].latents, state.latents, rtol=1e-3, atol=1e-3)
