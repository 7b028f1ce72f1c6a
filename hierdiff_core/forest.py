"""The forest of a batch: one tree for all prompts that may share steps, one plan for all trees."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.grafting import Grafted
from hierdiff_core.keys import segment_keys
from hierdiff_core.parting import Siblings, find_siblings
from hierdiff_core.plan import Plan, join_plans
from hierdiff_core.prices import step_forwards
from hierdiff_core.prompt import Prompt, content_key, text_key
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.standing import Founder


@dataclass(frozen=True)
class Group:
    """Distinct prompts of one recipe, ascending by content key: the leaves of one tree."""

    recipe: Recipe
    prompts: tuple[Prompt, ...]

    @cached_property
    def content_keys(self) -> tuple[str, ...]:
        """One key per leaf."""
        return tuple(map(content_key, self.prompts))

    @cached_property
    def text_keys(self) -> tuple[str, ...]:
        """The content key of the first picture of each leaf's text."""
        return tuple(map(text_key, self.prompts))

    @cached_property
    def has_variants(self) -> bool:
        """Whether any leaf is another picture of its text than the first one."""
        return self.content_keys != self.text_keys

    @cached_property
    def siblings(self) -> tuple[Siblings, ...]:
        """The leaves of each text."""
        leaves = range(len(self.prompts))
        return find_siblings(leaves, self.content_keys, self.text_keys)

    @cached_property
    def texts(self) -> Group:
        """The group in which each text has its first picture alone, in the order of siblings."""
        steering = (self.prompts[each.steering] for each in self.siblings)
        return Group(self.recipe, tuple(each.first for each in steering))


@dataclass(frozen=True, slots=True)
class Standing:
    """How many pictures of a night stand on earlier ones."""

    kept: int  # made by an earlier night
    joined: int  # new, from a split of an earlier night
    fresh: int  # new, from noise


@dataclass(frozen=True)
class Forest:
    """A batch's groups, their trees, and the one plan over all leaves, numbered in group order."""

    groups: tuple[Group, ...]
    trees: tuple[ClusterTree, ...]  # none where the plan is not of trees alone
    plan: Plan
    keys: tuple[str, ...]  # of the segments
    guests: tuple[Founder, ...] = ()  # founders that want no picture, numbered from N
    stored: frozenset[int] = frozenset()  # segments that earlier nights have stored
    # (N,) predicted excess of each picture as a share of what plain ones miss; NaN: not known.
    losses: npt.NDArray[np.float64] | None = None

    @property
    def evaluations(self) -> int:
        """Evaluations that are left to take: those of segments that no earlier night has stored."""
        plan = self.plan
        return plan.evaluations - sum(plan.segments[each].steps for each in self.stored)

    @property
    def pixel_evaluations(self) -> int:
        """The evaluations that are left, each counted for every pixel of its picture."""
        plan = self.plan
        area = [
            group.recipe.width * group.recipe.height for group in self.groups for _ in group.prompts
        ]
        left = (each for each in plan.segments if each.id not in self.stored)
        return sum(each.steps * area[plan.order[each.first]] for each in left)

    @property
    def forwards(self) -> int:
        """Forward passes of the network that the plan takes: a guided pair counts as two."""
        plan, until = self.plan, self._forwards_until
        return sum(
            int(passes[each.stop] - passes[each.start])
            for each in plan.segments
            for passes in [until[plan.order[each.first]]]
        )

    @property
    def forwards_standard(self) -> int:
        """Forward passes without sharing."""
        return sum(int(passes[-1]) for passes in self._forwards_until)

    @property
    def _forwards_until(self) -> list[npt.NDArray[np.int64]]:
        """For each leaf, the forward passes before each step, (K + 1,)."""
        return [
            passes
            for group in self.groups
            for passes in [np.cumsum([0, *step_forwards(group.recipe)])]
            for _ in group.prompts
        ]

    @property
    def standing(self) -> Standing:
        """How the pictures stand on earlier nights."""
        return count_standing(self.plan, self.stored)


def group_prompts(prompts: Sequence[Prompt]) -> tuple[Group, ...]:
    """Return the groups in the order of their compatibility keys; equal prompts become one leaf.

    The order of the prompts decides only which of several equal ones represents them.
    """
    leaves: dict[str, dict[str, Prompt]] = {}
    for prompt in prompts:
        group = leaves.setdefault(compatibility_key(prompt.recipe), {})
        known = group.setdefault(content_key(prompt), prompt)
        if prompt.anew and not known.anew:
            group[content_key(prompt)] = replace(known, anew=True)
    return tuple(
        Group(
            next(iter(group.values())).recipe, tuple(prompt for _, prompt in sorted(group.items()))
        )
        for _, group in sorted(leaves.items())
    )


def count_standing(plan: Plan, stored: Collection[int]) -> Standing:
    """Return how a plan's pictures stand on the segments that earlier nights have stored."""
    kept = joined = 0
    for leaf in range(plan.size):
        path = plan.path(plan.leaf_segment(leaf))
        kept += path[-1].id in stored
        joined += path[-1].id not in stored and path[0].id in stored
    return Standing(kept, joined, plan.size - kept - joined)


def key_forest(
    groups: Sequence[Group],
    plans: Sequence[Plan],
    trees: Sequence[ClusterTree] = (),
    losses: npt.NDArray[np.float64] | None = None,
) -> Forest:
    """Return the forest of plans, one for each group, with the segments' keys."""
    plan = join_plans(plans)
    keys = _segment_keys(plan, groups, ())
    return Forest(tuple(groups), tuple(trees), plan, keys, losses=losses)


def key_grafted(
    groups: Sequence[Group],
    grafted: Sequence[Grafted],
    losses: npt.NDArray[np.float64] | None = None,
) -> Forest:
    """Return the forest of plans that stand on earlier nights, one for each group."""
    plan = join_plans([each.plan for each in grafted], [len(each.guests) for each in grafted])
    guests = tuple(guest for each in grafted for guest in each.guests)
    stored, first = set[int](), 0
    for each in grafted:
        stored |= {first + segment for segment in each.stored}
        first += len(each.plan.segments)
    keys = _segment_keys(plan, groups, guests)
    return Forest(tuple(groups), (), plan, keys, guests, frozenset(stored), losses)


def _segment_keys(
    plan: Plan, groups: Sequence[Group], guests: Sequence[Founder]
) -> tuple[str, ...]:
    recipes = [compatibility_key(group.recipe) for group in groups for _ in group.prompts]
    founders = [guest.content_key for guest in guests]
    own = [key for group in groups for key in group.content_keys]
    texts = [key for group in groups for key in group.text_keys]
    return segment_keys(plan, [*own, *founders], recipes, [*texts, *founders])
