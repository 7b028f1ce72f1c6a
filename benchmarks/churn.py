"""Nights that build on nights: what tomorrow costs where a share of the catalogue has changed.

Nights are planned and counted, not denoised; a segment that a night pays for is stored by its end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.catalogue import DECODER, STEPS, load_catalogue, make_texts
from benchmarks.lab import Lab
from benchmarks.outcome import Column, Figure, Goal, Outcome, Plot, Table
from hierdiff_core.budget import Budget
from hierdiff_core.forest import Forest, Group
from hierdiff_core.models.kandinsky22 import EMBEDDING
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.plan import CALIBRATED, PAPER, Plan
from hierdiff_core.planners import PlanSettings, Stand, extend_forest, plan_forest
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.standing import (
    Founder,
    KnownFounders,
    StandingForest,
    StandingSegment,
    make_standing,
)

TITLE = "Nights that build on nights: the price of a catalogue that changes"
PLANNERS = (PAPER, CALIBRATED)
CHURNS = (0.01, 0.05, 0.20)
NIGHTS = 31  # the first from nothing
GOALS = {0.01: 0.04, 0.05: 0.09, 0.20: 0.30}
SECOND_NIGHT = 0.02  # the most that one night of 1 % new rows may cost
SAVING = 0.5
KILLED = 0.1  # share of nights that are given up half way


@dataclass(frozen=True)
class Pool:
    """Prompts with their vectors, from which catalogues are drawn."""

    recipe: Recipe
    prompts: Mapping[str, Prompt]  # by content key
    vectors: Mapping[str, npt.NDArray[np.float32]]

    def group(self, keys: Sequence[str]) -> Group:
        """Return the group of some prompts."""
        return Group(self.recipe, tuple(self.prompts[key] for key in sorted(keys)))

    def rows(self, keys: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of prompts."""
        empty = np.zeros((0, next(iter(self.vectors.values())).shape[0]), np.float32)
        return np.stack([self.vectors[key] for key in keys]) if len(keys) else empty


@dataclass
class Ledger:
    """What nights have stored, as far as planning needs it."""

    segments: dict[str, StandingSegment] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)  # content key -> key of the segment

    def store(self, forest: Forest, made: float = 1.0) -> int:
        """Store a night's segments, or only the first part of them; return how many changed."""
        keys = [key for group in forest.groups for key in group.content_keys]
        leaves = [Founder(key, key) for key in keys] + list(forest.guests)
        plan, changed = forest.plan, 0
        last = int(made * len(plan.segments))
        for segment in plan.segments:
            parent = None if segment.parent is None else forest.keys[segment.parent]
            key = forest.keys[segment.id]
            stored = segment.id in forest.stored or segment.id < last
            founders = tuple(leaves[leaf] for leaf in plan.founders(segment))
            known = self.segments.get(key)
            if known is None or not known.stored:
                self.segments[key] = StandingSegment(
                    key, parent, segment.start, segment.stop, founders, stored
                )
            if stored and plan.is_leaf(segment):
                changed += self.pictures.setdefault(founders[0].content_key, key) != key
        return changed

    def standing(self) -> StandingForest:
        """Return the forest of all nights."""
        return make_standing(self.segments.values())


@dataclass(frozen=True)
class Night:
    """What one night cost."""

    evaluations: int
    fresh: int  # of as many rows from nothing, which the budget fixes
    changed: int  # pictures of unchanged rows that are another one than before


def measure(lab: Lab) -> Outcome:
    """Plan second nights of several sizes, then a month of nights at several rates of change."""
    sizes = (20, 30) if lab.quick else (300, 1000, 5000)
    nights = 3 if lab.quick else NIGHTS
    month = sizes[0] if lab.quick else 1000
    most = max(month + int(month * max(CHURNS) * nights) + nights, int(sizes[-1] * 1.02) + 2)
    pool = load_pool(lab, min(most, len(make_texts())))
    second = [
        (planner, size, run(lab, pool, planner, size, 0.01, 2)[-1])
        for planner in PLANNERS
        for size in sizes
    ]
    months = {
        (planner, churn): run(lab, pool, planner, month, churn, nights)
        for planner in PLANNERS
        for churn in CHURNS
    }
    return _outcome(second, months, month)


def load_pool(lab: Lab, count: int) -> Pool:
    """Return the first captions of the miniature's vocabulary, embedded."""
    recipe = pin_recipe(make_recipe(DECODER, {"prior_steps": 2}, steps=STEPS))
    catalogue = load_catalogue(lab, count, recipe)
    texts = make_texts()[:count]
    named = [Prompt(row, str(row), each, catalogue.recipe) for row, each in enumerate(texts, 1)]
    rows = catalogue.conditioning.tensors[EMBEDDING].numpy()
    return Pool(
        catalogue.recipe,
        {content_key(prompt): prompt for prompt in named},
        dict(zip(map(content_key, named), rows, strict=True)),
    )


def run(lab: Lab, pool: Pool, planner: str, size: int, churn: float, nights: int) -> list[Night]:
    """Return what each night costs where this share of the rows is new in each."""
    settings = PlanSettings(Budget(saving=SAVING), planner=planner)
    ledger, found, like = Ledger(), list[Night](), None
    for number, keys in enumerate(_catalogues(list(pool.vectors), size, churn, nights)):
        group = pool.group(keys)
        if like is None:
            forest = plan_forest([group], [pool.rows(group.content_keys)], settings)
            like = forest.plan
        else:
            forest = extend(ledger.standing(), pool, group, settings, like)
        killed = 0 < number < nights - 1 and random.Random(number).random() < KILLED
        changed = ledger.store(forest, made=0.5 if killed else 1.0)
        found.append(Night(forest.evaluations, like.evaluations, changed))
    cost = sum(night.evaluations for night in found) / sum(night.fresh for night in found)
    lab.say(f"{planner}, {size} rows, {churn:.0%} new a night, {nights} nights: {cost:.3f}")
    return found


def extend(
    standing: StandingForest, pool: Pool, group: Group, settings: PlanSettings, like: Plan
) -> Forest:
    """Return the forest of a night that stands on earlier ones, at their threshold or price."""
    pictures = standing.pictures(group.recipe.steps)
    kept = {leaf: pictures[key] for leaf, key in enumerate(group.content_keys) if key in pictures}
    new = [leaf for leaf in range(len(group.prompts)) if leaf not in kept]
    steering = pool.rows([each.content_key for each in standing.prompts])
    founders = KnownFounders(standing, steering)
    vectors = pool.rows([group.content_keys[leaf] for leaf in new])
    stand = Stand(standing, founders, kept, tuple(new), vectors)
    return extend_forest([group], [stand], settings, like)


def _catalogues(keys: list[str], size: int, churn: float, nights: int) -> Iterator[list[str]]:
    """Yield a catalogue's rows night by night; new rows take the place of random ones."""
    rng = random.Random(0)
    rows, waiting = keys[:size], keys[size:]
    yield rows
    for _ in range(nights - 1):
        count = max(1, round(churn * size))
        for place in rng.sample(range(size), count):
            rows[place] = waiting.pop(0)
        yield list(rows)


def _outcome(
    second: Sequence[tuple[str, int, Night]],
    months: Mapping[tuple[str, float], Sequence[Night]],
    size: int,
) -> Outcome:
    figures = [
        Figure(
            f"night 2 with 1 % new rows, {planner}, {count:,} rows",
            night.evaluations / night.fresh,
            ".4f",
            "of a night from nothing",
            goal=Goal(most=SECOND_NIGHT),
        )
        for planner, count, night in second
    ]
    figures += [
        Figure(
            f"{len(nights) - 1} nights after the first, {churn:.0%} new rows each, {planner}",
            _share(nights[1:]),
            ".3f",
            "of nights from nothing",
            goal=Goal(most=GOALS[churn]),
        )
        for (planner, churn), nights in months.items()
    ]
    changed = sum(night.changed for nights in months.values() for night in nights)
    figures.append(Figure("unchanged rows with another picture", changed, "d", goal=Goal(most=0)))
    lines = {
        f"{planner}, {churn:.0%}": [
            (float(number), night.evaluations / night.fresh)
            for number, night in enumerate(nights, start=1)
        ]
        for (planner, churn), nights in months.items()
    }
    plot = Plot("A month of nights", "night", "evaluations, of a night from nothing", lines, False)
    columns = (Column("planner"), Column("new rows", ".0%"), Column("evaluations", ",d"))
    table = Table(
        f"{size:,} rows, {SAVING:.0%} of the evaluations saved on the first night",
        (*columns, Column("from nothing", ",d")),
        [
            (planner, churn, *(sum(each) for each in zip(*map(_counts, nights), strict=True)))
            for (planner, churn), nights in months.items()
        ],
    )
    notes = (
        "Each night is planned on what the nights before have stored; new rows take the place of "
        "random ones, and none comes back. A night from nothing takes what the budget allows, as "
        "the first one does.",
        "Prompts are embedded in two steps of the prior, which is enough to plan.",
        f"One night in {1 / KILLED:.0f} is given up half way and never gone on with.",
    )
    return Outcome(tuple(figures), (table,), (plot,), notes)


def _share(nights: Sequence[Night]) -> float:
    return sum(each.evaluations for each in nights) / sum(each.fresh for each in nights)


def _counts(night: Night) -> tuple[int, int]:
    return night.evaluations, night.fresh
