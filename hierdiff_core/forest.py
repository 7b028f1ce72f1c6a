"""The forest of a batch: one tree for all prompts that may share steps, one plan for all trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.keys import segment_keys
from hierdiff_core.plan import Plan
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe, compatibility_key


@dataclass(frozen=True)
class Group:
    """Distinct prompts of one recipe, ascending by content key: the leaves of one tree."""

    recipe: Recipe
    prompts: tuple[Prompt, ...]

    @cached_property
    def content_keys(self) -> tuple[str, ...]:
        """One key per leaf."""
        return tuple(map(content_key, self.prompts))


@dataclass(frozen=True)
class Forest:
    """A batch's groups, their trees, and the one plan over all leaves, numbered in group order."""

    groups: tuple[Group, ...]
    trees: tuple[ClusterTree, ...]
    plan: Plan
    keys: tuple[str, ...]  # of the segments


def group_prompts(prompts: Sequence[Prompt]) -> tuple[Group, ...]:
    """Return the groups in the order of their compatibility keys; equal prompts become one leaf.

    The order of the prompts decides only which of several equal ones represents them.
    """
    leaves: dict[str, dict[str, Prompt]] = {}
    for prompt in prompts:
        group = leaves.setdefault(compatibility_key(prompt.recipe), {})
        group.setdefault(content_key(prompt), prompt)
    return tuple(
        Group(
            next(iter(group.values())).recipe, tuple(prompt for _, prompt in sorted(group.items()))
        )
        for _, group in sorted(leaves.items())
    )


def key_forest(groups: Sequence[Group], trees: Sequence[ClusterTree], plan: Plan) -> Forest:
    """Return the forest of trees and the one plan over all of them, with the segments' keys."""
    content_keys = [key for group in groups for key in group.content_keys]
    recipes = [compatibility_key(group.recipe) for group in groups for _ in group.prompts]
    keys = segment_keys(plan, content_keys, recipes)
    return Forest(tuple(groups), tuple(trees), plan, keys)
