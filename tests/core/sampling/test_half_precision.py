"""In half precision the shipped miniature draws what it draws in single precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning, stack
from hierdiff_core.models.kandinsky22 import EMBEDDING, fit, load_encoder, load_networks
from hierdiff_core.models.recipes import make_recipe
from hierdiff_core.plan import make_plan
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.schedule import solve_tau
from hierdiff_core.solver import make_solver

pytestmark = pytest.mark.slow

K = 6
TEXTS = ("a red mug", "a red clock", "a blue chair")


def recipe(dtype: str) -> Recipe:
    return make_recipe("hierdiff/miniature-decoder", {"prior_steps": 5}, steps=K, dtype=dtype)


def pictures(dtype: str, rows: Conditioning, negative: Conditioning) -> npt.NDArray[np.uint8]:
    decoder = fit(load_networks(recipe(dtype), "cpu"), recipe(dtype), negative)
    tree = build_tree(rows.tensors[EMBEDDING].numpy())
    plan = make_plan(tree, solve_tau([tree], K, Budget(saving=0.2)))
    job = Job(plan, rows, TEXTS, seed=1, slots=3)
    done = run(job, decoder, make_solver("ddim", decoder.noise_schedule, K))
    states = {each.segment.id: each.state for each in done}
    assert all(state.latents.dtype is torch.float32 for state in states.values())
    ends = [states[plan.leaf_segment(leaf).id].latents for leaf in range(len(TEXTS))]
    return decoder.decode(torch.stack(ends), TEXTS)


def test_pictures_in_half_precision_stay_close() -> None:
    prior = load_encoder(recipe("float32"), "cpu")
    prompts = [Prompt(row, "", text, recipe("float32")) for row, text in enumerate(TEXTS, 1)]
    rows = stack([embedding.conditioning for embedding in prior.embed(prompts)])
    negative = prior.embed_negative(recipe("float32"))
    full = pictures("float32", rows, negative).astype(float)
    half = pictures("bfloat16", rows, negative).astype(float)
    apart = np.abs(full[0] - full[2]).mean()
    assert np.abs(full - half).mean() < 6  # of 255
    assert np.abs(full - half).mean() < 0.2 * apart
