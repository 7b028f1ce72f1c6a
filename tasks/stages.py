"""The stages of a night before it is denoised, each one a call: read, embed, plan.

They give each stage its settings and stores; their order is in `flows`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from hierdiff_core.models.device import choose_device
from hierdiff_core.models.family import load_family
from hierdiff_core.models.recipes import load_prompt_check, pin_recipe
from hierdiff_core.solver import make_solver
from tasks.catalogue_settings import CatalogueSettings, plan_catalogue
from tasks.embed import embed_prompts
from tasks.errors import NoSource
from tasks.ingest import Ingested, Rejected, read_batch
from tasks.ledger import (
    Night,
    load_prompts,
    record_metric,
    reject_prompts,
    store_prompts,
)
from tasks.models import open_models
from tasks.plan import store_forest
from tasks.settings import Settings
from tasks.sources import SourceRow, read_file, read_source
from tasks.states import BatchState, Stage
from tasks.stores import Stores


@dataclass(frozen=True)
class Source:
    """Where rows come from: a query on the database of HIERDIFF_SOURCE_URL, or a file."""

    query: str | None = None
    file: Path | None = None


def read_rows(settings: Settings, source: Source) -> Ingested:
    """Return the prompts and rejected rows of a source, nothing stored.

    Raises NoSource, what the source raises, MissingColumn, EmptyBatch, UnknownModel, and
    InvalidSetting for a solver that the model's noise schedule does not allow.
    """
    recipe = pin_recipe(settings.recipe, settings.digests)
    family = load_family(recipe.family)
    # What the solver refuses is refused now, not on the GPU.
    make_solver(recipe.solver, family.load_schedule(recipe), recipe.steps)
    return read_batch(_open(settings, source), recipe, load_prompt_check(recipe))


def ingest(stores: Stores, settings: Settings, night: Night, source: Source) -> tuple[int, int]:
    """Store a night's rows, unless they are stored already; return how many are good and bad."""
    if night.state is not BatchState.INGESTED:
        rows = read_rows(settings, source)
        with stores.session() as session:
            store_rows(session, night.batch, rows)
        return len(rows.prompts), len(rows.rejected)
    with stores.session() as session:
        return len(load_prompts(session, night.batch)), 0


def store_rows(session: Session, batch: int, rows: Ingested) -> bool:
    """Store a night's rows; return False where it has its rows already."""
    return store_prompts(session, batch, rows.prompts, rows.rejected)


def embed(
    stores: Stores, settings: Settings, batch: int, report: Callable[[int, int], None]
) -> int:
    """Embed a night's prompts; rows with a useless embedding are rejected. Return how many new."""
    with stores.session() as session:
        prompts = load_prompts(session, batch)
    embedded = embed_prompts(stores, prompts, open_models(settings), report)
    rejected = [Rejected(prompt.row, str(fault)) for prompt, fault in embedded.faults.items()]
    with stores.session() as session:
        reject_prompts(session, batch, rejected)
    return embedded.made


def plan(
    stores: Stores, settings: Settings, batch: int, chosen: CatalogueSettings | None = None
) -> uuid.UUID:
    """Store a night's plan and return its run; without a catalogue's settings by the given ones.

    Raises EmptyBatch, InvalidSetting.
    """
    with stores.session() as session:
        prompts = load_prompts(session, batch)
    planned = plan_catalogue(stores, prompts, chosen or CatalogueSettings(settings))
    forest, budget = planned.forest, planned.budget
    return store_forest(stores, batch, forest, budget, settings.shards, planned.tuned)


def record_stages(
    stores: Stores, settings: Settings, run: uuid.UUID, stages: Mapping[Stage, float]
) -> None:
    """Add seconds per stage to a run's figures."""
    device = choose_device(settings.device).type
    with stores.session() as session:
        for stage, seconds in stages.items():
            where = device if stage is Stage.EMBED else ""
            record_metric(session, run, stage, seconds, device=where)


def _open(settings: Settings, source: Source) -> Iterator[SourceRow]:
    file = source.file or settings.source_file
    if source.query is None and file is not None:
        return read_file(file)
    query = source.query or settings.source_query
    if settings.source_url is None or query is None:
        raise NoSource()
    return read_source(settings.source_url.get_secret_value(), query)
