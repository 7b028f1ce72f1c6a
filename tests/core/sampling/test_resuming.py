"""A run that is cut anywhere and taken up again ends in the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch

from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Finished, Job, rounds, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.shard import make_shards
from hierdiff_core.solver import Solver, make_solver

K = 6
SIZE = 10
every_solver = pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmsolver++"])


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    """Return two families of embeddings, each ever closer to its middle."""
    noise = torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(4))
    middle = 2 * noise[:2].repeat(SIZE // 2, 1)
    return Conditioning({EMBEDDING: middle + noise * torch.linspace(0.2, 1.5, SIZE)[:, None]})


@pytest.fixture(scope="module")
def plan(conditioning: Conditioning) -> Plan:
    """Return a plan with several roots, and several levels below one of them."""
    tree = build_tree(conditioning.tensors[EMBEDDING].numpy(), "average")
    plan = make_plan(tree, make_schedule(K, 1.1 * float(tree.heights[-2])))
    assert len(plan.roots) > 1
    assert max(len(plan.path(segment)) for segment in plan.segments) > 3
    return plan


def job_of(plan: Plan, conditioning: Conditioning, **changes: object) -> Job:
    names = [f"prompt {leaf}" for leaf in range(SIZE)]
    return Job(plan, conditioning, names, seed=3, slots=3, **changes)  # type: ignore[arg-type]


def through_bytes(done: list[Finished]) -> dict[int, State]:
    return {each.segment.id: unpack(pack({"it": each.state}))["it"] for each in done}


def assert_same(done: list[Finished], wanted: Mapping[int, State]) -> None:
    for each in done:
        assert each.state.step == wanted[each.segment.id].step == each.segment.stop
        assert torch.equal(each.state.latents, wanted[each.segment.id].latents)


@every_solver
def test_resuming_after_any_segment_changes_no_bit(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning, name: str
) -> None:
    solver = make_solver(name, denoiser.noise_schedule, K)
    job = job_of(plan, conditioning)
    whole = list(run(job, denoiser, solver))
    wanted = {each.segment.id: each.state for each in whole}
    for cut in range(len(whole) + 1):
        rest = list(run(job, denoiser, solver, through_bytes(whole[:cut])))
        assert len(rest) == len(whole) - cut
        assert_same(rest, wanted)


@pytest.mark.parametrize("name", ["ddpm", "dpmsolver++"])  # one draws noise, one remembers
def test_stopping_after_any_round_and_resuming_takes_no_step_twice_and_changes_no_bit(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning, name: str
) -> None:
    solver = make_solver(name, denoiser.noise_schedule, K)
    job = job_of(plan, conditioning)
    wanted = {each.segment.id: each.state for each in run(job, denoiser, solver)}
    whole = sum(each.evaluations for each in rounds(job, denoiser, solver))
    parked_at_all = 0
    for limit in (0, 2, 5, 9):
        stopped = list(
            rounds(job, denoiser, solver, stopping=iter([False] * limit + [True]).__next__)
        )
        ended = [each for one in stopped for each in one.finished]
        parked = [each for one in stopped for each in one.parked]
        assert all(0 < each.state.step < each.segment.stop for each in parked)
        parked_at_all += len(parked)
        rest = list(
            rounds(job, denoiser, solver, through_bytes(ended), None, through_bytes(parked))
        )
        assert_same([each for one in rest for each in one.finished], wanted)
        assert sum(each.evaluations for each in (*stopped, *rest)) == whole
    assert parked_at_all


def test_resuming_from_any_set_of_finished_segments_changes_no_bit(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning
) -> None:
    solver = make_solver("ddpm", denoiser.noise_schedule, K)
    job = job_of(plan, conditioning)
    whole = list(run(job, denoiser, solver))
    wanted = {each.segment.id: each.state for each in whole}
    for kept in range(0, len(whole), 2):
        holes = whole[:kept] + whole[kept + 1 :: 2]  # later ones may be known without earlier ones
        rest = list(run(job, denoiser, solver, through_bytes(holes)))
        assert {each.segment.id for each in rest + holes} == set(wanted)
        assert_same(rest, wanted)


def test_a_run_that_is_dropped_midway_leaves_states_that_are_whole(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning
) -> None:
    solver = make_solver("ddpm", denoiser.noise_schedule, K)
    job = job_of(plan, conditioning)
    wanted = {each.segment.id: each.state for each in run(job, denoiser, solver)}
    cut = rounds(job, denoiser, solver)
    done = [each for _ in range(9) for each in next(cut).finished]
    cut.close()
    assert_same(done, wanted)
    assert_same(list(run(job, denoiser, solver, through_bytes(done))), wanted)


@every_solver
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_trunk_and_its_shards_make_the_bits_of_one_run(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning, name: str, count: int
) -> None:
    solver = make_solver(name, denoiser.noise_schedule, K)
    wanted = {
        each.segment.id: each.state for each in run(job_of(plan, conditioning), denoiser, solver)
    }
    trunk, *shards = make_shards(plan, count)
    done = list(run(job_of(plan, conditioning, only=trunk), denoiser, solver))
    handed_on = through_bytes(done)
    for shard in reversed(shards):
        done += run(job_of(plan, conditioning, only=shard), denoiser, solver, handed_on)
    assert sorted(each.segment.id for each in done) == sorted(wanted)
    assert_same(done, wanted)


def test_a_finished_state_is_read_only_when_a_child_starts_from_it(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning
) -> None:
    solver: Solver = make_solver("ddim", denoiser.noise_schedule, K)
    job = job_of(plan, conditioning)
    states = {each.segment.id: each.state for each in run(job, denoiser, solver)}
    parents = {each.id for each in plan.segments if plan.children[each.id]}
    ledger = _Ledger({each: states[each] for each in parents})
    assert len(list(run(job, denoiser, solver, ledger))) == len(states) - len(parents)
    wanted = [s.parent for s in plan.segments if plan.is_leaf(s) and s.parent is not None]
    assert sorted(ledger.read) == sorted(wanted)


def test_a_finished_run_has_nothing_left_to_do(
    denoiser: Decoder, plan: Plan, conditioning: Conditioning
) -> None:
    solver = make_solver("ddim", denoiser.noise_schedule, K)
    job = job_of(plan, conditioning)
    states = {each.segment.id: each.state for each in run(job, denoiser, solver)}
    ledger = _Ledger(states)
    assert list(rounds(job, denoiser, solver, ledger)) == []
    assert ledger.read == []


class _Ledger(Mapping[int, State]):
    """Finished states that note when they are read."""

    def __init__(self, states: Mapping[int, State]) -> None:
        self.states = states
        self.read: list[int] = []

    def __getitem__(self, segment: int) -> State:
        self.read.append(segment)
        return self.states[segment]

    def __contains__(self, segment: object) -> bool:
        return segment in self.states

    def __iter__(self) -> Iterator[int]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)
