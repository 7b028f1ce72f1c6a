"""The settings of a night: the catalogue's own where it was tuned, else the environment's.

More specific wins: a row's own columns, then what was chosen for the catalogue, then the
environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hierdiff_core.budget import Budget
from hierdiff_core.calibrated.calibration_file import is_calibrated
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import Forest
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.plan import CALIBRATED, PAPER
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from tasks.catalogue_record import Tuned, read_tuned
from tasks.errors import DamagedTuning
from tasks.ledger import find_tuned, load_prompts
from tasks.plan import plan_prompts, read_plan_settings
from tasks.settings import Settings
from tasks.stores import Stores

BUDGETS = ("saving", "steps_per_image")


@dataclass(frozen=True)
class CatalogueSettings:
    """The settings of a night, and where they come from."""

    settings: Settings
    tuned: str = ""  # the catalogue's own, in words; empty: the environment's
    warning: str = ""  # why a tuned setting does not apply


@dataclass(frozen=True)
class PlannedCatalogue:
    """A night's forest, the budget that it was planned by, and the tuned setting, if any."""

    forest: Forest
    budget: Budget
    tuned: str


def settings_for(
    stores: Stores, settings: Settings, catalogue: str, batch: int | None = None
) -> CatalogueSettings:
    """Return the settings of a catalogue's night; rows that a batch has keep their recipe.

    A record that is damaged or was measured on something else is a warning, not an error: a night
    goes on with the environment's settings. Raises UnknownModel.
    """
    with stores.session() as session:
        found = find_tuned(session, catalogue)
        stored = () if found is None or batch is None else load_prompts(session, batch)[:1]
    if found is None:
        return CatalogueSettings(settings)
    try:
        tuned = read_tuned(catalogue, found)
    except DamagedTuning as damage:
        warning = f"{damage} Until then the environment's settings apply."
        return CatalogueSettings(settings, warning=warning)
    changed = _apply(settings, tuned)
    recipe = pin_recipe(changed.recipe, settings.digests)
    reason = _refusal(tuned, recipe, stored)
    if not reason:
        return CatalogueSettings(changed, tuned.summary())
    warning = (
        f"Catalogue {catalogue!r} was tuned on {tuned.tuned_at[:10]} {reason}; run `hierdiff tune` "
        "again. Until then the environment's settings apply."
    )
    return CatalogueSettings(settings, warning=warning)


def plan_catalogue(
    stores: Stores, prompts: Sequence[Prompt], chosen: CatalogueSettings, catalogue: str
) -> PlannedCatalogue:
    """Return the forest of a night; where it is too small for a tuned saving nothing is shared.

    Raises what `plan_prompts` raises.
    """
    settings = read_plan_settings(chosen.settings)
    try:
        forest = plan_prompts(stores, prompts, settings, catalogue)
    except InvalidSetting as error:
        # The user's own budget is a demand; a tuned one was measured on a larger catalogue.
        if not chosen.tuned or error.facts.get("setting") not in BUDGETS:
            raise
    else:
        return PlannedCatalogue(forest, settings.budget, chosen.tuned)
    nothing = replace(settings, planner=PAPER, budget=Budget(saving=0.0))
    tuned = f"{chosen.tuned} (too few prompts for that saving: nothing is shared)"
    forest = plan_prompts(stores, prompts, nothing, catalogue)
    return PlannedCatalogue(forest, nothing.budget, tuned)


def _apply(settings: Settings, tuned: Tuned) -> Settings:
    chosen = {
        name: getattr(tuned, name) for name in ("solver", "steps", "planner", "linkage", "saving")
    }
    return settings.model_copy(update=chosen | {"steps_per_image": None})


def _refusal(tuned: Tuned, recipe: Recipe, stored: Sequence[Prompt]) -> str:
    """Return why a tuned setting does not apply to a pinned recipe; empty where it does."""
    if differs := tuned.differs(recipe):
        return f"with {differs}"
    if tuned.planner == CALIBRATED and not is_calibrated(recipe):
        return "with a calibration that is not on this machine"
    kept = [(each.recipe.solver, each.recipe.steps) for each in stored]
    if kept and kept[0] != (tuned.solver, tuned.steps):
        return "after this night's rows were stored with another solver or number of steps"
    return ""
