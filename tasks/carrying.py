"""Carrying nights from one place to another: out of the ledger into a file, and back into one."""

from __future__ import annotations

import uuid
from dataclasses import replace

from hierdiff_core.errors import WrongRevision
from hierdiff_core.models.families import options_of
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.prompt import negative_key
from hierdiff_core.recipe import Options, Recipe
from tasks.catalogue_settings import PlannedCatalogue
from tasks.embed import LedgerCache
from tasks.errors import MissingEmbedding, NightDiffers
from tasks.exported_night import ExportedNight
from tasks.ingest import Ingested
from tasks.ledger import (
    Night,
    NightPlan,
    digest_rows,
    find_request,
    find_slots,
    keep_slots,
    load_plan,
    note_remakes,
    note_rows,
    note_settings,
    store_plan,
    store_prompts,
)
from tasks.night_settings import NightSettings
from tasks.plan import make_night_plan
from tasks.requests import read_recorded
from tasks.settings import Settings
from tasks.stages import rows_of
from tasks.stores import Stores


def export_night(stores: Stores, night: Night, run: uuid.UUID) -> ExportedNight:
    """Return a night that has a run, as it was asked for and planned; raises MissingEmbedding."""
    with stores.session() as session:
        plan, slots = load_plan(session, run), find_slots(session, run)
        settings = find_request(session, night.batch).settings or {}
    rows, plan = rows_of(stores, night.batch), replace(plan, anew=frozenset())
    found = _embeddings(stores, plan)
    made = (settings, rows.prompts, rows.rejected, plan, found, str(run), slots)
    return ExportedNight(*made).keyed()


def export_plan(
    stores: Stores, settings: Settings, rows: Ingested, planned: PlannedCatalogue
) -> ExportedNight:
    """Return a night whose plan was just made and is not stored; raises MissingEmbedding."""
    plan = make_night_plan(planned.forest, planned.budget, settings.shards, planned.tuned)
    plan, asked = replace(plan, anew=frozenset()), settings.night.model_dump(mode="json")
    return ExportedNight(asked, rows.prompts, rows.rejected, plan, _embeddings(stores, plan))


def import_night(
    stores: Stores, settings: Settings, night: Night, exported: ExportedNight
) -> NightSettings:
    """Store an exported night as this one; return the settings that it is run with.

    Weights are looked for where this machine's settings say. A run keeps its id where that is free,
    and its slots. Raises WrongRevision where the weights are others than those of the plan, and
    NightDiffers where the night has another plan.
    """
    own = pin_recipe(settings.recipe, settings.digests)
    _check_revision(own, exported.plan.recipe)
    asked = _settings_here(exported, settings)
    here = _relocate(exported, own)
    LedgerCache(stores).keep(here.embeddings)
    with stores.session() as session:
        if night.run is not None and load_plan(session, night.run).keys != here.plan.keys:
            difference = "it has another plan than the file"
            raise NightDiffers(
                catalogue=night.catalogue, date=night.business_date, difference=difference
            )
        if store_prompts(session, night.batch, here.prompts, here.rejected):
            note_settings(session, night.batch, asked.model_dump(mode="json"))
            note_rows(session, night.batch, digest_rows(here.prompts, len(here.rejected)))
            note_remakes(session, night.batch, here.prompts)
        wanted = uuid.UUID(here.run) if here.run else None
        run = store_plan(session, night.batch, here.plan, wanted=wanted)
        if here.slots is not None:
            keep_slots(session, run, here.slots)
    return asked


def _embeddings(stores: Stores, plan: NightPlan) -> dict[str, bytes]:
    leaves = (*plan.leaves, *plan.guests)
    needed = {leaf.embedding_key for leaf in leaves}
    found = LedgerCache(stores).find(needed | {negative_key(t.recipe) for t in plan.trees})
    for key in sorted(needed - found.keys()):
        raise MissingEmbedding(key=key)
    return dict(found)


def _check_revision(own: Recipe, wanted: Recipe) -> None:
    for name in ("revision", "text_revision"):
        if getattr(own, name) != getattr(wanted, name):
            raise WrongRevision(
                model=own.model, found=getattr(own, name), wanted=getattr(wanted, name)
            )


def _settings_here(exported: ExportedNight, settings: Settings) -> NightSettings:
    """Return the night's settings, with the places of weights on this machine."""
    asked, places = read_recorded(exported.settings), _places(exported.plan.recipe)
    own = {name: settings.options[name] for name in places if name in settings.options}
    kept = {name: value for name, value in asked.options.items() if name not in places}
    changed = {"model": settings.model, "options": {**kept, **own}}
    return asked.without_source().model_copy(update=changed)


def _relocate(exported: ExportedNight, own: Recipe) -> ExportedNight:
    """Return a night whose recipes name this machine's weights, which changes no key."""
    places = {name: own.option(name) for name in _places(own)}

    def move(recipe: Recipe) -> Recipe:
        return replace(recipe, model=own.model, options=Options({**recipe.options, **places}))

    plan = exported.plan
    trees = tuple(replace(tree, recipe=move(tree.recipe)) for tree in plan.trees)
    prompts = tuple(replace(each, recipe=move(each.recipe)) for each in exported.prompts)
    moved = replace(plan, recipe=move(plan.recipe), trees=trees)
    return replace(exported, prompts=prompts, plan=moved)


def _places(recipe: Recipe) -> set[str]:
    """Return the options of a recipe that say where weights are."""
    known = (option.name for option in options_of(recipe.family) if option.weights)
    return {name for name in known if name in recipe.options}
