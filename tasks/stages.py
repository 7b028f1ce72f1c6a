"""The stages of a night before it is denoised, each one a call: read, embed, plan.

They give each stage its settings and stores; their order is in `flows`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from hierdiff_core.models.device import choose_device
from hierdiff_core.models.family import load_family
from hierdiff_core.models.recipes import load_prompt_check, pin_recipe
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.solver import make_solver
from tasks.again import recall
from tasks.catalogue_settings import CatalogueSettings, plan_catalogue, settings_for
from tasks.embed import (
    embed_prompts,
    find_lost,
    remake_embeddings,
    remake_run_embeddings,
)
from tasks.errors import GroundLost, LostEmbeddings
from tasks.ingest import Ingested, read_batch
from tasks.ledger import (
    Night,
    catalogue_of,
    digest_rows,
    find_replaced,
    load_prompts,
    load_rejected,
    lost_embeddings,
    note_remakes,
    note_rows,
    note_settings,
    record_metric,
    reject_prompts,
    store_prompts,
)
from tasks.models import open_models
from tasks.night_settings import NightSettings
from tasks.plan import store_forest
from tasks.rejected import Rejected
from tasks.remake import NO_REMAKE, Remake
from tasks.requests import check_rows, check_settings
from tasks.risk import refusal
from tasks.settings import Settings
from tasks.source.reading import open_columns, open_source, read_limits, size_check
from tasks.source.refused_words import open_refused_words
from tasks.states import BatchState, Stage
from tasks.stores import Stores

log = logging.getLogger(__name__)

_PLANS = 3  # of a night, where what one stands on is removed before it is stored


@dataclass(frozen=True)
class Source:
    """Where rows come from: a query on the database of HIERDIFF_SOURCE_URL, or a file."""

    query: str | None = None
    file: Path | None = None

    @property
    def is_named(self) -> bool:
        """Whether it names rows, where otherwise the settings do."""
        return self.query is not None or self.file is not None


def read_rows(settings: Settings, source: Source) -> Ingested:
    """Return the prompts and rejected rows of a source, nothing stored.

    Raises NoSource, what the source and `read_batch` raise, UnknownModel, and InvalidSetting, also
    for a solver that the model's noise schedule does not allow.
    """
    recipe = pin_recipe(settings.recipe, settings.digests)
    family = load_family(recipe.family)
    # What the solver refuses is refused now, not on the GPU.
    make_solver(recipe.solver, family.load_schedule(recipe), recipe.steps)
    checks = (
        size_check(settings, recipe),
        open_refused_words(settings, read_limits(settings)),
        load_prompt_check(recipe),
    )

    def check(prompt: Prompt) -> None:
        for each in checks:
            each(prompt)

    columns = open_columns(settings)
    rows = open_source(settings, source.query, source.file)
    return read_batch(rows, recipe, check, columns, settings.variants)


def ingest(
    stores: Stores,
    settings: Settings,
    night: Night,
    source: Source,
    asked: NightSettings | None = None,
    remake: Remake = NO_REMAKE,
) -> Ingested:
    """Store a night's rows, unless they are stored already, and return them.

    `asked` are the night's settings where a catalogue's own take their place in `settings`. Without
    a source the rows are those of the night that this one replaces, if any.
    """
    if night.state is not BatchState.INGESTED:
        again = None if source.is_named or has_source(settings) else rows_replaced(stores, night)
        rows = again or read_rows(settings, source)
        with stores.session() as session:
            store_rows(session, night.batch, rows, asked or settings.night, remake)
        return rows
    with stores.session() as session:
        return Ingested(load_prompts(session, night.batch), load_rejected(session, night.batch))


def check_request(stores: Stores, settings: Settings, night: Night) -> None:
    """Raise NightDiffers where a night that has rows or a plan was asked for otherwise.

    Rows are compared where the night has a plan and the settings a source.
    """
    if night.state is not BatchState.INGESTED:
        return
    check_settings(stores, night, settings.night)
    if night.run is not None and has_source(settings):
        tonight = settings_for(stores, settings, night.catalogue, night.batch)
        check_rows(stores, night, read_rows(tonight.settings, Source()))


def has_source(settings: Settings) -> bool:
    """Return whether the settings name a source of rows."""
    return settings.source_file is not None or settings.source_query is not None


def rows_of(stores: Stores, batch: int) -> Ingested:
    """Return the rows that a night has stored, none of them to be remade."""
    with stores.session() as session:
        prompts, rejected = load_prompts(session, batch), load_rejected(session, batch)
    return Ingested(tuple(replace(each, anew=False) for each in prompts), rejected)


def rows_replaced(stores: Stores, night: Night) -> Ingested | None:
    """Return the rows of the night that another one replaces; None where there is none."""
    with stores.session() as session:
        before = find_replaced(session, night.batch)
    return None if before is None else rows_of(stores, before)


def store_rows(
    session: Session,
    batch: int,
    rows: Ingested,
    asked: NightSettings,
    remake: Remake = NO_REMAKE,
) -> bool:
    """Store a night's rows and what they were read for; return False where it has rows already.

    Raises what `recall` raises where none of theirs is meant by what is to be remade.
    """
    catalogue = catalogue_of(session, batch)
    recalled = recall(session, catalogue, rows.prompts, remake, asked.remakes)
    fresh = store_prompts(session, batch, recalled.prompts, rows.rejected)
    if fresh:
        note_remakes(session, batch, recalled.noted)
        note_settings(session, batch, asked.model_dump(mode="json"))
        note_rows(session, batch, digest_rows(rows.prompts, len(rows.rejected)))
    return fresh


def embed(
    stores: Stores, settings: Settings, batch: int, report: Callable[[int, int], None]
) -> int:
    """Embed a night's prompts; rows with a useless embedding are rejected. Return how many new."""
    with stores.session() as session:
        prompts = load_prompts(session, batch)
    embedded = embed_prompts(stores, prompts, open_models(settings), report)
    reasons = {prompt.row: str(fault) for prompt, fault in embedded.faults.items()}
    rejected = [Rejected(row, reason) for row, reason in reasons.items()]
    with stores.session() as session:
        reject_prompts(session, batch, rejected)
    return embedded.made


def plan(
    stores: Stores, settings: Settings, batch: int, chosen: CatalogueSettings | None = None
) -> uuid.UUID:
    """Store a night's plan and return its run; without a catalogue's settings by the given ones.

    Raises EmptyBatch, InvalidSetting.
    """
    for _ in range(_PLANS - 1):
        try:
            return _plan(stores, settings, batch, chosen or CatalogueSettings(settings))
        except GroundLost as lost:
            log.warning("%s", lost)
    return _plan(stores, settings, batch, chosen or CatalogueSettings(settings))


def _plan(stores: Stores, settings: Settings, batch: int, chosen: CatalogueSettings) -> uuid.UUID:
    with stores.session() as session:
        prompts, catalogue = load_prompts(session, batch), catalogue_of(session, batch)
        lost = lost_embeddings(session, {embedding_key(prompt) for prompt in prompts})
    if lost:  # damaged since they were stored: a prompt without one would be left out
        embed(stores, settings, batch, lambda done, total: None)
    try:
        planned = plan_catalogue(stores, prompts, chosen, catalogue)
    except LostEmbeddings as missing:
        remake_embeddings(stores, missing.keys, open_models(settings))
        planned = plan_catalogue(stores, prompts, chosen, catalogue)
    if reason := refusal(chosen, planned):
        raise reason
    with stores.session() as session:
        note_settings(session, batch, settings.night.model_dump(mode="json"))
    forest, budget = planned.forest, planned.budget
    return store_forest(stores, batch, forest, budget, settings.shards, planned.tuned)


def remake_lost(stores: Stores, settings: Settings, run: uuid.UUID) -> bool:
    """Make anew what is lost or damaged of a run's embeddings; return whether any was."""
    return remake_run_embeddings(stores, run, open_models(settings))


def lacks_embeddings(stores: Stores, run: uuid.UUID) -> bool:
    """Return whether any of a run's embeddings is known to be lost and can be made anew."""
    with stores.session() as session:
        return any(find_lost(session, run))


def record_stages(
    stores: Stores, settings: Settings, run: uuid.UUID, stages: Mapping[Stage, float]
) -> None:
    """Add seconds per stage to a run's figures."""
    device = choose_device(settings.device).type
    with stores.session() as session:
        for stage, seconds in stages.items():
            where = device if stage is Stage.EMBED else ""
            record_metric(session, run, stage, seconds, device=where)
