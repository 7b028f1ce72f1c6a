"""What a night risks for its saving, and what would risk less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hierdiff_core.budget import Budget
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import Forest
from hierdiff_core.plan import CALIBRATED
from hierdiff_core.prompt import Prompt
from hierdiff_core.quality import predict_quality
from tasks.catalogue_settings import BUDGETS, CatalogueSettings, PlannedCatalogue
from tasks.losses import Losses, loss_text
from tasks.plan import plan_afresh, planning_afresh, read_plan_settings
from tasks.stores import Stores

_TRIALS = 7  # bounds that are tried


def refusal(chosen: CatalogueSettings, planned: PlannedCatalogue) -> InvalidSetting | None:
    """Return why a night is not made unless HIERDIFF_ACCEPT_LOSS asks for it; None where it is.

    That is a budget which is predicted to lose more than its bound. One that `hierdiff tune` chose
    was judged, and a night that stands on earlier ones is not left unmade for what these lose.
    """
    settings, quality = chosen.settings, predict_quality(planned.forest)
    free = planned.tuned or planned.forest.stored or not planned.budget.is_set
    if free or settings.accept_loss or quality is None:
        return None
    losses = Losses(quality.mean, quality.told_apart, planned.forest.plan.size, settings.loss)
    if not losses.beyond:
        return None
    name = next(each for each in BUDGETS if getattr(planned.budget, each) is not None)
    return InvalidSetting(
        setting=f"HIERDIFF_{name.upper()}",
        value=getattr(planned.budget, name),
        hint=f"{loss_text(losses)}; `hierdiff plan` names the rows and what keeps the bound, "
        "HIERDIFF_ACCEPT_LOSS=true makes the night all the same",
    )


def saving_within(
    stores: Stores, prompts: Sequence[Prompt], chosen: CatalogueSettings, forest: Forest
) -> float | None:
    """Return the saving that keeps the bound of a loss which a forest goes beyond, else None."""
    quality, settings = predict_quality(forest), read_plan_settings(chosen.settings)
    if quality is None or quality.mean <= settings.loss:
        return None
    bounded = replace(settings, budget=Budget(), planner=CALIBRATED)
    return plan_afresh(stores, prompts, bounded).plan.saving


def saving_unseen(
    stores: Stores, prompts: Sequence[Prompt], chosen: CatalogueSettings, forest: Forest
) -> float | None:
    """Return the largest saving found at which no picture is predicted to be told apart.

    None where none is, or nothing predicts it, and above the number of prompts up to which plans
    are exact. Bounds of the mean loss are tried, by halves.
    """
    quality, settings = predict_quality(forest), read_plan_settings(chosen.settings)
    if quality is None or not quality.told_apart or forest.plan.size > settings.exact:
        return None
    plan = planning_afresh(stores, prompts)
    low, high, best = 0.0, quality.mean, 0.0
    for _ in range(_TRIALS):
        middle = (low + high) / 2
        tried = plan(replace(settings, budget=Budget(), planner=CALIBRATED, loss=middle))
        found = predict_quality(tried)
        if found is None or found.told_apart:
            high = middle
        else:
            low, best = middle, max(best, tried.plan.saving)
    return best


def plan_without_nights(
    stores: Stores, prompts: Sequence[Prompt], chosen: CatalogueSettings, forest: Forest
) -> Forest | None:
    """Return the forest of a night from nothing, to compare one that stands on earlier nights.

    None where it stands on none, and above the number of prompts up to which plans are exact.
    """
    settings = read_plan_settings(chosen.settings)
    if not forest.stored or forest.plan.size > settings.exact:
        return None
    return plan_afresh(stores, prompts, settings)
