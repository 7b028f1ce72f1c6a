"""A row that fails costs itself: the rest of its calls keep their bits, clusters are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hierdiff_core.budget import Budget
from hierdiff_core.bypass import bypass
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning
from hierdiff_core.keys import segment_keys
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.decode import AT_ONCE, decode_each, decode_latents
from hierdiff_core.sampling.isolate import NOT_FINITE, reason_of
from hierdiff_core.sampling.sampler import Finished, Job, Round, rounds
from hierdiff_core.sampling.transfers import Transfers
from hierdiff_core.schedule import solve_tau
from hierdiff_core.solver import make_solver

K, SIZE = 6, 14
NAMES = tuple("abcdefg")  # of seven latents
MARK = 90.0  # a poisoned row's first number; that of a cluster that it is in is this by its size


@dataclass
class Poisoned:
    """The denoiser, which fails for rows that are marked, in one of the ways that rows fail."""

    denoiser: Decoder
    fault: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    refuses: int = 10**6  # rows that are too many for the device
    widths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.latent_shape, self.device = self.denoiser.latent_shape, self.denoiser.device
        self.noise_schedule, self.slots = self.denoiser.noise_schedule, self.denoiser.slots

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.widths.append(len(latents))
        if len(latents) >= self.refuses:
            raise torch.OutOfMemoryError("CUDA out of memory")
        prediction = self.denoiser.predict(latents, timesteps, conditioning)
        bad = conditioning[EMBEDDING][:, 0].abs() > MARK / SIZE / 2
        return prediction if self.fault is None else self.fault(prediction, bad)

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        self.widths.append(len(latents))
        if len(latents) >= self.refuses:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (latents > MARK / 2).any():
            raise ValueError("no such latents")
        return self.denoiser.decode(latents, names)


def raises(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
    if bad.any():
        raise ValueError("a line\nand another \x1b[31m")
    return prediction


def runs_out(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
    if bad.any():
        raise torch.OutOfMemoryError("CUDA out of memory")
    return prediction


def is_nan(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
    return prediction.index_fill(0, bad.nonzero().flatten(), float("nan"))


FAULTS = {
    raises: "ValueError: a line and another [31m",
    runs_out: "OutOfMemoryError: CUDA out of memory",
    is_nan: NOT_FINITE,
}
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)


@pytest.fixture(scope="module")
def plan() -> Plan:
    tree = build_tree(rows_of(()).tensors[EMBEDDING].numpy())
    return make_plan(tree, solve_tau([tree], K, Budget(saving=0.4)))


def rows_of(poisoned: tuple[int, ...]) -> Conditioning:
    rows = torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(4)) + 1
    rows[:, 0] = 0.0
    rows[list(poisoned), 0] = MARK
    return Conditioning({EMBEDDING: rows})


def job_of(plan: Plan, poisoned: tuple[int, ...] = (), **changes: object) -> Job:
    names = [f"prompt {leaf}" for leaf in range(SIZE)]
    fields: dict[str, object] = {"seed": 3, "slots": 4, "isolate": True} | changes
    return Job(plan, rows_of(poisoned), names, **fields)  # type: ignore[arg-type]


def play(denoiser: object, job: Job, finished: Mapping[int, Finished] | None = None) -> list[Round]:
    solver = make_solver("ddpm", denoiser.noise_schedule, K)  # type: ignore[attr-defined]
    states = {each: done.state for each, done in (finished or {}).items()}
    return list(rounds(job, denoiser, solver, states))  # type: ignore[arg-type]


def finish(
    denoiser: object, plan: Plan, poisoned: tuple[int, ...]
) -> tuple[dict[int, Finished], dict[int, str]]:
    """Return what is finished, and why the rest is not, once clusters that failed are left out."""
    finished: dict[int, Finished] = {}
    failed: dict[int, str] = {}
    while True:
        clusters = {each for each in failed if not plan.is_leaf(plan.segments[each])}
        here = bypass(plan, clusters)
        only = [each.id for each in plan.segments if each.id not in {*finished, *failed}]
        if not only:
            return finished, failed
        job = job_of(here, poisoned, only=only, undisturbed=plan)
        outcome = play(denoiser, job, finished)
        finished |= {done.segment.id: done for each in outcome for done in each.finished}
        failed |= {one.segment.id: one.reason for each in outcome for one in each.failed}


def tainted(plan: Plan, poisoned: tuple[int, ...]) -> set[int]:
    return {s.id for s in plan.segments if set(plan.members(s)) & set(poisoned)}


@every_fault
@pytest.mark.parametrize("count", [1, 5])
def test_a_row_that_fails_costs_itself_alone(
    denoiser: Decoder, plan: Plan, fault: Callable[..., torch.Tensor], count: int
) -> None:
    poisoned = plan.order[-count:]
    wanted = {
        done.segment.id: done for each in play(denoiser, job_of(plan)) for done in each.finished
    }
    finished, failed = finish(Poisoned(denoiser, fault), plan, poisoned)
    assert set(failed) == tainted(plan, poisoned)
    assert set(failed.values()) == {FAULTS[fault]}
    assert set(finished) == set(wanted) - set(failed)
    kept = [
        each
        for each in finished
        if not set(failed) & {s.id for s in plan.path(plan.segments[each])}
    ]
    assert kept
    for each in kept:  # what no failed cluster is above has the bits of the undisturbed run
        assert torch.equal(finished[each].state.latents, wanted[each].state.latents)
    assert all(torch.isfinite(done.state.latents).all() for done in finished.values())


@every_fault
def test_a_round_counts_the_rows_that_were_evaluated(
    denoiser: Decoder, plan: Plan, fault: Callable[..., torch.Tensor]
) -> None:
    outcome = play(Poisoned(denoiser, fault), job_of(plan, (3,)))
    taken = sum(done.segment.steps for each in outcome for done in each.finished)
    lost = sum(one.segment.steps for each in outcome for one in each.failed)
    evaluated = sum(each.evaluations for each in outcome)
    assert taken <= evaluated <= taken + lost + K


def test_a_call_keeps_its_shape_while_the_row_to_blame_is_looked_for(
    denoiser: Decoder, plan: Plan
) -> None:
    calm, poisoned = Poisoned(denoiser), Poisoned(denoiser, raises)
    play(calm, job_of(plan))
    play(poisoned, job_of(plan, (3,)))
    assert set(poisoned.widths) <= set(calm.widths) | {1}


def test_a_device_whose_memory_is_short_narrows_its_calls_and_blames_no_row(
    denoiser: Decoder, plan: Plan
) -> None:
    outcome = play(Poisoned(denoiser, refuses=3), job_of(plan))
    assert outcome[-1].slots == 2
    assert not any(each.failed for each in outcome)
    assert sum(each.evaluations for each in outcome) == plan.evaluations


def test_a_device_that_computes_nothing_is_given_up(denoiser: Decoder, plan: Plan) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        play(Poisoned(denoiser, refuses=1), job_of(plan))

    def broken(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        play(Poisoned(denoiser, broken), job_of(plan))


def test_a_model_of_which_nothing_finite_comes_is_given_up_before_all_rows_are_tried(
    denoiser: Decoder, plan: Plan
) -> None:
    def broken(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        return torch.full_like(prediction, float("nan"))

    alone = bypass(plan, {each.id for each in plan.segments if not plan.is_leaf(each)})
    leaves = [each.id for each in plan.segments if plan.is_leaf(each)]
    model = Poisoned(denoiser, broken)
    with pytest.raises(RuntimeError, match="results have latents that are not finite"):
        play(model, job_of(alone, only=leaves, undisturbed=plan))
    few = play(model, job_of(alone, only=leaves[:3], undisturbed=plan))
    assert sum(len(each.failed) for each in few) == 3


def test_states_that_are_not_finite_are_found_when_they_arrive_a_round_late_as_on_a_gpu(
    denoiser: Decoder, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, _ = finish(Poisoned(denoiser, is_nan), plan, (3,))
    make = Transfers.__init__
    monkeypatch.setattr(Transfers, "__init__", lambda self, device: make(self, device, lag=1))
    late, failed = finish(Poisoned(denoiser, is_nan), plan, (3,))
    assert set(failed) == tainted(plan, (3,))
    assert set(late) == set(at_once)
    for each, done in late.items():
        assert torch.equal(done.state.latents, at_once[each].state.latents)


def test_members_of_a_bypassed_cluster_start_where_it_did(plan: Plan) -> None:
    cluster = next(s for s in plan.segments if s.parent is not None and not plan.is_leaf(s))
    without = bypass(plan, {cluster.id})
    for child in plan.children[cluster.id]:
        start, parent = without.segments[child].start, without.segments[child].parent
        assert (start, parent) == (cluster.start, cluster.parent)
    others = set(range(len(plan.segments))) - set(plan.children[cluster.id])
    assert all(without.segments[each] == plan.segments[each] for each in others)
    assert bypass(plan, ()) is plan


def test_work_that_went_around_a_cluster_has_keys_of_its_own(plan: Plan) -> None:
    names, recipes = [f"prompt {leaf}" for leaf in range(SIZE)], ["recipe"] * SIZE
    cluster = next(s for s in plan.segments if s.parent is not None and not plan.is_leaf(s))
    keys = segment_keys(plan, names, recipes)
    changed = segment_keys(bypass(plan, {cluster.id}), names, recipes)
    differ = {each for each in range(len(keys)) if keys[each] != changed[each]}
    assert differ == set(plan.subtree(cluster.id)) - {cluster.id}


def test_latents_that_cannot_be_decoded_cost_their_own_picture(denoiser: Decoder) -> None:
    latents = list(
        torch.randn(7, *denoiser.latent_shape, generator=torch.Generator().manual_seed(4))
    )
    wanted = decode_latents(denoiser, latents, NAMES)
    broken = [*latents]
    broken[2] = torch.full_like(latents[2], MARK)
    decoder = Poisoned(denoiser)
    found = decode_each(decoder, broken, NAMES)
    assert isinstance(found.pictures[2], ValueError)
    assert found.width == AT_ONCE
    for place in {0, 1, 3, 4, 5, 6}:
        np.testing.assert_array_equal(found.pictures[place], wanted[place])  # type: ignore[arg-type]


def test_a_decoder_that_fails_for_blank_latents_is_given_up(denoiser: Decoder) -> None:
    latents, names = [torch.zeros(denoiser.latent_shape)] * 2, NAMES[:2]
    with pytest.raises(torch.OutOfMemoryError):
        decode_each(Poisoned(denoiser, refuses=1), latents, names)  # type: ignore[arg-type]
    assert decode_each(Poisoned(denoiser, refuses=2), latents, names).width == 1  # type: ignore[arg-type]


def test_a_reason_is_one_short_line() -> None:
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(ValueError("x" * 999))) == 300
