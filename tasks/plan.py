"""Planning: from a night's embedded prompts to the plan in the database.

How a forest is planned is the core's. A plan is stored whole or not at all, and a night that has
one keeps it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from hierdiff_core.budget import Budget
from hierdiff_core.embedding_cache import find_vectors
from hierdiff_core.forest import Forest, Group, group_prompts
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import compatibility_key
from hierdiff_core.shard import make_shards
from tasks.embed import LedgerCache
from tasks.errors import EmptyBatch
from tasks.ledger import Leaf, NightPlan, Tree, store_plan, tree_nodes
from tasks.settings import Settings
from tasks.stores import Stores


def read_plan_settings(settings: Settings) -> PlanSettings:
    """Return the part of the settings that decides how a batch is planned."""
    return PlanSettings(
        budget=Budget(settings.saving, settings.steps_per_image),
        tau=settings.tau,
        linkage=settings.linkage,
        exact=settings.exact_prompts,
        planner=settings.planner,
    )


def plan_prompts(stores: Stores, prompts: Sequence[Prompt], settings: PlanSettings) -> Forest:
    """Return the forest of prompts whose embeddings are cached; the others are left out.

    Raises EmptyBatch, and what `plan_forest` raises.
    """
    found = find_vectors(LedgerCache(stores), prompts)
    groups = group_prompts(list(found))
    if not groups:
        raise EmptyBatch(reason="no prompt has an embedding")
    vectors = [np.stack([found[prompt] for prompt in group.prompts]) for group in groups]
    return plan_forest(groups, vectors, settings)


def store_forest(
    stores: Stores, batch: int, forest: Forest, budget: Budget, shards: int, tuned: str = ""
) -> uuid.UUID:
    """Store a night's plan and return its run; `tuned` describes the catalogue's own setting."""
    night = NightPlan(
        recipe=forest.groups[0].recipe,
        plan=forest.plan,
        trees=_trees(forest.groups),
        leaves=_leaves(forest.groups),
        keys=forest.keys,
        shards=make_shards(forest.plan, shards),
        saving_asked=budget.saving,
        steps_per_image=budget.steps_per_image,
        tuned=tuned,
    )
    with stores.session() as session:
        return store_plan(session, batch, night, list(tree_nodes(forest.trees)))


def _trees(groups: Sequence[Group]) -> tuple[Tree, ...]:
    rows, first = [], 0
    for group in groups:
        size = len(group.prompts)
        rows.append(Tree(compatibility_key(group.recipe), group.recipe, first, size))
        first += size
    return tuple(rows)


def _leaves(groups: Sequence[Group]) -> tuple[Leaf, ...]:
    return tuple(
        Leaf(key, embedding_key(prompt))
        for group in groups
        for key, prompt in zip(group.content_keys, group.prompts, strict=True)
    )
