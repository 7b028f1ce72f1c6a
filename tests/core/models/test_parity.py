"""Pictures that share no step are those of the stock pipelines, for every family.

The few cases here run with every change; `slow` is the whole grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning
from hierdiff_core.library import generate
from hierdiff_core.models.family import load_family
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, content_key, embedding_key
from hierdiff_core.recipe import Recipe
from tests.core.gaussian import STOCK, draw, stock_config
from tests.core.tiny.model import Asked, Tiny, redraw
from tests.core.tiny.pipelines import MODELS

K = 3
TEXTS = ("a red cup", "two pots, a hat", "a cup")
MANY = (*TEXTS, "a", "a blue hat on a chair", "pots", "two cups", "a pot and a hat")
DRAWN_BY = (
    "schedulers.scheduling_ddpm",
    "schedulers.scheduling_unclip",
    "pipelines.deprecated.unclip.pipeline_unclip",
    "pipelines.stable_diffusion.pipeline_stable_unclip",
)  # modules of diffusers that draw noise

Folder = Callable[[str], Path]


@dataclass(frozen=True)
class Pair:
    """One model, and the stock pipeline of its folder."""

    model: Tiny
    folder: str
    stock: Any
    own: Any  # the scheduler that the folder names

    stated: Mapping[str, Any]  # its config, with what its class does where that is silent
    networks: Any
    negative: Conditioning

    def recipe(self, **fields: Any) -> Recipe:
        return make_recipe(self.folder, dict(self.model.options), **fields)

    def shape(self, recipe: Recipe) -> tuple[int, ...]:
        fitted = load_family(recipe.family).fit(self.networks, recipe, self.negative)
        return tuple(fitted.latent_shape)


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tiny_folder: Folder) -> Pair:
    model, folder = MODELS[request.param], tiny_folder(request.param)
    stock = redraw(model.make())
    if model.whole:
        stock = type(stock).from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    recipe = make_recipe(str(folder), dict(model.options))
    family = load_family(recipe.family)
    networks = family.load_networks(recipe, "cpu", compiled=False)
    negative = family.load_encoder(recipe, "cpu").embed_negative(recipe)
    stated = family.load_schedule(recipe).complete
    own = getattr(stock, "scheduler", None)
    return Pair(model, str(folder), stock, own, stated, networks, negative)


@dataclass
class Draws:
    """What stock classes draw where they are given no generator: our noise, by what it is for."""

    prompt: Prompt | None = None
    latent_shape: tuple[int, ...] = ()
    step: int = 0

    def begin(self, prompt: Prompt, latent_shape: tuple[int, ...]) -> None:
        self.prompt, self.latent_shape, self.step = prompt, latent_shape, 0
        node = digest("node", [content_key(prompt)])
        self.prior = generator(f"prior/{embedding_key(prompt)}")
        self.decoding = generator(f"{prompt.recipe.seed}/{node}/enlarging")

    def __call__(self, shape: Sequence[int], generator: Any = None, **told: Any) -> torch.Tensor:
        if generator is not None:  # it is ours that draws
            return randn_tensor(tuple(shape), generator=generator, **told)
        if len(shape) == 2:
            return torch.randn(tuple(shape), generator=self.prior)
        if tuple(shape[1:]) != self.latent_shape:
            return torch.randn(tuple(shape), generator=self.decoding)
        self.step += 1
        return draw(self.step - 1, *shape[1:])[None]


@pytest.fixture(autouse=True)
def same_noise(monkeypatch: pytest.MonkeyPatch) -> Draws:
    """Let both sides draw equal noise; that of a step by its number alone."""
    draws = Draws()
    for module in DRAWN_BY:
        monkeypatch.setattr(f"diffusers.{module}.randn_tensor", draws)
    monkeypatch.setattr(
        "hierdiff_core.sampling.batch.step_noise", lambda _s, _k, at, shape: draw(at, *shape)
    )
    return draws


def check(pair: Pair, draws: Draws, texts: Sequence[str] = TEXTS, **fields: Any) -> None:
    """Compare latents and pictures of our call with those of the stock pipeline."""
    model = pair.model
    fields = {"height": model.side, "width": model.side, "guidance": model.guidance} | fields
    recipe = pin_recipe(pair.recipe(steps=K, **fields))
    shape = pair.shape(recipe)
    noise = draw(5, len(texts), *shape)
    made = generate(
        pair.folder, texts, tau=0.0, steps=K, device="cpu", initial_noise=noise,
        **fields, **model.options,
    )  # fmt: skip
    solver = fields.get("solver")
    if pair.own is not None:
        pair.stock.scheduler = (
            STOCK[solver].from_config(stock_config(solver, pair.stated)) if solver else pair.own
        )
    for row, text in enumerate(texts):
        draws.begin(Prompt(1, "", text, recipe), shape)
        size = recipe.height, recipe.width
        asked = Asked(text, noise[row], K, recipe.guidance, *size, recipe.negative_prompt)
        latents, picture = model.call(pair.stock, model, asked)
        found = model.packed(torch.from_numpy(made.latents[row]))
        largest = float(latents.abs().max())
        torch.testing.assert_close(found, latents, rtol=0, atol=model.near * largest)
        # Whole numbers are half a level off, and a level where rounding tips.
        off = np.abs(made.pictures[row] / 255 - picture)
        assert (off > 0.5 / 255 + model.near).mean() <= model.stray


def test_pictures_are_those_of_the_stock_pipeline(pair: Pair, same_noise: Draws) -> None:
    check(pair, same_noise)


def test_pictures_without_guidance_are_too(pair: Pair, same_noise: Draws) -> None:
    check(pair, same_noise, TEXTS, guidance=pair.model.unguided)


def test_pictures_of_another_shape_by_other_solvers_are_too(pair: Pair, same_noise: Draws) -> None:
    if pair.model.fixed:
        pytest.skip("makes one size, by one solver")
    side = pair.model.side
    for solver in pair.model.others or (None,):
        check(pair, same_noise, TEXTS[1:2], solver=solver, height=2 * side, width=side)


def test_pictures_away_from_a_negative_prompt_are_too(pair: Pair, same_noise: Draws) -> None:
    if not pair.model.negative or pair.model.family == "kandinsky3":
        pytest.skip("takes none, or cuts it to the length of the prompt beside it")
    check(pair, same_noise, TEXTS[:1], negative_prompt="a blur")


@pytest.mark.slow
@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS, MANY], ids=len)
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("wide", [1, 2])
def test_the_whole_grid_is(
    pair: Pair, same_noise: Draws, texts: Sequence[str], guided: bool, wide: int
) -> None:
    if pair.model.fixed and wide > 1:
        pytest.skip("makes one size")
    guidance = pair.model.guidance if guided else pair.model.unguided
    for solver in (None, *pair.model.others):
        check(
            pair,
            same_noise,
            texts,
            guidance=guidance,
            solver=solver,
            height=pair.model.side,
            width=wide * pair.model.side,
        )
