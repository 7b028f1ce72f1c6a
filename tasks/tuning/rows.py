"""A tuning's rows: the prompts of a catalogue that share one recipe, and their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from hierdiff_core.embedding import Embedding
from hierdiff_core.embedding_cache import find_embeddings
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.tune_grid import TuneGrid
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import OWN_COLUMNS, Prompt, content_key
from hierdiff_core.recipe import Recipe
from tasks.embed import LedgerCache, embed_prompts
from tasks.errors import EmptyBatch
from tasks.settings import Settings
from tasks.stages import Source, read_rows
from tasks.stores import Stores

Report = Callable[[str, int, int], None]  # step, done, total


@dataclass(frozen=True)
class Rows:
    """The prompts of a catalogue that can be tuned together."""

    recipe: Recipe  # pinned
    prompts: tuple[Prompt, ...]  # distinct, of that recipe, ascending by text
    left_out: int  # rows that ask for another recipe than the settings'


def check_solvers(grid: TuneGrid, solvers: Sequence[str]) -> None:
    """Raise InvalidSetting for a solver that a grid does not have."""
    for solver in solvers:
        if solver not in grid.standards:
            hint = f"choose from {', '.join(grid.standards)}"
            raise InvalidSetting(setting="--solvers", value=solver, hint=hint)


def read_tunable(settings: Settings, source: Source) -> Rows:
    """Return the rows of a source that ask for nothing of their own but a seed, which is left out.

    Raises what `read_rows` raises, and EmptyBatch where there are none.
    """
    found = read_rows(settings, source).prompts
    plain = {name: getattr(settings.recipe, name) for name in OWN_COLUMNS}
    recipe = replace(found[0].recipe, **plain)
    matching = [each for each in found if each.recipe == recipe]
    if not matching:
        *names, last = (name for name in OWN_COLUMNS if name != "seed")
        raise EmptyBatch(reason=f"every row has a {', '.join(names)} or {last} of its own")
    distinct = {content_key(each.first): each.first for each in matching}
    prompts = tuple(sorted(distinct.values(), key=lambda each: each.text))
    return Rows(recipe, prompts, len(found) - len(matching))


def embed_rows(
    stores: Stores, prompts: Sequence[Prompt], models: Models, report: Report
) -> dict[str, Embedding]:
    """Return embeddings by text; missing ones are made, and serve the nights too.

    Raises InvalidEmbedding for a prompt whose embedding is useless, and UnknownModel.
    """
    embedded = embed_prompts(stores, prompts, models, partial(report, "embedding"))
    for fault in embedded.faults.values():
        raise fault
    found = find_embeddings(LedgerCache(stores), prompts)
    return {prompt.text: embedding for prompt, embedding in found.items()}
