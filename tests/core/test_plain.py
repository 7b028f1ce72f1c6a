"""A plain picture is its row's own, from the noise of the shared one."""

from __future__ import annotations

import pytest
import torch

from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning
from hierdiff_core.keys import node_key
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.noise import initial_noise
from hierdiff_core.plain import MOST, choose_sample, is_shared, make_plain_plan
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.solver import make_solver

K, SIZE = 5, 8
KEYS = [f"prompt {leaf}" for leaf in range(SIZE)]


def make(rows: torch.Tensor) -> tuple[Plan, Conditioning]:
    tree = build_tree(rows.numpy(), "average")
    plan = make_plan(tree, make_schedule(K, 1.1 * float(tree.heights[-2])))
    return plan, Conditioning({EMBEDDING: rows})


def ends(job: Job, denoiser: Decoder, name: str) -> dict[int, torch.Tensor]:
    solver, plan = make_solver(name, denoiser.noise_schedule, K), job.plan
    done = [each for each in run(job, denoiser, solver) if plan.is_leaf(each.segment)]
    return {plan.order[each.segment.first]: each.state.latents for each in done}


def plain_job(plan: Plan, conditioning: Conditioning, leaves: tuple[int, ...]) -> Job:
    plain = make_plain_plan(plan, leaves, KEYS)
    return Job(plain.plan, conditioning, KEYS, seed=3, slots=3, noise_names=plain.names)


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    noise = torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(4))
    return 2 * noise[:2].repeat(SIZE // 2, 1) + noise * torch.linspace(0.2, 1.5, SIZE)[:, None]


def test_it_is_what_its_prompt_alone_makes_of_the_noise_that_its_cluster_started_from(
    denoiser: Decoder, rows: torch.Tensor
) -> None:
    plan, conditioning = make(rows)
    leaf = next(leaf for leaf in range(SIZE) if is_shared(plan, leaf))
    root = plan.path(plan.leaf_segment(leaf))[0]
    noise = torch.zeros(SIZE, *denoiser.latent_shape)
    noise[leaf] = initial_noise(3, node_key(plan, root, KEYS), denoiser.latent_shape)
    alone = make_plan(build_tree(rows.numpy(), "average"), make_schedule(K, 0.0))
    whole = Job(alone, conditioning, KEYS, seed=3, slots=1, noise=noise)
    wanted = ends(whole, denoiser, "ddim")[leaf]
    found = ends(plain_job(plan, conditioning, (leaf,)), denoiser, "ddim")
    assert found.keys() == {leaf}
    assert torch.allclose(found[leaf], wanted, atol=1e-5)
    shared = ends(Job(plan, conditioning, KEYS, seed=3, slots=3), denoiser, "ddim")[leaf]
    assert not torch.allclose(found[leaf], shared, atol=1e-2)


@pytest.mark.parametrize("name", ["ddpm", "dpmsolver++"])  # one draws noise, one remembers
def test_where_all_prompts_of_a_cluster_are_equal_sharing_changes_nothing(
    denoiser: Decoder, rows: torch.Tensor, name: str
) -> None:
    plan, _ = make(rows)
    conditioning = Conditioning({EMBEDDING: rows[:1].repeat(SIZE, 1)})
    shared = ends(Job(plan, conditioning, KEYS, seed=3, slots=3), denoiser, name)
    found = ends(plain_job(plan, conditioning, tuple(range(SIZE))), denoiser, name)
    assert all(torch.allclose(found[leaf], shared[leaf], atol=1e-4) for leaf in range(SIZE))


def test_a_sample_is_a_share_of_what_is_made_drawn_from_what_shares(rows: torch.Tensor) -> None:
    plan, _ = make(rows)
    sharing = {leaf for leaf in range(SIZE) if is_shared(plan, leaf)}
    assert 0 < len(sharing) < SIZE
    drawn = choose_sample(plan, KEYS, range(SIZE), 0.25)
    assert len(drawn) == 2
    assert set(drawn) <= sharing
    assert drawn == choose_sample(plan, KEYS, reversed(range(SIZE)), 0.25)
    assert len(choose_sample(plan, KEYS, range(SIZE), 0.001)) == 1
    assert choose_sample(plan, KEYS, range(SIZE), 0.0) == ()
    assert choose_sample(plan, KEYS, set(range(SIZE)) - sharing, 1.0) == ()


def test_a_sample_has_at_most_fifty_rows() -> None:
    many = torch.ones(300, 4) + 1e-3 * torch.randn(300, 4, generator=torch.Generator())
    plan = make_plan(build_tree(many.numpy(), "average"), make_schedule(4, 1.0))
    keys = [str(leaf) for leaf in range(300)]
    assert len(choose_sample(plan, keys, range(300), 0.9)) == MOST
