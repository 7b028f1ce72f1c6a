"""Calibration on a denoiser in closed form: what is learned, kept, and measured afterwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import load_calibration, save_calibration
from hierdiff_core.calibrated.deviation import choose_plan, make_deviation_plan, predicted_deviation
from hierdiff_core.calibrated.fitting import fit_calibration
from hierdiff_core.calibrated.kernel import fit, kernel, spread
from hierdiff_core.calibrated.levels import highest_level, noise_levels, step_widths
from hierdiff_core.calibrated.measured import measure_deviations, unshared_plan
from hierdiff_core.calibrated.readings import Design, Reading, measure, measure_points
from hierdiff_core.embedding import Conditioning, flatten
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.evaluation.calibrated import calibrated_methods
from hierdiff_core.evaluation.methods import Group, make_setting_plan
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.sampling.sampler import Job
from hierdiff_core.solver import make_solver
from tests.core.gaussian import KANDINSKY, SHAPE, Gaussian

DESIGN = Design(
    levels=6, noises=1, branch_steps=4, branches=5, plain_steps=(3, 6), reference_steps=12, plain=2
)
CONFIG = {**KANDINSKY, "prediction_type": "epsilon", "variance_type": "fixed_small"}


class Counting(Gaussian):
    """Counts what it is asked for."""

    rows = 0

    def predict(self, latents, timesteps, conditioning):  # type: ignore[no-untyped-def]
        Counting.rows += len(latents)
        return super().predict(latents, timesteps, conditioning)


def _conditioning(size: int, seed: int = 0) -> Conditioning:
    """Pictures that vary in a few directions, some of them far."""
    axes = np.random.default_rng(99).normal(size=(4, int(np.prod(SHAPE))))
    rng = np.random.default_rng(seed)
    axes *= np.array([2.0, 1.0, 0.5, 0.25])[:, None]
    middles = rng.normal(size=(size, 4)) @ axes
    return Conditioning({"middle": torch.tensor(middles, dtype=torch.float32).view(-1, *SHAPE)})


def _make(name: str = "ddim") -> Callable[[int], object]:
    return partial(make_solver, name, CONFIG)


def _levels(steps: int, name: str = "ddim") -> np.ndarray:
    return noise_levels(CONFIG, make_solver(name, CONFIG, steps).timesteps)


def _readings(conditioning: Conditioning) -> dict[str, Reading]:
    return dict(measure(Counting(CONFIG), _make(), conditioning, DESIGN, {}))


LEVELS = np.append(highest_level(CONFIG), _levels(6)[1:])


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    conditioning = _conditioning(40)
    return fit_calibration(
        flatten(conditioning), _readings(conditioning), DESIGN, LEVELS, _levels(4), {"a": 1}
    )


def test_evaluations_are_as_many_as_the_design_says() -> None:
    Counting.rows = 0
    _readings(_conditioning(21))
    assert Counting.rows == DESIGN.evaluations(21)
    assert DESIGN.prompts(DESIGN.evaluations(21)) == 21


def test_too_few_evaluations_are_refused_with_the_least_that_will_do() -> None:
    with pytest.raises(InvalidSetting, match=str(DESIGN.evaluations(10))):
        DESIGN.prompts(100)


def test_a_calibration_fits_into_a_hundred_standard_images() -> None:
    assert Design().evaluations(Design().prompts(4000)) <= 100 * 40


def test_readings_that_are_handed_back_are_not_measured_again() -> None:
    conditioning = _conditioning(12)
    whole = _readings(conditioning)
    known = {name: whole[name] for name in ("run-0", "branches")}
    again = dict(measure(Counting(CONFIG), _make(), conditioning, DESIGN, known))
    assert again.keys() == whole.keys() - known.keys()
    for name, reading in again.items():
        assert np.array_equal(reading, whole[name])


def test_a_denoiser_that_is_linear_in_its_conditioning_is_learned(calibration: Calibration) -> None:
    assert min(calibration.facts["r2"]) > 0.95
    assert min(calibration.facts["spearman"]) > 0.98


def test_points_of_new_prompts_lie_as_their_predictions_do(calibration: Calibration) -> None:
    new, levels, solver = _conditioning(25, seed=9), _levels(7), make_solver("ddim", CONFIG, 7)
    measured = measure_points(Gaussian(CONFIG), solver, new, Design(seed=4, rows=8))
    points, widths = calibration.points(flatten(new), levels), step_widths(levels)
    for k in range(1, 7):
        ours = _distances(points.at(k)) / widths[k - 1]
        theirs = _distances(measured[k - 1].astype(float))
        assert spearmanr(ours, theirs).statistic > 0.95
        assert 0.5 < ours.sum() / theirs.sum() < 2


def test_predicted_deviation_is_that_of_final_latents(calibration: Calibration) -> None:
    conditioning = _conditioning(14, seed=5)
    keys = [str(each) for each in range(14)]
    plans = [
        make_deviation_plan(
            flatten(conditioning), calibration, _levels(steps), saving=saving, keys=keys
        )
        for steps in (4, 6, 9)
        for saving in (0.1, 0.3, 0.5)
    ]
    job = Job(plans[0], conditioning, keys, slots=8)
    measured = list(measure_deviations(plans, job, Gaussian(CONFIG), _make()))
    vectors = flatten(conditioning)
    predicted = [
        predicted_deviation(plan, calibration.points(vectors, _levels(plan.steps)))
        for plan in plans
    ]
    assert spearmanr(predicted, measured).statistic > 0.9


def test_more_is_shared_of_more_steps_only_where_steps_are_worth_it(
    calibration: Calibration,
) -> None:
    vectors, levels = flatten(_conditioning(20, seed=7)), {K: _levels(K) for K in (3, 6, 9)}
    chosen = [choose_plan(vectors, calibration, levels, each) for each in (1.6, 3, 9)]
    assert all(
        plan.evaluations <= each * 20 for plan, each in zip(chosen, (1.6, 3, 9), strict=True)
    )
    assert chosen[0].steps <= chosen[1].steps <= chosen[2].steps == 9
    with pytest.raises(InvalidSetting):
        choose_plan(vectors, calibration, levels, 1.05)


def test_the_error_of_plain_steps_falls_to_nothing_at_the_reference(
    calibration: Calibration,
) -> None:
    errors = [calibration.discretisation(each) for each in (2, 3, 4, 6, 9, 12, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == errors[1] == pytest.approx(calibration.facts["plain"]["3"])
    assert errors[-2:] == [0, 0]


def test_a_plan_without_sharing_does_not_deviate() -> None:
    conditioning = _conditioning(4)
    job = Job(unshared_plan(4, 5), conditioning, list("abcd"), slots=2)
    assert list(measure_deviations([job.plan], job, Gaussian(CONFIG), _make())) == [0.0]


def test_a_solver_that_draws_noise_cannot_be_measured() -> None:
    conditioning = _conditioning(2)
    job = Job(unshared_plan(2, 5), conditioning, list("ab"))
    with pytest.raises(InvalidSetting, match="draw noise"):
        list(measure_deviations([job.plan], job, Gaussian(CONFIG), _make("ddpm")))


def test_a_file_holds_all_of_a_calibration(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "map.safetensors"
    save_calibration(calibration, path)
    first = path.read_bytes()
    loaded = load_calibration(path)
    assert loaded.facts == calibration.facts
    vectors = flatten(_conditioning(6, seed=2))
    ours, theirs = calibration.points(vectors, _levels(6)), loaded.points(vectors, _levels(6))
    for k in range(1, 6):
        assert np.allclose(ours.at(k), theirs.at(k), rtol=1e-4, atol=1e-5)
    save_calibration(loaded, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\x08" + 7 * b"\0" + b"{}"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnknownModel, match="calibration is damaged"):
        load_calibration(path)


def test_levels_between_two_maps_interpolate_squared_distances(calibration: Calibration) -> None:
    vectors = flatten(_conditioning(5, seed=3))
    middle = float(np.sqrt(calibration.levels[1] * calibration.levels[2]))
    sigmas = np.array([9.0, calibration.levels[1], middle, calibration.levels[2], 1e-3])
    points, widths = calibration.points(vectors, sigmas), step_widths(sigmas)
    upper, between, lower = (_distances(points.at(k)) / widths[k - 1] for k in (1, 2, 3))
    assert np.allclose(between, (upper + lower) / 2, rtol=1e-6)


def test_widths_of_steps_add_up_to_log_sigma_where_steps_are_short() -> None:
    levels = np.geomspace(10, 0.1, 400)
    assert step_widths(levels)[:-1].sum() == pytest.approx(np.log(100), rel=0.01)
    assert step_widths(levels)[-1] == 1


def test_a_left_out_example_is_predicted_as_by_a_fit_without_it() -> None:
    rng = np.random.default_rng(0)
    examples, values = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    values -= values.mean(axis=0)
    gram = kernel(examples, examples, spread(examples))
    found = fit(gram, values)
    keep = np.arange(20) != 7
    centring = np.eye(19) - 1 / 19
    inner = centring @ gram[np.ix_(keep, keep)] @ centring + found.ridge * np.eye(19)
    coefficients = np.linalg.solve(inner, values[keep] - values[keep].mean(axis=0))
    shift = gram[np.ix_(keep, keep)].mean(axis=0) @ coefficients
    alone = gram[7, keep] @ coefficients - shift + values[keep].mean(axis=0)
    assert np.allclose(found.left_out[7], alone)


def test_vectors_far_from_all_examples_stay_apart() -> None:
    examples = np.random.default_rng(0).normal(size=(30, 3))
    far = np.array([[90.0, 0, 0], [0, 90, 0]])
    assert _distances(kernel(far, examples, spread(examples)))[0] > 1


def test_equal_conditionings_make_the_same_plan_whatever_their_order(
    calibration: Calibration,
) -> None:
    vectors, order = flatten(_conditioning(20, seed=6)), np.random.default_rng(1).permutation(20)
    plan = make_deviation_plan(vectors, calibration, _levels(6), saving=0.4)
    other = make_deviation_plan(vectors[order], calibration, _levels(6), saving=0.4)
    named = {
        (s.start, s.stop, frozenset(order[list(other.members(s))].tolist())) for s in other.segments
    }
    assert named == {(s.start, s.stop, frozenset(plan.members(s))) for s in plan.segments}


def _distances(points: np.ndarray) -> np.ndarray:
    a, b = np.triu_indices(len(points), 1)
    return np.asarray(((points[a] - points[b]) ** 2).sum(axis=1))


def test_a_calibrated_method_plans_a_setting_of_the_evaluation(calibration: Calibration) -> None:
    def find(solver: str) -> Calibration | None:
        return calibration if solver == "ddim" else None

    methods = calibrated_methods(find, CONFIG)
    vectors, keys = flatten(_conditioning(20, seed=8)), [f"{each:02d}" for each in range(20)]
    groups = [Group(vectors[:12], keys[:12]), Group(vectors[12:], keys[12:])]
    plan = make_setting_plan(groups, Setting("calibrated", "ddim", 6, saving=0.5), methods)
    assert (plan.linkage, plan.steps, plan.evaluations) == ("calibrated", 6, 60)
    with pytest.raises(InvalidSetting, match="hierdiff calibrate"):
        make_setting_plan(groups, Setting("calibrated", "euler", 6, saving=0.5), methods)
    with pytest.raises(InvalidSetting, match="by its saving"):
        make_setting_plan(groups, Setting("calibrated", "ddim", 6, tau=1.0), methods)
