"""A small night, from prompts to a stored plan."""

from __future__ import annotations

import os
from datetime import date
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import Engine

from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.digest import digest
from hierdiff_core.plan import make_plan
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.schedule import make_schedule
from hierdiff_core.shard import make_shards
from tasks import ledger
from tasks.database import session_scope
from tests.core.recipes import bare_recipe

RECIPE = bare_recipe(model="model", revision="1", steps=8, height=64, width=64)
NIGHT = date(2026, 11, 22)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests stay out of them."""
    for name in [name for name in os.environ if name.startswith(("HIERDIFF_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def make_prompts(count: int, recipe: Recipe = RECIPE) -> tuple[Prompt, ...]:
    """Return prompts that all differ."""
    return tuple(Prompt(row, f"SKU-{row}", f"mug {row}", recipe) for row in range(1, count + 1))


def make_night_plan(
    prompts: tuple[Prompt, ...], shards: int = 2
) -> tuple[ledger.NightPlan, ClusterTree]:
    """Return the plan of prompts of one recipe, over random embeddings."""
    recipe = prompts[0].recipe
    vectors = np.random.default_rng(0).normal(size=(len(prompts), 8)) + 2.0
    tree = build_tree(vectors, linkage="average")
    plan = make_plan(tree, make_schedule(recipe.steps, tau=0.4))
    keys = [content_key(prompt) for prompt in prompts]
    members = [sorted(keys[leaf] for leaf in plan.members(each)) for each in plan.segments]
    night = ledger.NightPlan(
        recipe=recipe,
        plan=plan,
        trees=(ledger.Tree(compatibility_key(recipe), recipe, 0, len(prompts)),),
        leaves=tuple(ledger.Leaf(key, f"embedding-{key}") for key in keys),
        keys=tuple(
            digest("segment", below, each.start, each.stop)
            for below, each in zip(members, plan.segments, strict=True)
        ),
        shards=make_shards(plan, shards),
        saving_asked=0.3,
    )
    return night, tree


def store_night(
    database: Engine, prompts: tuple[Prompt, ...], catalogue: str = "shop", shards: int = 2
) -> tuple[UUID, ledger.NightPlan]:
    """Store prompts, embeddings and plan of a catalogue's night; return the run and its plan."""
    plan, tree = make_night_plan(prompts, shards)
    with session_scope(database) as session:
        night = ledger.claim_night(session, catalogue, NIGHT)
        ledger.store_prompts(session, night.batch, prompts, [])
        embeddings = {
            leaf.embedding_key: ledger.StoredEmbedding(b"embedding") for leaf in plan.leaves
        }
        ledger.store_embeddings(session, embeddings)
        nodes = list(ledger.tree_nodes([tree]))
        return ledger.store_plan(session, night.batch, plan, nodes), plan


@pytest.fixture
def run(database: Engine) -> UUID:
    """A stored run of twelve prompts in two shards."""
    return store_night(database, make_prompts(12))[0]
