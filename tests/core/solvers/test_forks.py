"""Solvers that remember: across forks as the stock scheduler, across resumes to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.keys import node_keys
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Finished, Job, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.solver import make_solver
from hierdiff_core.solvers import SOLVERS, count_evaluations
from tests.core.gaussian import (
    FLOWS,
    KANDINSKY,
    SHAPE,
    Gaussian,
    assert_near,
    draw,
    stock_scheduler,
    stock_trajectory,
)

SIZE = 7
SEED = 5
NAMES = [f"prompt {leaf}" for leaf in range(SIZE)]
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "noise": KANDINSKY,
    "v": {**KANDINSKY, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    "thresholding": {**KANDINSKY, "thresholding": True, "sample_max_value": 1.5},
    "learned variance": {**KANDINSKY, "variance_type": "learned_range"},
}
CASES = [
    *((name, config) for name in SOLVERS if name not in FLOWS for config in CONFIGS),
    *((name, "flow") for name in FLOWS),
]
every_case = pytest.mark.parametrize(("name", "config"), CASES)


def denoiser_of(config: str) -> Gaussian:
    if config == "flow":
        return Gaussian({"shift": 3.0}, flow=True)
    return Gaussian(CONFIGS[config])


def conditioning() -> Conditioning:
    """Return middles in two families, each ever closer to its own."""
    noise = draw(4, SIZE, 32)
    families = 2 * noise[:2].repeat(SIZE, 1)[:SIZE]
    return Conditioning({"middle": families + noise * torch.linspace(0.2, 1.5, SIZE)[:, None]})


def plan_of(asked: int, solver: str = "ddim") -> Plan:
    """Return a plan of a solver's steps whose paths fork early and late."""
    steps = count_evaluations(solver, asked)
    tree = build_tree(conditioning().tensors["middle"].numpy(), "average")
    tau = 1.1 * float(tree.heights[-1]) / (1 - 1 / steps)
    plan = make_plan(tree, make_schedule(steps, tau))
    assert len(plan.roots) == 1
    return plan


def job_of(plan: Plan) -> Job:
    return Job(plan, conditioning(), NAMES, SEED, slots=3)


def through_bytes(done: list[Finished]) -> dict[int, State]:
    return {each.segment.id: unpack(pack({"it": each.state}))["it"] for each in done}


@every_case
@pytest.mark.parametrize("steps", [2, 8, 25])
def test_every_path_through_the_forks_is_one_trajectory_of_the_stock_scheduler(
    name: str, config: str, steps: int
) -> None:
    plan, denoiser = plan_of(steps, name), denoiser_of(config)
    solver = make_solver(name, denoiser.noise_schedule, steps)
    found = {each.segment.id: each.state for each in run(job_of(plan), denoiser, solver)}
    keys = node_keys(plan, NAMES)
    for leaf in range(SIZE):
        path = plan.path(plan.leaf_segment(leaf))
        along = [segment for segment in path for _ in range(segment.start, segment.stop)]
        middles = [
            conditioning().mean(plan.members(segment)).tensors["middle"][0].view(SHAPE)
            for segment in along
        ]
        noises = (step_noise(SEED, keys[s.id], step, SHAPE) for step, s in enumerate(along))
        wanted = stock_trajectory(
            stock_scheduler(name, denoiser.config, steps),
            denoiser,
            initial_noise(SEED, keys[path[0].id], SHAPE),
            middles,
            noises,
        )
        for segment in path:
            assert_near(found[segment.id].latents, wanted[segment.stop - 1])


def test_the_plans_here_fork_on_several_levels() -> None:
    for steps in (8, 25):
        plan = plan_of(steps)
        assert max(len(plan.path(segment)) for segment in plan.segments) > 3


@every_case
def test_a_run_taken_up_from_bytes_ends_in_the_same_bits(name: str, config: str) -> None:
    plan, denoiser = plan_of(8, name), denoiser_of(config)
    solver = make_solver(name, denoiser.noise_schedule, 8)
    whole = list(run(job_of(plan), denoiser, solver))
    wanted = {each.segment.id: each.state for each in whole}
    for cut in range(1, len(whole)):
        for each in run(job_of(plan), denoiser, solver, through_bytes(whole[:cut])):
            kept = wanted[each.segment.id]
            assert torch.equal(each.state.latents, kept.latents)
            assert len(each.state.history) == len(kept.history)
            assert all(map(torch.equal, each.state.history, kept.history))


def test_only_a_state_with_steps_to_come_holds_a_history() -> None:
    denoiser = denoiser_of("noise")
    for name in SOLVERS:
        if name in FLOWS:
            continue
        solver, plan = make_solver(name, denoiser.noise_schedule, 8), plan_of(8, name)
        for each in run(job_of(plan), denoiser, solver):
            needed = solver.history_size if each.segment.stop < plan.steps else 0
            assert len(each.state.history) == needed
        assert solver.history_size == {"dpmsolver++": 1, "unipc": 3, "pndm": 3}.get(name, 0)


def test_a_state_without_the_history_that_a_solver_needs_is_refused() -> None:
    plan, denoiser = plan_of(8), denoiser_of("noise")
    solver = make_solver("dpmsolver++", denoiser.noise_schedule, 8)
    first = next(run(job_of(plan), denoiser, solver))
    forgotten = {first.segment.id: replace(first.state, history=())}
    with pytest.raises(CorruptCheckpoint, match="it holds 0 past predictions, not 1"):
        list(run(job_of(plan), denoiser, solver, forgotten))
    ddim = make_solver("ddim", denoiser.noise_schedule, 8)
    with pytest.raises(CorruptCheckpoint, match="it holds 1 past predictions, not 0"):
        list(run(job_of(plan), denoiser, ddim, {first.segment.id: first.state}))
