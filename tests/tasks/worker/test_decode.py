"""What is decoded of a split is what the network would be shown of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from hierdiff_core.checkpoint import State
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Finished
from hierdiff_core.schedule import make_schedule
from hierdiff_core.solver import NoiseSchedule, make_solver
from tasks.worker.decode import as_model_input

K = 8
CONFIG = {"num_train_timesteps": 1000, "beta_schedule": "linear"}


@pytest.fixture
def plan() -> Plan:
    tree = build_tree(np.random.default_rng(0).normal(size=(6, 4)), "ward")
    return make_plan(tree, make_schedule(K, 0.9 * float(tree.heights[-1])))


def ended(plan: Plan, *, leaf: bool) -> Finished:
    segment = next(each for each in plan.segments if plan.is_leaf(each) == leaf)
    latents = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))
    return Finished(segment, State(latents, segment.stop))


def test_a_split_of_euler_is_decoded_at_the_scale_that_the_network_knows(plan: Plan) -> None:
    split = ended(plan, leaf=False)
    stock = EulerDiscreteScheduler.from_config(CONFIG)
    stock.set_timesteps(K)
    wanted = stock.scale_model_input(split.state.latents, stock.timesteps[split.state.step])
    shown = as_model_input(make_solver("euler", NoiseSchedule("diffusion", CONFIG), K), plan, split)
    assert torch.allclose(shown.state.latents, wanted, atol=1e-6)
    assert shown.segment == split.segment


def test_a_leaf_is_decoded_as_it_ended(plan: Plan) -> None:
    leaf = ended(plan, leaf=True)
    assert (
        as_model_input(make_solver("euler", NoiseSchedule("diffusion", CONFIG), K), plan, leaf)
        is leaf
    )
