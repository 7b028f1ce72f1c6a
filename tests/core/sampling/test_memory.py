"""A device whose memory runs out: calls get narrower, no step is lost.

A CPU does not run out within a test, so the denoiser is told to raise as CUDA does.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Job, Round, rounds
from hierdiff_core.schedule import solve_tau
from hierdiff_core.solver import make_solver

K = 5
SIZE = 14


class Small:
    """The denoiser on a device that holds a few rows, fewer after some calls."""

    def __init__(self, denoiser: Decoder, rows: int, first_calls: int = 0) -> None:
        self.denoiser, self.rows, self.first_calls = denoiser, rows, first_calls
        self.latent_shape, self.device = denoiser.latent_shape, denoiser.device
        self.noise_schedule, self.slots = denoiser.noise_schedule, denoiser.slots
        self.refused = 0

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.first_calls -= 1
        if self.first_calls < 0 and len(latents) > self.rows:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.denoiser.predict(latents, timesteps, conditioning)

    decode = None


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    rows = torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(4)) + 1
    return Conditioning({EMBEDDING: rows})


@pytest.fixture(scope="module")
def plan(conditioning: Conditioning) -> Plan:
    tree = build_tree(conditioning.tensors[EMBEDDING].numpy())
    return make_plan(tree, solve_tau([tree], K, Budget(saving=0.3)))


def play(denoiser: object, plan: Plan, conditioning: Conditioning) -> list[Round]:
    job = Job(plan, conditioning, [f"prompt {leaf}" for leaf in range(SIZE)], seed=3, slots=8)
    solver = make_solver("ddpm", denoiser.noise_schedule, K)  # type: ignore[attr-defined]
    return list(rounds(job, denoiser, solver))  # type: ignore[arg-type]


def latents_of(outcome: list[Round]) -> dict[int, torch.Tensor]:
    return {done.segment.id: done.state.latents for each in outcome for done in each.finished}


@pytest.mark.parametrize(("rows", "first_calls", "refusals", "slots"), [(7, 0, 1, 4), (3, 4, 2, 2)])
def test_out_of_memory_halves_the_calls_and_every_step_is_still_taken_once(
    denoiser: Decoder,
    plan: Plan,
    conditioning: Conditioning,
    rows: int,
    first_calls: int,
    refusals: int,
    slots: int,
) -> None:
    wanted = latents_of(play(denoiser, plan, conditioning))
    small = Small(denoiser, rows, first_calls)
    outcome = play(small, plan, conditioning)
    assert small.refused == refusals
    assert [outcome[0].slots, outcome[-1].slots] in ([slots, slots], [8, slots])
    assert sum(each.evaluations for each in outcome) == plan.evaluations
    found = latents_of(outcome)
    assert set(found) == set(wanted)
    for each, latents in wanted.items():
        torch.testing.assert_close(found[each], latents, rtol=1e-4, atol=1e-4)


def test_a_device_that_holds_no_row_at_all_is_given_up(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning
) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        play(Small(denoiser, 0), plan, conditioning)
