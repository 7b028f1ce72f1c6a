"""Planning: from a night's embedded prompts to the plan in the database.

Knows settings, cache and tables; the forest itself is the core's. A plan is stored whole or not at
all, and a night that has one keeps it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.calibrated.forest import Asked, ask, plan_calibrated_forest
from hierdiff_core.calibrated.plans import count_evaluations
from hierdiff_core.clustering.tree import EXACT, ClusterTree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import Forest, Group, group_prompts, grow_trees, plan_forest
from hierdiff_core.models.kandinsky22 import load_schedule
from hierdiff_core.models.place import find_revision
from hierdiff_core.prompt import Prompt, Recipe, compatibility_key, content_key, embedding_key
from hierdiff_core.schedule import Schedule, evaluations, make_schedule, solve_tau
from hierdiff_core.shard import make_shards
from tasks.embed import load_embeddings
from tasks.errors import EmptyBatch
from tasks.ledger import Leaf, NightPlan, Tree, store_plan, tree_nodes
from tasks.settings import Settings
from tasks.stores import Stores


@dataclass(frozen=True)
class Budget:
    """What a plan may cost: a tau, or a saving or steps per image that tau is solved for."""

    linkage: str
    tau: float
    saving: float | None = None
    steps_per_image: float | None = None
    exact: int = EXACT  # prompts up to which a tree, or a plan, is exact
    planner: str = "paper"  # or calibrated, or auto: calibrated where every recipe's model is


def read_budget(settings: Settings) -> Budget:
    """Return the budget that is set."""
    return Budget(
        settings.linkage,
        settings.tau,
        settings.saving,
        settings.steps_per_image,
        settings.exact_prompts,
        settings.planner,
    )


def pin_recipe(recipe: Recipe, memory: Path | None = None) -> Recipe:
    """Return the recipe with the revisions of the weights that are there now.

    With a `memory`, weights that have not changed are not read again. Raises UnknownModel.
    """
    return replace(
        recipe,
        revision=find_revision(recipe.model, memory),
        prior_revision=find_revision(recipe.prior, memory),
    )


def grow_forest(stores: Stores, prompts: Sequence[Prompt], budget: Budget) -> Forest:
    """Return the forest of prompts whose embeddings are cached; the others are left out.

    It is that of least excess where the model is calibrated and the planner is not set to the
    paper's; without a budget it takes as many evaluations as the paper's tree would at its tau.
    The plan's linkage says which it is. Raises EmptyBatch, and InvalidSetting for a budget that
    cannot be met or a calibration that is asked for and is not there.
    """
    with stores.session() as session:
        embeddings = load_embeddings(session, prompts)
    groups = group_prompts(_embedded(prompts, set(embeddings)))
    if not groups:
        raise EmptyBatch(reason="no prompt has an embedding")
    asked = _ask(groups, budget)
    if asked is not None and _has_budget(budget):
        most = _evaluations(groups, budget)
        return plan_calibrated_forest(groups, embeddings, asked, most, budget.exact)
    trees = grow_trees(groups, embeddings, budget.linkage, exact=budget.exact)
    schedule = _schedule(trees, groups[0].recipe.steps, budget)
    if asked is not None:
        most = evaluations(trees, schedule)
        return plan_calibrated_forest(groups, embeddings, asked, most, budget.exact)
    return plan_forest(groups, trees, schedule)


def plan_night(
    stores: Stores, batch: int, forest: Forest, budget: Budget, shards: int, tuned: str = ""
) -> uuid.UUID:
    """Store the plan of a night and return its run; `tuned` says whose budget it was."""
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


def _embedded(prompts: Sequence[Prompt], known: set[str]) -> list[Prompt]:
    return [prompt for prompt in prompts if content_key(prompt) in known]


def _ask(groups: Sequence[Group], budget: Budget) -> list[Asked] | None:
    """Return what each group's plan is made by, or None where it is the paper's."""
    if budget.planner == "paper":
        return None
    asked = []
    for group in groups:
        recipe = group.recipe
        calibration = find_calibration(recipe)
        if calibration is None and budget.planner == "auto":
            return None
        if calibration is None:
            hint = f"{recipe.model} has no calibration for this guidance and size; use auto, or run"
            hint += " `hierdiff calibrate` first"
            raise InvalidSetting(setting="planner", value=budget.planner, hint=hint)
        asked.append(ask(calibration, load_schedule(recipe), recipe.solver, recipe.steps))
    return asked


def _has_budget(budget: Budget) -> bool:
    return budget.saving is not None or budget.steps_per_image is not None


def _evaluations(groups: Sequence[Group], budget: Budget) -> int:
    leaves = sum(len(group.prompts) for group in groups)
    steps = groups[0].recipe.steps
    return count_evaluations(leaves, steps, budget.saving, budget.steps_per_image)


def _schedule(trees: Sequence[ClusterTree], steps: int, budget: Budget) -> Schedule:
    if not _has_budget(budget):
        return make_schedule(steps, budget.tau)
    return solve_tau(trees, steps, saving=budget.saving, steps_per_image=budget.steps_per_image)


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
