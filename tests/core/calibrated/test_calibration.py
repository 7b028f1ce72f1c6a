"""Calibration on a denoiser in closed form: what is learned, kept, and predicted by it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from hierdiff_core import miniature
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import load_calibration, save_calibration
from hierdiff_core.calibrated.fitting import fit_calibration
from hierdiff_core.calibrated.plans import plan_points, predicted_misfit
from hierdiff_core.calibrated.readings import Design, Reading, measure, names, plain_places
from hierdiff_core.calibrated.ridge import square_root
from hierdiff_core.embedding import Conditioning
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.evaluation.methods import PromptGroup, calibrated_methods, make_setting_plan
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.noise_levels import highest_level, landing_levels, noise_levels
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import NoiseSchedule, make_solver
from tests.core.gaussian import KANDINSKY, SHAPE, Gaussian

DESIGN = Design(steps=10, first=2, plain_steps=(2, 5), plain=6, rows=8)
CONFIG = {**KANDINSKY, "prediction_type": "epsilon", "variance_type": "fixed_small"}
SCHEDULE = NoiseSchedule("diffusion", CONFIG)
SPREADS = (1.0, 0.03)  # variance of a picture's first channel and of its second
SIZE = int(np.prod(SHAPE))


@dataclass(frozen=True)
class Uneven(Gaussian):
    """Pictures that vary more in their first channel, which therefore settles earlier."""

    asked: ClassVar = [0]  # rows, counted over all calls

    def predict(self, latents, timesteps, conditioning):  # type: ignore[no-untyped-def]
        self.asked[0] += len(latents)
        x, y = latents.double(), conditioning["middle"].double().view(latents.shape)
        alpha, sigma = (each.view(-1, 1, 1, 1) for each in self._levels(timesteps))
        spread = torch.tensor(SPREADS, dtype=torch.float64).view(1, 2, 1, 1)
        x0 = y + spread * alpha * (x - alpha * y) / (spread * alpha**2 + sigma**2)
        return ((x - alpha * x0) / sigma).float()

    def decode(self, latents: torch.Tensor, names: Sequence[str]):  # type: ignore[no-untyped-def]
        return latents.numpy()


def _look(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1)


def _conditioning(size: int, seed: int = 0) -> Conditioning:
    middles = np.random.default_rng(seed).normal(size=(size, SIZE))
    return Conditioning({"middle": torch.tensor(middles, dtype=torch.float32).view(-1, *SHAPE)})


def _vectors(conditioning: Conditioning) -> np.ndarray:
    return conditioning.tensors["middle"].flatten(1).numpy()


def _make(name: str = "ddim") -> Callable[[int], object]:
    return partial(make_solver, name, SCHEDULE)


def _levels(steps: int, name: str = "ddim") -> np.ndarray:
    return noise_levels(SCHEDULE, make_solver(name, SCHEDULE, steps).timesteps)


def _readings(
    conditioning: Conditioning, name: str = "ddim", design: Design = DESIGN
) -> dict[str, Reading]:
    return dict(measure(Uneven(CONFIG), _look, _make(name), conditioning, design, {}))


def _calibrate(size: int, name: str = "ddim", design: Design = DESIGN) -> Calibration:
    conditioning = _conditioning(size)
    landings = landing_levels(_levels(design.steps, name))[design.first :]
    readings = _readings(conditioning, name, design)
    levels = np.append(highest_level(SCHEDULE), landings)
    return fit_calibration(_vectors(conditioning), readings, design, levels, {"a": 1})


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return _calibrate(160)  # about as many as a real one has


def test_evaluations_are_as_many_as_the_design_says() -> None:
    Uneven.asked[0] = 0
    _readings(_conditioning(23))
    assert Uneven.asked[0] == DESIGN.evaluations(23)
    assert DESIGN.prompts(DESIGN.evaluations(23)) == 20


def test_too_few_evaluations_are_refused_with_the_least_that_will_do() -> None:
    with pytest.raises(InvalidSetting, match=str(DESIGN.evaluations(16))):
        DESIGN.prompts(100)


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="use 3 or more"):
        replace(DESIGN, steps=2).check()


def test_a_reading_without_early_forks_leaves_them_empty() -> None:
    readings = _readings(_conditioning(24))
    late = len(DESIGN.forks) - len(DESIGN.forks_of(1))
    assert late > 0
    assert np.isfinite(readings["forked-0"]).all()
    assert np.isnan(readings["forked-1"][1 : late + 1]).all()
    assert np.isfinite(readings["forked-1"][[0, *range(late + 1, len(DESIGN.forks) + 1)]]).all()


def test_plain_runs_take_prompts_of_as_many_noises_as_there_are() -> None:
    places = plain_places(24, replace(DESIGN, plain=9))
    assert len(set(places)) == 9
    assert {place // DESIGN.together for place in places} == set(range(6))


def test_a_calibration_fits_into_a_hundred_standard_images() -> None:
    assert Design().evaluations(Design().prompts(4000)) <= 100 * 40


def test_readings_that_are_handed_back_are_not_measured_again() -> None:
    conditioning = _conditioning(20)
    whole = _readings(conditioning)
    assert list(whole) == names(20, DESIGN)
    known = {name: whole[name] for name in ("forked-0", "plain-5")}
    again = dict(measure(Uneven(CONFIG), _look, _make(), conditioning, DESIGN, known))
    assert again.keys() == whole.keys() - known.keys()
    for name, reading in again.items():
        assert np.array_equal(reading, whole[name], equal_nan=True)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_what_has_settled_by_a_level_is_what_theory_says(name: str) -> None:
    design, power = replace(DESIGN, steps=30), 1.0 if name == "ddpm" else 0.5
    found = _calibrate(120, name, design)
    forks = np.append(found.levels[0], _levels(design.steps, name)[design.first :])
    for level in range(1, len(forks)):
        moved = [_theory(forks, level, each, power) for each in SPREADS]
        scale = found.facts["scales"][level - 1]
        shares = [_settled(found, level, channel) / scale for channel in (0, 1)]
        assert shares == pytest.approx(moved, abs=0.15)


def _settled(found: Calibration, level: int, channel: int) -> float:
    axis = np.zeros(SHAPE)
    axis[channel] = 1 / np.sqrt(SIZE / 2)
    inside = axis.ravel() @ found.basis
    return float(inside @ found.settled[level] @ inside)


def _theory(levels: np.ndarray, level: int, spread: float, power: float) -> float:
    """Return the share that a fine solver keeps of what steered it down to a level.

    Under one conditioning y, z = x / alpha obeys z - y ~ (S + sigma^2)^p, pictures of variance S;
    p is 1/2 without and 1, in the mean, with fresh noise.
    """
    highest, here = spread + levels[0] ** 2, spread + levels[level] ** 2
    return float((spread / here) ** power * (1 - (here / highest) ** power))


def test_what_has_settled_stays_so(calibration: Calibration) -> None:
    for upper, lower in zip(calibration.settled, calibration.settled[1:], strict=False):
        assert np.linalg.eigvalsh(lower - upper).min() > -1e-9
    assert (np.diff(calibration.shares) >= 0).all()
    assert not calibration.settled[0].any()


@pytest.mark.parametrize("steps", [3, 7, 20])
def test_steps_add_up_to_what_has_settled_by_the_last_fork(
    calibration: Calibration, steps: int
) -> None:
    vectors = _vectors(_conditioning(5, seed=3))
    levels = np.geomspace(9, 0.05, steps)
    points = calibration.points(vectors, levels)
    total = sum(_distances(points.at(k)) for k in range(1, steps))
    root = square_root(calibration.settled[-1])
    assert np.allclose(total, _distances(vectors @ calibration.basis @ root), rtol=1e-6)


def test_predictions_are_right_of_plans_of_other_prompts_and_steps(
    calibration: Calibration,
) -> None:
    conditioning, keys = _conditioning(24, seed=5), [f"{each:02d}" for each in range(24)]
    vectors, predicted, measured = _vectors(conditioning), [], []
    for steps in (5, 8, 12):
        for saving in (0.1, 0.3, 0.5, 0.7):
            points = calibration.points(vectors, _levels(steps))
            evaluations = int((1 - saving) * steps * 24)
            plan = plan_points([points], evaluations, [keys])[0].plan
            predicted.append(predicted_misfit(plan, vectors, calibration, _levels(steps)))
            measured.append(_misfit(plan, conditioning, keys))
    assert spearmanr(predicted, measured).statistic > 0.9
    assert 0.5 < sum(predicted) / sum(measured) < 2


def test_a_calibration_across_two_spaces_predicts_as_well_as_in_one() -> None:
    seen, placed = _rotation(40, seed=1), 3 * _rotation(36, seed=2)

    def embed(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(_look(pictures) @ seen + 5.0, dtype=np.float32)

    conditioning = _conditioning(160)
    readings = dict(measure(Uneven(CONFIG), embed, _make(), conditioning, DESIGN, {}))
    landings = landing_levels(_levels(DESIGN.steps))[DESIGN.first :]
    levels = np.append(highest_level(SCHEDULE), landings)
    vectors = _vectors(conditioning) @ placed
    found = fit_calibration(vectors, readings, DESIGN, levels, {}, mapped=True)
    assert found.basis.shape == (36, SIZE)
    assert found.facts["explained"] > 0.7
    for upper, lower in zip(found.settled, found.settled[1:], strict=False):
        assert np.linalg.eigvalsh(lower - upper).min() > -1e-9
    others, keys = _conditioning(24, seed=5), [f"{each:02d}" for each in range(24)]
    predicted, measured = [], []
    for steps, saving in itertools.product((5, 8, 12), (0.1, 0.3, 0.5, 0.7)):
        points = found.points(_vectors(others) @ placed, _levels(steps))
        plan = plan_points([points], int((1 - saving) * steps * 24), [keys])[0].plan
        placed_others = _vectors(others) @ placed
        predicted.append(predicted_misfit(plan, placed_others, found, _levels(steps)))
        measured.append(_misfit(plan, others, keys))
    assert spearmanr(predicted, measured).statistic > 0.9
    assert 0.5 < sum(predicted) / sum(measured) < 2


def test_vectors_that_say_nothing_of_pictures_predict_no_excess() -> None:
    readings = _readings(_conditioning(80))
    unrelated = _vectors(_conditioning(80, seed=9))
    levels = np.append(highest_level(SCHEDULE), landing_levels(_levels(10))[DESIGN.first :])
    found = fit_calibration(unrelated, readings, DESIGN, levels, {}, mapped=True)
    related = fit_calibration(
        _vectors(_conditioning(80)), readings, DESIGN, levels, {}, mapped=True
    )
    assert found.facts["explained"] < 0.05 < 0.7 < related.facts["explained"]


def _rotation(size: int, seed: int) -> np.ndarray:
    """Return SIZE rows of length 1 in more dimensions, all at right angles."""
    drawn = np.random.default_rng(seed).normal(size=(size, SIZE))
    return np.asarray(np.linalg.qr(drawn)[0].T)


def _misfit(plan: Plan, conditioning: Conditioning, keys: Sequence[str]) -> float:
    job = Job(plan, conditioning, keys, slots=8)
    ends = {
        plan.order[each.segment.first]: each.state.latents.numpy().ravel()
        for each in run(job, Uneven(CONFIG), make_solver("ddim", SCHEDULE, plan.steps))
        if plan.is_leaf(each.segment)
    }
    found = np.stack([ends[leaf] for leaf in range(plan.size)])
    return float(((found - _vectors(conditioning)) ** 2).sum(axis=1).mean())


def test_misfits_are_measured_at_some_steps_and_interpolated_between(
    calibration: Calibration,
) -> None:
    assert sorted(calibration.misfits) == [2, 5, 10]
    least, most = sorted([calibration.misfits[5], calibration.misfits[10]])
    assert least <= calibration.misfit(7) <= most
    assert calibration.misfit(40) == calibration.misfits[10]


def test_a_first_own_step_lands_on_the_level_after_it_and_the_last_one_on_nothing() -> None:
    assert landing_levels(np.array([9.0, 3.0, 1.0])).tolist() == [3.0, 1.0, 0.0]


def test_what_the_basis_does_not_hold_counts_with_the_mean_share() -> None:
    calibration = _thin_calibration()
    vectors = np.zeros((3, 40))
    vectors[1, 0], vectors[2, 30] = 1, 1
    points = calibration.points(vectors, np.array([9.0, 1.0]))
    inside, outside = _distances(points.at(1))[:2]
    assert inside == pytest.approx(0.9)
    assert 0.2 * 0.3 < outside < 0.2 * 3


def _thin_calibration() -> Calibration:
    """One direction of forty that was seen to vary."""
    basis, levels = np.eye(40)[:, :1], np.array([9.0, 1.0])
    settled, shares = np.array([[[0.0]], [[0.9]]]), np.array([0.0, 0.2])
    return Calibration(levels, basis, settled, shares, {2: 1.0}, {})


def test_a_file_holds_all_of_a_calibration(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "map.safetensors"
    save_calibration(calibration, path)
    first = path.read_bytes()
    loaded = load_calibration(path)
    assert (loaded.facts, loaded.misfits) == (calibration.facts, calibration.misfits)
    vectors = _vectors(_conditioning(6, seed=2))
    ours, theirs = calibration.points(vectors, _levels(6)), loaded.points(vectors, _levels(6))
    for k in range(1, 6):
        assert np.allclose(_distances(ours.at(k)), _distances(theirs.at(k)), rtol=1e-3, atol=1e-4)
    save_calibration(loaded, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\x08" + 7 * b"\0" + b"{}"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnknownModel, match="calibration is damaged"):
        load_calibration(path)


def test_equal_conditionings_make_the_same_plan_whatever_their_order(
    calibration: Calibration,
) -> None:
    vectors, order = _vectors(_conditioning(20, seed=6)), np.random.default_rng(1).permutation(20)
    keys = [f"{each:02d}" for each in range(20)]
    plan = _plan(calibration, vectors, keys)
    other = _plan(calibration, vectors[order], [keys[each] for each in order])
    named = {
        (s.start, s.stop, frozenset(order[list(other.members(s))].tolist())) for s in other.segments
    }
    assert named == {(s.start, s.stop, frozenset(plan.members(s))) for s in plan.segments}


def _plan(calibration: Calibration, vectors: np.ndarray, keys: Sequence[str]) -> Plan:
    return plan_points([calibration.points(vectors, _levels(6))], 72, [keys])[0].plan


def _distances(points: np.ndarray) -> np.ndarray:
    a, b = np.triu_indices(len(points), 1)
    return np.asarray(((points[a] - points[b]) ** 2).sum(axis=1))


def test_a_calibrated_method_plans_a_setting_of_the_evaluation(calibration: Calibration) -> None:
    def find(solver: str) -> Calibration | None:
        return calibration if solver == "ddim" else None

    methods = calibrated_methods(find, SCHEDULE)
    vectors, keys = _vectors(_conditioning(20, seed=8)), [f"{each:02d}" for each in range(20)]
    groups = [PromptGroup(vectors[:12], keys[:12]), PromptGroup(vectors[12:], keys[12:])]
    plan = make_setting_plan(groups, Setting("calibrated", "ddim", 6, saving=0.5), methods)
    assert (plan.planner, plan.steps, plan.evaluations) == ("calibrated", 6, 60)
    with pytest.raises(InvalidSetting, match="hierdiff calibrate"):
        make_setting_plan(groups, Setting("calibrated", "euler", 6, saving=0.5), methods)
    with pytest.raises(InvalidSetting, match="needs a saving"):
        make_setting_plan(groups, Setting("calibrated", "ddim", 6, tau=1.0), methods)


def test_equal_rows_in_any_order_make_the_same_plan() -> None:
    [path] = miniature.DECODER.parent.glob("calibration/*-ddim-*")
    calibration, levels = load_calibration(path), np.geomspace(10, 0.1, 8)
    for seed in (25, 38, 60):  # of 100 those whose plan did follow the order
        rng = np.random.default_rng(seed)
        size = int(rng.integers(20, 130))
        distinct = rng.normal(size=(size // 3, len(calibration.basis))).astype(np.float32)
        vectors, keys = (
            distinct[rng.integers(0, len(distinct), size)],
            list(map("{:03d}".format, range(size))),
        )
        order = rng.permutation(size)
        found = set()
        for rows in (np.arange(size), order):
            points = calibration.points(vectors[rows], levels)
            plan = plan_points([points], 3 * size, [[keys[each] for each in rows]])[0].plan
            named = [(s.start, s.stop, *sorted(rows[list(plan.members(s))])) for s in plan.segments]
            found.add(tuple(sorted(named)))
        assert len(found) == 1
