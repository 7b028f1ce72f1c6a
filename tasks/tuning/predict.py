"""Tuning without a judge: what the model's calibrations predict for a catalogue's own prompts.

Misfits are predicted in `hierdiff_core.calibrated.choice`. No picture is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver, calibrate_solver
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import calibration_path, load_calibration
from hierdiff_core.calibrated.choice import Prediction, Way, affordable, predict_ways, rank
from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.embedding_cache import find_embeddings
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.evaluation.tune_grid import TUNE_GRIDS, TuneGrid
from hierdiff_core.models.family import load_family
from hierdiff_core.plan import CALIBRATED
from hierdiff_core.prices import step_prices
from hierdiff_core.prompt import content_key
from hierdiff_core.recipe import Recipe
from tasks.catalogue_record import Tuned, chosen_fields
from tasks.embed import LedgerCache
from tasks.models import open_models
from tasks.settings import Settings
from tasks.stages import Source
from tasks.stores import Stores
from tasks.tuning.rows import Report, Rows, check_solvers, embed_rows, read_tunable

JUDGE = "calibration"  # what stands in a record for the judge


@dataclass(frozen=True)
class BudgetSearch:
    """A catalogue, a budget, and the ways to spend it that the model is calibrated for."""

    stores: Stores
    settings: Settings
    rows: Rows
    ways: Mapping[Way, CalibratedSolver]
    evaluations: float  # per image, at most

    def unembedded(self) -> int:
        """Return how many prompts have no embedding yet."""
        known = find_embeddings(LedgerCache(self.stores), self.rows.prompts)
        return len(self.rows.prompts) - len(known)

    def run(self, report: Report) -> list[Prediction]:
        """Return the prediction for each way, the best first; embeds the new prompts.

        Raises what embedding raises.
        """
        prompts, found = self.rows.prompts, list[Prediction]()
        embeddings = embed_rows(self.stores, prompts, open_models(self.settings), report)
        vectors = np.stack([embeddings[each.text].vector for each in prompts])
        check_vectors(vectors, [each.row for each in prompts])
        keys = [content_key(each) for each in prompts]
        exact = self.settings.exact_prompts
        for prediction in predict_ways(vectors, keys, self.ways, self.evaluations, exact):
            found.append(prediction)
            report("planning", len(found), len(self.ways))
        return rank(found)


def open_budget_search(
    stores: Stores,
    settings: Settings,
    source: Source,
    evaluations: float,
    grid: str,
    solvers: Sequence[str],
) -> BudgetSearch:
    """Return the ways to spend a budget; nothing is embedded yet.

    Solvers are some of the grid's, none for all of it. Raises what `read_tunable` raises,
    UnknownModel for a damaged calibration, and InvalidSetting where the model has none or no way
    meets the budget.
    """
    tried = TUNE_GRIDS[grid]
    check_solvers(tried, solvers)
    rows = read_tunable(settings, source)
    chosen = [each for each in tried.shared if not solvers or each in solvers]
    known = dict(_calibrations(rows.recipe, chosen))
    if not known:
        hint = f"{rows.recipe.model} has no calibration for {' or '.join(chosen)} at this guidance "
        hint += "and size; run `hierdiff calibrate` first"
        raise InvalidSetting(setting="--evaluations", value=evaluations, hint=hint)
    ways = [(solver, K) for solver in known for K in _steps(tried, solver, evaluations)]
    able = affordable(ways, len(rows.prompts), evaluations)
    calibrated = {way: _calibrate(rows.recipe, known[way[0]], *way) for way in able}
    return BudgetSearch(stores, settings, rows, calibrated, evaluations)


def setting_of(prediction: Prediction) -> Setting:
    """Return a way to spend a budget as the evaluation calls it."""
    if not prediction.saving:
        return standard(prediction.solver, prediction.steps)
    return Setting(CALIBRATED, prediction.solver, prediction.steps, saving=prediction.saving)


def record_prediction(rows: Rows, chosen: Prediction) -> Tuned:
    """Return a choice as a catalogue's settings keep it; it was evaluated on no prompt."""
    return Tuned(
        **chosen_fields(setting_of(chosen), rows.recipe),
        judge=JUDGE,
        quality=1.0,
        score=chosen.misfit,
        share=1.0,
        share_low=1.0,
        share_high=1.0,
        evaluations=chosen.evaluations,
        evaluations_best=chosen.evaluations,
        prompts=len(rows.prompts),
        told_on=0,
        tuned_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _calibrate(
    recipe: Recipe, calibration: Calibration, solver: str, steps: int
) -> CalibratedSolver:
    schedule = load_family(recipe.family).load_schedule(recipe)
    prices = step_prices(replace(recipe, solver=solver, steps=steps))
    return replace(calibrate_solver(calibration, schedule, solver, steps), prices=prices)


def _calibrations(recipe: Recipe, solvers: Sequence[str]) -> Iterator[tuple[str, Calibration]]:
    # Each solver's own: another's does not hold the misfit of this one's plain pictures.
    for solver in solvers:
        path = calibration_path(replace(recipe, solver=solver))
        if path.is_file():
            yield solver, load_calibration(path)


def _steps(grid: TuneGrid, solver: str, evaluations: float) -> list[int]:
    """Return the grid's K of sharing settings, and the one that spends the budget unshared."""
    alone = [K for K in grid.standards[solver] if evaluations == K]
    return sorted({*grid.shared[solver], *alone})
