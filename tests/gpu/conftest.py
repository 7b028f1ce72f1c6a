"""Kandinsky 2.2 in miniature on a CUDA device; without one every test here is skipped.

Knows how a decoder comes onto the device and what is denoised there, so that the tests need not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import torch

from hierdiff_core.budget import Budget
from hierdiff_core.checkpoint import State
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder, fit, load_networks
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Job, Round, rounds
from hierdiff_core.schedule import solve_tau
from hierdiff_core.solver import make_solver
from tests.core.conftest import WIDTH, Folders, folders

__all__ = ["folders"]  # the fixture of the core's tests

K = 5
SIZE = 14
SLOTS = 8

Load = Callable[..., Decoder]


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the device that the tests are for."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is here")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(autouse=True)
def _whole_single_precision(device: torch.device) -> Iterator[None]:
    """Convolutions in TF32 would differ by a thousandth between shapes and layouts."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture
def load(folders: Folders, device: torch.device) -> Load:
    """Return what loads the decoder at guidance 4; it takes changes to the recipe."""

    def load(*, compiled: bool = False, **changes: object) -> Decoder:
        recipe = folders.recipe(**changes)
        negative = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))
        networks = load_networks(recipe, str(device), compiled=compiled)
        return fit(networks, recipe, Conditioning({EMBEDDING: negative}))

    return load


@pytest.fixture(scope="session")
def conditioning() -> Conditioning:
    """Return embeddings of prompts that have something in common."""
    rows = torch.randn(SIZE, WIDTH, generator=torch.Generator().manual_seed(4)) + 1
    return Conditioning({EMBEDDING: rows})


@pytest.fixture(scope="session")
def plan(conditioning: Conditioning) -> Plan:
    """Return a plan that shares."""
    tree = build_tree(conditioning.tensors[EMBEDDING].numpy())
    return make_plan(tree, solve_tau([tree], K, Budget(saving=0.3)))


def play(
    denoiser: Denoiser,
    plan: Plan,
    conditioning: Conditioning,
    finished: Mapping[int, State] | None = None,
    *,
    few_shapes: bool = False,
) -> Iterator[Round]:
    """Denoise the plan by a solver that draws noise."""
    names = [f"prompt {leaf}" for leaf in range(plan.size)]
    job = Job(plan, conditioning, names, seed=3, slots=SLOTS, few_shapes=few_shapes)
    return rounds(job, denoiser, make_solver("ddpm", denoiser.noise_schedule, K), finished)


def states_of(outcome: list[Round]) -> dict[int, State]:
    """Return the state that each segment ended in."""
    return {done.segment.id: done.state for each in outcome for done in each.finished}


@torch.no_grad()
def predict(denoiser: Denoiser, conditioning: Conditioning, rows: int) -> torch.Tensor:
    """Return one call's prediction of noise for the first prompts."""
    drawn = torch.Generator().manual_seed(5)
    latents = torch.randn(rows, *denoiser.latent_shape, generator=drawn).to(denoiser.device)
    timesteps = torch.full((rows,), 500, device=denoiser.device)
    given = {name: each[:rows].to(denoiser.device) for name, each in conditioning.tensors.items()}
    return denoiser.predict(latents, timesteps, given)
