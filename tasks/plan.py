"""Planning: from a night's embedded prompts to the plan in the database.

How a forest is planned is the core's. A plan is stored whole or not at all, and a night that has
one keeps it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from hierdiff_core.budget import Budget
from hierdiff_core.forest import Forest, Group, group_prompts
from hierdiff_core.planners import PlanSettings, Stand, Vectors, extend_forest, plan_forest
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import compatibility_key
from hierdiff_core.shard import make_shards
from hierdiff_core.standing import StandingForest, make_standing
from tasks.embed import LedgerCache
from tasks.errors import EmptyBatch, LostEmbeddings
from tasks.founders import LedgerFounders
from tasks.ledger import (
    Leaf,
    NightPlan,
    Tree,
    find_like,
    load_standing,
    store_plan,
    tree_nodes,
)
from tasks.settings import Settings
from tasks.stores import Stores

_MOST = 0.8  # share of a night's pictures that stand, from which its threshold does, too


def read_plan_settings(settings: Settings) -> PlanSettings:
    """Return the part of the settings that decides how a batch is planned."""
    return PlanSettings(
        budget=Budget(settings.saving, settings.steps_per_image),
        tau=settings.tau,
        linkage=settings.linkage,
        exact=settings.exact_prompts,
        planner=settings.planner,
        loss=settings.loss,
        joins=settings.joins,
        shared=settings.variants_shared,
    )


def plan_prompts(
    stores: Stores, prompts: Sequence[Prompt], settings: PlanSettings, catalogue: str
) -> Forest:
    """Return the forest of prompts whose embeddings are cached; the others are left out.

    It stands on what earlier nights have stored. New prompts are planned at the threshold or price
    of the catalogue's last run, if most of the catalogue is what it was, else at that of a plan
    from nothing. Raises EmptyBatch, LostEmbeddings where one of an earlier night is gone, and what
    `plan_forest` raises.
    """
    groups = _known_groups(stores, prompts)
    keys = {key for each in groups for key in (*each.content_keys, *each.text_keys)}
    with stores.snapshot() as session:  # of which nothing is removed meanwhile
        forests = load_standing(session, [compatibility_key(each.recipe) for each in groups], keys)
        like = find_like(session, catalogue, settings)
    if not forests:
        return plan_forest(groups, _all_vectors(stores, groups), settings)
    stands = [_stand(stores, forests, group) for group in groups]
    kept = sum(len(stand.kept) for stand in stands)
    images = sum(len(group.prompts) for group in groups)
    if like is None or like.steps != groups[0].recipe.evaluations or kept < _MOST * images:
        like = plan_forest(groups, _all_vectors(stores, groups), settings).plan
    return extend_forest(groups, stands, settings, like)


def plan_afresh(stores: Stores, prompts: Sequence[Prompt], settings: PlanSettings) -> Forest:
    """Return the forest of prompts as if no earlier night had been; see `plan_prompts`."""
    return planning_afresh(stores, prompts)(settings)


def planning_afresh(stores: Stores, prompts: Sequence[Prompt]) -> Callable[[PlanSettings], Forest]:
    """Return a function that plans prompts as `plan_afresh` does; their embeddings are read now."""
    groups = _known_groups(stores, prompts)
    vectors = _all_vectors(stores, groups)
    return lambda settings: plan_forest(groups, vectors, settings)


def _known_groups(stores: Stores, prompts: Sequence[Prompt]) -> tuple[Group, ...]:
    keys = {prompt: embedding_key(prompt) for prompt in prompts}
    known = LedgerCache(stores).known(set(keys.values()))
    groups = group_prompts([prompt for prompt, key in keys.items() if key in known])
    if not groups:
        raise EmptyBatch(reason="no prompt has an embedding")
    return groups


def _all_vectors(stores: Stores, groups: Sequence[Group]) -> list[Vectors]:
    return [_read_vectors(stores, map(embedding_key, group.prompts)) for group in groups]


def _read_vectors(stores: Stores, keys: Iterable[str]) -> Vectors:
    """Return the vectors (N, D) of keys in their order; raises LostEmbeddings."""
    wanted = list(keys)
    found = LedgerCache(stores).vectors(set(wanted))
    if lost := set(wanted) - found.keys():
        raise LostEmbeddings(count=len(lost), keys=frozenset(lost))
    return np.stack([found[key] for key in wanted]) if wanted else np.zeros((0, 0), np.float32)


def _stand(stores: Stores, forests: Mapping[str, StandingForest], group: Group) -> Stand:
    """Return what a group stands on; vectors are read of new prompts alone."""
    recipe = compatibility_key(group.recipe)
    forest = forests.get(recipe) or make_standing(())
    pictures = forest.pictures(group.recipe.evaluations)
    kept = {
        leaf: pictures[key]
        for leaf, key in enumerate(group.content_keys)
        if key in pictures and not group.prompts[leaf].anew
    }
    new = tuple(leaf for leaf in range(len(group.prompts)) if leaf not in kept)
    vectors = _read_vectors(stores, (embedding_key(group.prompts[leaf]) for leaf in new))
    founders = LedgerFounders(stores, recipe, forest, vectors.shape[1])
    return Stand(forest, founders, kept, new, vectors)


def store_forest(
    stores: Stores, batch: int, forest: Forest, budget: Budget, shards: int, tuned: str = ""
) -> uuid.UUID:
    """Store a night's plan and return its run; see `make_night_plan`.

    Raises GroundLost where what it stands on was removed since it was planned.
    """
    night = make_night_plan(forest, budget, shards, tuned)
    with stores.session() as session:
        nodes = list(tree_nodes(forest.trees))
        return store_plan(session, batch, night, nodes, forest.stored)


def make_night_plan(forest: Forest, budget: Budget, shards: int, tuned: str = "") -> NightPlan:
    """Return a forest as it is stored; `tuned` describes the catalogue's own setting."""
    return NightPlan(
        recipe=forest.groups[0].recipe,
        plan=forest.plan,
        trees=_trees(forest.groups),
        leaves=_leaves(forest),
        keys=forest.keys,
        shards=make_shards(forest.plan, shards, forest.stored),
        saving_asked=budget.saving,
        steps_per_image=budget.steps_per_image,
        tuned=tuned,
        guests=tuple(Leaf(each.content_key, each.embedding_key) for each in forest.guests),
        anew=_ends_made_anew(forest),
    )


def _trees(groups: Sequence[Group]) -> tuple[Tree, ...]:
    rows, first = [], 0
    for group in groups:
        size = len(group.prompts)
        rows.append(Tree(compatibility_key(group.recipe), group.recipe, first, size))
        first += size
    return tuple(rows)


def _leaves(forest: Forest) -> tuple[Leaf, ...]:
    prompts = [prompt for group in forest.groups for prompt in group.prompts]
    keys = [key for group in forest.groups for key in group.content_keys]
    texts = [key for group in forest.groups for key in group.text_keys]
    losses = np.full(len(keys), np.nan) if forest.losses is None else forest.losses
    return tuple(
        Leaf(
            key,
            embedding_key(prompt),
            text if text != key else "",
            None if math.isnan(loss) else loss,
        )
        for key, text, prompt, loss in zip(keys, texts, prompts, losses.tolist(), strict=True)
    )


def _ends_made_anew(forest: Forest) -> frozenset[int]:
    prompts = enumerate(prompt for group in forest.groups for prompt in group.prompts)
    return frozenset(forest.plan.leaf_segment(leaf).id for leaf, each in prompts if each.anew)
