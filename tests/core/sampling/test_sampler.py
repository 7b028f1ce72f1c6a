"""The batcher against Algorithm 1 taken step by step, one row at a time."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from hierdiff_core.checkpoint import State
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.plan import Plan, Segment, make_plan
from hierdiff_core.sampling.sampler import Job, rounds, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.shard import make_shards
from hierdiff_core.solver import NoiseSchedule, Solver, make_solver

K = 7
SEED = 11
every_solver = pytest.mark.parametrize("name", ["ddim", "ddpm"])


def embeddings(size: int, seed: int = 0) -> Conditioning:
    """Return embeddings in three loose groups."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(size=(3, 16))[np.arange(size) % 3]
    rows = groups + 0.5 * rng.normal(size=(size, 16))
    return Conditioning({EMBEDDING: torch.from_numpy(rows).float()})


def keys(size: int) -> list[str]:
    return [f"prompt {leaf:03d}" for leaf in range(size)]


def make_tree(size: int, linkage: str = "ward") -> ClusterTree:
    return build_tree(embeddings(size).tensors[EMBEDDING].numpy(), linkage, keys(size))


def make_job(plan: Plan, **changes: object) -> Job:
    fields: dict[str, object] = {"seed": SEED, "slots": 4}
    return Job(plan, embeddings(plan.size), keys(plan.size), **(fields | changes))  # type: ignore[arg-type]


def make_test_plan(size: int, linkage: str = "ward", share: float = 0.8) -> Plan:
    tree = make_tree(size, linkage)
    return make_plan(tree, make_schedule(K, share * float(tree.heights[-1])))


def make_test_solver(denoiser: Decoder, name: str) -> Solver:
    return make_solver(name, denoiser.noise_schedule, K)


def latents_of(job: Job, denoiser: Decoder, solver: Solver) -> dict[int, torch.Tensor]:
    return {each.segment.id: each.state.latents for each in run(job, denoiser, solver)}


def node_key(members: list[int], size: int) -> str:
    return digest("node", sorted(keys(size)[leaf] for leaf in members))


@torch.no_grad()
def one_step(
    denoiser: Decoder, solver: Solver, latents: torch.Tensor, members: list[int], k: int, size: int
) -> torch.Tensor:
    """Return line 17 and 18 of Algorithm 1 for one node; k counts from 0."""
    mean = embeddings(size).tensors[EMBEDDING].double()[members].mean(dim=0, keepdim=True).float()
    prediction = denoiser.predict(latents[None], solver.timesteps[k : k + 1], {EMBEDDING: mean})
    noise = step_noise(SEED, node_key(members, size), k, denoiser.latent_shape)[None]
    return solver.step(latents[None], prediction, noise, torch.tensor([k]))[0][0]


def algorithm_1(tree: ClusterTree, tau: float, denoiser: Decoder, solver: Solver) -> torch.Tensor:
    """Return the final latents of all prompts, step by step over the tree's own arrays."""
    above = np.where(tree.parents < 0, np.inf, tree.heights[tree.parents])
    leaf = np.arange(2 * tree.size - 1) < tree.size
    x: dict[int, torch.Tensor] = {}
    for k in range(1, K + 1):
        phi = tau * (1 - k / K)
        active = np.flatnonzero((above >= phi) & (leaf | (tree.heights < phi)))
        before, x = x, {}
        for c in map(int, active):
            members = [int(each) for each in tree.members(c)]
            source = c
            while k > 1 and source not in before:
                source = int(tree.parents[source])
            key = node_key(members, tree.size)
            latents = before[source] if k > 1 else initial_noise(SEED, key, denoiser.latent_shape)
            x[c] = one_step(denoiser, solver, latents, members, k - 1, tree.size)
    return torch.stack([x[y] for y in range(tree.size)])


@every_solver
@pytest.mark.parametrize("linkage", ["ward", "average", "centroid"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.7])
def test_latents_equal_a_literal_step_loop_of_algorithm_1(
    denoiser: Decoder, name: str, linkage: str, share: float
) -> None:
    tree, solver = make_tree(9, linkage), make_test_solver(denoiser, name)
    tau = share * float(tree.heights[-1])
    plan = make_plan(tree, make_schedule(K, tau))
    latents = latents_of(make_job(plan), denoiser, solver)
    ours = torch.stack([latents[plan.leaf_segment(leaf).id] for leaf in range(9)])
    wanted = algorithm_1(tree, tau, denoiser, solver)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert (ours[0] - ours[1]).abs().max() > 0.01  # the pictures do differ


def follow_path(plan: Plan, leaf: int, denoiser: Decoder, solver: Solver) -> torch.Tensor:
    """Return a leaf's final latents, taken alone along its path."""
    path = plan.path(plan.leaf_segment(leaf))
    key = node_key(list(plan.members(path[0])), plan.size)
    latents = initial_noise(SEED, key, denoiser.latent_shape)
    for segment in path:
        for step in range(segment.start, segment.stop):
            members = list(plan.members(segment))
            latents = one_step(denoiser, solver, latents, members, step, plan.size)
    return latents


@every_solver
def test_a_segment_may_have_any_number_of_children(denoiser: Decoder, name: str) -> None:
    segments = (
        Segment(0, 90, 0, 2, None, 0, 5),
        Segment(1, 91, 2, 4, 0, 0, 3),
        *(Segment(2 + leaf, leaf, 4, K, 1, leaf, leaf + 1) for leaf in range(3)),
        Segment(5, 3, 2, K, 0, 3, 4),
        Segment(6, 92, 2, 5, 0, 4, 5),  # a cluster may go on without splitting
        Segment(7, 4, 5, K, 6, 4, 5),
    )
    plan = Plan(K, (2, 0, 4, 1, 3), segments, "by hand")
    solver = make_test_solver(denoiser, name)
    latents = latents_of(make_job(plan, slots=3), denoiser, solver)
    assert plan.children[0] == (1, 5, 6)
    for leaf in range(5):
        ours = latents[plan.leaf_segment(leaf).id]
        wanted = follow_path(plan, leaf, denoiser, solver)
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


@every_solver
def test_latents_agree_whatever_the_number_of_slots(denoiser: Decoder, name: str) -> None:
    plan, solver = make_test_plan(12), make_test_solver(denoiser, name)
    runs = [latents_of(make_job(plan, slots=slots), denoiser, solver) for slots in (1, 4, 16)]
    for other in runs[1:]:
        for segment, latents in runs[0].items():
            torch.testing.assert_close(other[segment], latents, rtol=1e-4, atol=1e-4)


@every_solver
def test_a_rows_bits_do_not_depend_on_its_neighbours(denoiser: Decoder, name: str) -> None:
    plan, solver = make_test_plan(12), make_test_solver(denoiser, name)
    together = latents_of(make_job(plan), denoiser, solver)
    for leaf in range(12):
        path = {segment.id for segment in plan.path(plan.leaf_segment(leaf))}
        alone = latents_of(make_job(plan, only=path), denoiser, solver)
        assert set(alone) == path
        assert all(torch.equal(alone[each], together[each]) for each in path)


@every_solver
@pytest.mark.parametrize("few_shapes", [False, True])
def test_a_rows_bits_do_not_depend_on_interruptions_with_a_shard_at_hand(
    denoiser: Decoder, name: str, few_shapes: bool
) -> None:
    plan, solver = make_test_plan(12), make_test_solver(denoiser, name)
    trunk, *shards = make_shards(plan, 2)
    parts = {"parts": (trunk, *shards), "few_shapes": few_shapes}
    done = list(run(make_job(plan, only=trunk, **parts), denoiser, solver))
    above = {each.segment.id: each.state for each in done}
    shard = list(run(make_job(plan, only=shards[0], **parts), denoiser, solver, above))
    for cut in range(0, len(shard), 2):
        known = {each.segment.id: each.state for each in done + shard[:cut]}
        rest = run(make_job(plan, only=shards[0], **parts), denoiser, solver, known)
        found = {each.segment.id: each.state.latents for each in rest}
        assert len(found) == len(shard) - cut
        for each in shard[cut:]:
            assert torch.equal(found[each.segment.id], each.state.latents)


def test_an_undisturbed_run_computes_no_padding(denoiser: Decoder) -> None:
    plan, solver = make_test_plan(12), make_test_solver(denoiser, "ddim")
    assert sum(each.padding for each in rounds(make_job(plan), denoiser, solver)) == 0
    few = rounds(make_job(plan, few_shapes=True, slots=6), denoiser, solver)
    widths = {each.evaluations + each.padding for each in few}
    assert widths <= {1, 2, 4, 6}


@every_solver
def test_the_order_of_prompts_changes_no_bit_of_any_picture(denoiser: Decoder, name: str) -> None:
    size, solver = 11, make_test_solver(denoiser, name)
    rows, tau = embeddings(size).tensors[EMBEDDING], 0.8 * float(make_tree(size).heights[-1])
    pictures = []
    for order in (np.arange(size), np.random.default_rng(5).permutation(size)):
        shuffled = Conditioning({EMBEDDING: rows[order]})
        names = [keys(size)[row] for row in order]
        plan = make_plan(
            build_tree(shuffled.tensors[EMBEDDING].numpy(), "ward", names), make_schedule(K, tau)
        )
        job = Job(plan, shuffled, names, SEED, slots=4)
        latents = latents_of(job, denoiser, solver)
        found = {names[leaf]: latents[plan.leaf_segment(leaf).id] for leaf in range(size)}
        pictures.append(found)
    assert all(torch.equal(pictures[1][key], latents) for key, latents in pictures[0].items())


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_each_evaluation_of_the_plan_is_made_once(denoiser: Decoder, slots: int) -> None:
    plan = make_test_plan(20)
    outcome = list(
        rounds(make_job(plan, slots=slots), denoiser, make_test_solver(denoiser, "ddim"))
    )
    started = [segment for each in outcome for segment in each.started]
    ended = [done.segment.id for each in outcome for done in each.finished]
    assert sorted(started) == sorted(ended) == list(range(len(plan.segments)))
    assert sum(each.evaluations for each in outcome) == plan.evaluations
    assert max(each.evaluations for each in outcome) <= slots
    for segment in plan.segments:
        assert segment.parent is None or ended.index(segment.parent) < ended.index(segment.id)


def test_a_picture_is_ready_long_before_the_last_cluster_is(denoiser: Decoder) -> None:
    plan = make_test_plan(30)
    ended = [
        each.segment for each in run(make_job(plan), denoiser, make_test_solver(denoiser, "ddim"))
    ]
    assert any(plan.is_leaf(segment) for segment in ended[: len(ended) // 4])


@pytest.mark.parametrize("slots", [1, 4])
def test_states_in_memory_follow_the_slots_and_the_depth_not_the_pictures(
    denoiser: Decoder, slots: int
) -> None:
    plan = make_test_plan(100, "average", share=1.5)
    seen: list[weakref.ref[State]] = []
    most = 0
    for each in rounds(make_job(plan, slots=slots), denoiser, make_test_solver(denoiser, "ddim")):
        seen += map(weakref.ref, [done.state for done in each.finished])
        del each
        most = max(most, sum(state() is not None for state in seen))
    depth = max(len(plan.path(segment)) for segment in plan.segments)
    assert most <= 2 * slots + depth  # those that just ended, and those with waiting children
    assert sum(state() is not None for state in seen) == 0


@pytest.mark.parametrize(("policy", "draws"), [("root", 9), ("shared", 1)])
def test_initial_noise_is_one_draw_per_root_or_one_for_all(
    denoiser: Decoder, policy: str, draws: int
) -> None:
    plan = make_test_plan(9, share=0.0)
    job = make_job(plan, initial_noise=policy, slots=9)
    watching = _Watching(denoiser)
    list(run(job, watching, make_test_solver(denoiser, "ddim")))
    assert len(watching.first) == draws


def test_noise_that_is_given_is_taken_instead_of_draws(denoiser: Decoder) -> None:
    plan, solver = make_test_plan(9, share=0.7), make_test_solver(denoiser, "ddim")
    assert 1 < len(plan.roots) < 9
    rows = initial_noise(7, "given", (9, *denoiser.latent_shape))
    watching = _Watching(denoiser)
    list(run(make_job(plan, noise=rows, slots=9), watching, solver))
    first = {min(plan.members(plan.segments[root])) for root in plan.roots}
    assert watching.first == {rows[leaf].numpy().tobytes() for leaf in first}


def test_a_cluster_is_steered_by_the_mean_of_each_kind_of_slot() -> None:
    plan = Plan(K, (0, 1), (Segment(0, 2, 0, 3, None, 0, 2), *_leaves(2, 3)), "by hand")
    mask = torch.tensor([[True, True, False], [True, False, False]])
    tokens = torch.arange(6.0).view(2, 3, 1)
    size = torch.tensor([[512], [512]])
    conditioning = Conditioning({"tokens": tokens, "mask": mask, "size": size})
    noting = _Noting()
    job = Job(plan, conditioning, keys(2), slots=2)
    list(run(job, noting, make_solver("ddim", noting.noise_schedule, K)))  # type: ignore[arg-type]
    shared, alone = noting.seen[0], noting.seen[-1]
    assert shared["tokens"].flatten().tolist() == [1.5, 1.0, 0.0]
    assert shared["mask"].tolist() == [[True, True, False]]
    assert shared["size"].tolist() == [[512]]
    for name, tensor in conditioning.tensors.items():
        assert shared[name].dtype == tensor.dtype
        assert torch.equal(alone[name], tensor)


def _leaves(size: int, start: int) -> list[Segment]:
    return [Segment(1 + leaf, leaf, start, K, 0, leaf, leaf + 1) for leaf in range(size)]


def test_another_seed_makes_other_pictures(denoiser: Decoder) -> None:
    plan, solver = make_test_plan(3), make_test_solver(denoiser, "ddim")
    one, other = (latents_of(make_job(plan, seed=seed), denoiser, solver) for seed in (1, 2))
    assert all((one[each] - other[each]).abs().max() > 0.01 for each in one)


def test_slots_below_one_are_refused(denoiser: Decoder) -> None:
    job = make_job(make_test_plan(3), slots=0)
    with pytest.raises(InvalidSetting, match=r"^Setting slots is 0: use a whole number above 0\.$"):
        next(run(job, denoiser, make_test_solver(denoiser, "ddim")))


def test_a_segment_whose_parent_is_not_at_hand_is_refused(denoiser: Decoder) -> None:
    plan = make_test_plan(9, share=2.0)
    orphan = next(segment for segment in plan.segments if segment.parent is not None)
    job = make_job(plan, only=[orphan.id])
    with pytest.raises(InvalidSetting, match=f"segment {orphan.parent} must be finished before it"):
        next(run(job, denoiser, make_test_solver(denoiser, "ddim")))


class _Watching:
    """The denoiser, with a note of the rows of the first call."""

    def __init__(self, denoiser: Decoder) -> None:
        self.denoiser = denoiser
        self.latent_shape, self.device = denoiser.latent_shape, denoiser.device
        self.slots, self.noise_schedule = denoiser.slots, denoiser.noise_schedule
        self.first: set[bytes] = set()

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.first = self.first or {row.numpy().tobytes() for row in latents}
        return self.denoiser.predict(latents, timesteps, conditioning)


class _Noting:
    """A denoiser that notes what it is steered by."""

    latent_shape, device = (1, 2, 2), torch.device("cpu")
    noise_schedule = NoiseSchedule("diffusion", {})
    slots = (Slot("tokens", "tokens", mask="mask"), Slot("mask", "mask"), Slot("size", "constant"))

    def __init__(self) -> None:
        self.seen: list[Mapping[str, torch.Tensor]] = []

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.seen.append(conditioning)
        return torch.zeros_like(latents)
