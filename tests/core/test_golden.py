"""Keys, plans, checkpoints and pictures of fixed small nights are those of revision 179f213.

The nights are the shipped model's. Their data lies in `golden/` and was made by that revision:
whatever the code has become since, equal work must still be found under its old key, and a picture
that is made again must be the picture that was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import KandinskyV22PriorPipeline
from PIL import Image
from safetensors.torch import load_file

from hierdiff_core.budget import Budget
from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.embedding import Conditioning, stack
from hierdiff_core.forest import Forest, group_prompts
from hierdiff_core.miniature import PRIOR
from hierdiff_core.models.kandinsky22 import EMBEDDING, fit, load_encoder, load_networks
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt, content_key, embedding_key, negative_key
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import make_solver

GOLDEN = Path(__file__).parent / "golden"
TEXTS = (
    "a red mug on a wooden table",
    "a blue mug on a wooden table",
    "a red mug on a marble table",
    "a green tea pot, studio light",
    "a brown leather shoe",
    "a small wooden chair",
)


@dataclass(frozen=True)
class Night:
    """What is fixed of a night."""

    fields: Mapping[str, object]
    saving: float | None = None  # by calibration; None: the paper's plan at tau 1


NIGHTS = {
    "paper": Night({}),
    "calibrated": Night({"solver": "dpmsolver++"}, saving=0.5),
    "noisy": Night({"solver": "ddpm", "negative_prompt": "a blue shoe", "seed": 7}, saving=0.4),
}
every_night = pytest.mark.parametrize("name", NIGHTS)


def _recipe(**fields: object) -> Recipe:
    return pin_recipe(make_recipe("hierdiff/miniature-decoder", **fields))


def _prompts(recipe: Recipe) -> list[Prompt]:
    return [Prompt(row, f"A-{row}", text, recipe) for row, text in enumerate(TEXTS, start=1)]


@cache
def _stored(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def _facts(name: str) -> dict[str, object]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def _forest(name: str) -> Forest:
    """Return the night's forest over its stored embeddings."""
    night, recipe = NIGHTS[name], _recipe(**NIGHTS[name].fields)
    prompts = _prompts(recipe)
    rows = _stored(name)["embeddings"]
    (group,) = groups = group_prompts(prompts)
    vectors = np.stack([rows[prompt.row - 1].numpy() for prompt in group.prompts])
    if night.saving is None:
        settings = PlanSettings(planner="paper", tau=1.0)
    else:
        settings = PlanSettings(Budget(night.saving), planner="calibrated")
    return plan_forest(groups, [vectors], settings)


@cache
def _made(name: str) -> dict[str, State]:
    """Return the end states of the night's segments by key, from its stored embeddings."""
    recipe, forest = _recipe(**NIGHTS[name].fields), _forest(name)
    places = {prompt.row: prompt.row - 1 for prompt in _prompts(recipe)}
    rows = [_stored(name)["embeddings"][places[p.row]] for p in forest.groups[0].prompts]
    conditioning = stack([Conditioning({EMBEDDING: row[None]}) for row in rows])
    negative = Conditioning({EMBEDDING: _stored(name)["negative"]})
    denoiser = fit(load_networks(recipe, "cpu"), recipe, negative)
    job = Job(forest.plan, conditioning, forest.groups[0].content_keys, seed=recipe.seed, slots=4)
    solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
    return {forest.keys[done.segment.id]: done.state for done in run(job, denoiser, solver)}


@cache
def _rounds_alike() -> bool:
    """Tell whether this processor rounds as the one that made the data.

    The negative embedding of two nights is the image encoder's of a black picture: stock classes on
    shipped weights, in which no code of ours takes part.
    """
    pipeline = KandinskyV22PriorPipeline.from_pretrained(PRIOR)
    with torch.no_grad():
        return torch.equal(pipeline.get_zero_embed(), _stored("paper")["negative"])


def _same_machine(facts: dict[str, object]) -> bool:
    """Tell whether bits can be compared: rounding depends on torch and on the processor."""
    here = [torch.__version__, torch.backends.cpu.get_cpu_capability()]
    return facts["made_on"] == here and _rounds_alike()


@every_night
def test_keys_of_recipes_prompts_and_embeddings_are_the_old_ones(name: str) -> None:
    recipe = _recipe(**NIGHTS[name].fields)
    prompts = _prompts(recipe)
    assert _facts(name)["keys"] == {
        "compatibility": compatibility_key(recipe),
        "content": [content_key(prompt) for prompt in prompts],
        "embedding": [embedding_key(prompt) for prompt in prompts],
        "negative": negative_key(recipe),
    }


@every_night
def test_the_plan_of_stored_embeddings_is_the_old_one(name: str) -> None:
    forest = _forest(name)
    segments = [[s.node, s.start, s.stop, s.parent, s.first, s.last] for s in forest.plan.segments]
    facts = _facts(name)
    assert list(forest.plan.order) == facts["order"]
    assert segments == facts["segments"]
    assert list(forest.keys) == facts["segment_keys"]


@every_night
def test_a_prompt_still_has_its_embedding(name: str) -> None:
    recipe = _recipe(**NIGHTS[name].fields)
    prior = load_encoder(recipe, "cpu")
    rows = torch.stack([torch.from_numpy(row.vector) for row in prior.embed(_prompts(recipe))])
    negative = prior.embed_negative(recipe).tensors[EMBEDDING]
    _assert_equal(_facts(name), rows, _stored(name)["embeddings"])
    _assert_equal(_facts(name), negative, _stored(name)["negative"])


@every_night
def test_checkpoints_hold_the_old_latents(name: str) -> None:
    facts, made = _facts(name), _made(name)
    for key, old in unpack((GOLDEN / f"{name}.checkpoint").read_bytes()).items():
        assert made[key].step == old.step
        assert len(made[key].history) == len(old.history)
        _assert_equal(facts, made[key].latents, old.latents)
    if _same_machine(facts):
        packed = pack({key: made[key] for key in sorted(made)})
        assert hashlib.sha256(packed).hexdigest() == facts["all_checkpoints"]


@every_night
def test_the_first_picture_is_the_old_one(name: str) -> None:
    recipe, forest, facts = _recipe(**NIGHTS[name].fields), _forest(name), _facts(name)
    negative = Conditioning({EMBEDDING: _stored(name)["negative"]})
    denoiser = fit(load_networks(recipe, "cpu"), recipe, negative)
    state = _made(name)[forest.keys[forest.plan.leaf_segment(0).id]]
    picture = denoiser.decode(state.latents[None], ["it"])[0]
    with Image.open(GOLDEN / f"{name}.png") as image:
        old = np.asarray(image.convert("RGB"))
    _assert_equal(facts, torch.tensor(picture).int(), torch.tensor(old).int(), within=1)


def _assert_equal(
    facts: dict[str, object], new: torch.Tensor, old: torch.Tensor, within: float = 1e-4
) -> None:
    if _same_machine(facts):
        assert torch.equal(new, old)
    else:
        torch.testing.assert_close(new, old, rtol=0, atol=within)
