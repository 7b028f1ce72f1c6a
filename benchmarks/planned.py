"""A made-up plan of any size, in and out of a PostgreSQL of its own.

Knows the ledger; knows nothing of how trees are made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.stack.standalone import standalone
from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning, Embedding, pack
from hierdiff_core.plan import make_plan
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.schedule import solve_tau
from hierdiff_core.shard import make_shards
from tasks import ledger
from tasks.settings import read_settings
from tasks.stores import open_stores

_RECIPE = Recipe("kandinsky22", "model", "ddim", 40, 4.0, 512, 512, "1", "1")


def store_and_load(
    size: int, dimensions: int, timed: Callable[[str, Callable[[], Any]], Any]
) -> None:
    """Store embeddings and a plan of N prompts and read both, each step under the stopwatch."""
    night, tree = make_night(size)
    contents = _embeddings(night, dimensions)
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lambda line: None) as stack,
        open_stores(read_settings(home=stack.home)) as stores,
    ):

        def within(step: Callable[[Any], Any]) -> Any:
            with stores.session() as session:
                return step(session)

        claimed = within(lambda s: ledger.claim_night(s, "benchmark", date(2026, 11, 22)))
        timed("embeddings in", lambda: within(lambda s: ledger.store_embeddings(s, contents)))
        timed("embeddings out", lambda: within(lambda s: ledger.find_embeddings(s, contents)))

        def store(session: Any) -> Any:
            nodes = list(ledger.tree_nodes([tree]))
            return ledger.store_plan(session, claimed.batch, night, nodes)

        run = timed("plan in", lambda: within(store))
        timed("plan out", lambda: within(lambda s: ledger.load_plan(s, run)))


def make_night(size: int) -> tuple[ledger.NightPlan, ClusterTree]:
    """Return the plan of a balanced tree with random scores, and the tree."""
    rng = np.random.default_rng(0)
    children = np.arange(2 * size - 2).reshape(-1, 2)
    scores = np.concatenate([np.zeros(size), np.sort(rng.gamma(2, 0.3, size - 1))])
    tree = ClusterTree(children, scores, "ward")
    plan = make_plan(tree, solve_tau(tree, _RECIPE.steps, Budget(saving=0.6)))
    night = ledger.NightPlan(
        recipe=_RECIPE,
        plan=plan,
        trees=(ledger.Tree(compatibility_key(_RECIPE), _RECIPE, 0, size),),
        leaves=tuple(
            ledger.Leaf(digest("content", leaf), digest("embedding", leaf)) for leaf in range(size)
        ),
        keys=tuple(digest("segment", segment.id) for segment in plan.segments),
        shards=make_shards(plan, 16),
    )
    return night, tree


def _embeddings(night: ledger.NightPlan, dimensions: int) -> dict[str, ledger.StoredEmbedding]:
    rng = np.random.default_rng(0)
    return {
        leaf.embedding_key: ledger.StoredEmbedding(
            pack(Embedding(row, Conditioning({"y": torch.from_numpy(row[None])})))
        )
        for leaf in night.leaves
        if (row := rng.random(dimensions, dtype=np.float32)) is not None
    }
