"""A small model beside its stock pipeline: of equal noise, how far apart are their pictures?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, content_key, embedding_key
from hierdiff_core.recipe import Recipe
from tests.core.gaussian import STOCK, draw, stock_config
from tests.core.tiny.model import Asked, Tiny, redraw

K = 3
HALF_LEVEL = 0.5 / 255  # by which whole numbers are off
_ASKED = ("height", "width", "guidance", "solver", "dtype", "negative_prompt")
_DRAWN_BY = (
    "schedulers.scheduling_ddpm",
    "schedulers.scheduling_unclip",
    "pipelines.deprecated.unclip.pipeline_unclip",
    "pipelines.stable_diffusion.pipeline_stable_unclip",
)  # modules of diffusers that draw noise


class Kept(Models):
    """Models that stay loaded from one call to the next."""

    def forget_encoders(self) -> None:
        """Keep the text side, which is small."""


@dataclass(frozen=True)
class Pair:
    """One model, and the stock pipeline of its folder."""

    model: Tiny
    folder: str
    stock: Any
    stated: Mapping[str, Any]  # its scheduler's config, with what its class does where it is silent
    own: Any  # the scheduler that the folder names; None where it cannot be exchanged
    models: Models

    def recipe(self, **fields: Any) -> Recipe:
        size = {"height": self.model.side, "width": self.model.side}
        fields = size | {"guidance": self.model.guidance, "steps": K} | fields
        return pin_recipe(make_recipe(self.folder, dict(self.model.options), **fields))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the stock pipeline."""
        parts: Any = self.stock.components.values()
        modules = (part for part in parts if isinstance(part, torch.nn.Module))
        network: Any = next(modules)
        dtype: torch.dtype = network.dtype
        return dtype

    def negative(self, recipe: Recipe) -> Conditioning:
        return self.models.encoder(recipe).embed_negative(recipe)

    def set_scheduler(self, solver: str | None) -> None:
        """Give the stock pipeline the scheduler of a solver, or its own."""
        if self.own is not None:
            config = stock_config(solver, self.stated) if solver else None
            self.stock.scheduler = STOCK[solver].from_config(config) if solver else self.own


def load_pair(model: Tiny, folder: Path) -> Pair:
    """Load both sides of a folder that holds a small model."""
    stock = redraw(model.make())
    if model.whole:
        stock = type(stock).from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    recipe = make_recipe(str(folder), dict(model.options))
    stated = load_family(recipe.family).load_schedule(recipe).complete
    own = getattr(stock, "scheduler", None)
    return Pair(model, str(folder), stock, stated, own, Kept("cpu", checked=False))


@dataclass
class Draws:
    """What stock classes draw where they are given no generator: our noise, by what it is for."""

    latent_shape: tuple[int, ...] = ()
    step: int = 0
    prior: torch.Generator = field(default_factory=torch.Generator)
    decoding: torch.Generator = field(default_factory=torch.Generator)

    def begin(self, prompt: Prompt, latent_shape: tuple[int, ...]) -> None:
        """Begin a picture."""
        self.latent_shape, self.step = latent_shape, 0
        node = digest("node", [content_key(prompt)])
        self.prior = generator(f"prior/{embedding_key(prompt)}")
        self.decoding = generator(f"{prompt.recipe.seed}/{node}/enlarging")

    def __call__(self, shape: Sequence[int], generator: Any = None, **told: Any) -> torch.Tensor:
        if generator is not None:  # it is ours that draws
            return randn_tensor(tuple(shape), generator=generator, **told)
        if len(shape) == 2:
            drawn = torch.randn(tuple(shape), generator=self.prior)
        elif tuple(shape[1:]) != self.latent_shape:
            drawn = torch.randn(tuple(shape), generator=self.decoding)
        else:
            self.step += 1
            drawn = draw(self.step - 1, *shape[1:])[None].expand(tuple(shape))
        return drawn.to(told.get("dtype") or torch.float32)


@contextmanager
def equal_noise() -> Iterator[Draws]:
    """Let both sides draw equal noise; that of a step by its number alone."""
    draws = Draws()
    with pytest.MonkeyPatch.context() as patch:
        for module in _DRAWN_BY:
            patch.setattr(f"diffusers.{module}.randn_tensor", draws)
        patch.setattr(
            "hierdiff_core.sampling.batch.step_noise", lambda _s, _k, at, shape: draw(at, *shape)
        )
        yield draws


@dataclass(frozen=True)
class Difference:
    """How far one picture is from the stock pipeline's."""

    ours: torch.Tensor  # latents, in the shape that the stock pipeline's have
    latents: float  # in the size of the largest number
    pictures: np.ndarray[Any, Any]  # of each number from 0 to 1, beyond rounding to whole levels

    @property
    def largest(self) -> float:
        """The largest difference of a number."""
        return float(self.pictures.max())


def compare(pair: Pair, draws: Draws, texts: Sequence[str], **fields: Any) -> list[Difference]:
    """Make pictures by one call of ours, and each by one of the stock pipeline's."""
    model, recipe = pair.model, pair.recipe(**fields)
    shape = tuple(pair.models.denoiser(recipe, pair.negative(recipe)).latent_shape)
    noise = draw(5, len(texts), *shape).to(pair.dtype)
    asked = {name: getattr(recipe, name) for name in _ASKED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hierdiff_core.library.Models", lambda *_, **__: pair.models)
        made = generate(
            pair.folder, texts, tau=0.0, steps=K, device="cpu", initial_noise=noise.float(),
            **asked, **model.options,
        )  # fmt: skip
    pair.set_scheduler(fields.get("solver"))
    found = []
    for row, text in enumerate(texts):
        draws.begin(Prompt(1, "", text, recipe), shape)
        size = recipe.height, recipe.width
        wanted = Asked(text, noise[row], K, recipe.guidance, *size, recipe.negative_prompt)
        latents, picture = model.call(pair.stock, model, wanted)
        pixels = np.abs(made.pictures[row] / 255 - picture) - HALF_LEVEL
        ours = model.packed(torch.from_numpy(made.latents[row]))
        found.append(Difference(ours, distance(ours, latents), pixels))
    return found


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference of a number, in the size of the largest number."""
    return float((found.float() - wanted.float()).abs().max() / wanted.abs().max())


def stock_latents(pair: Pair, draws: Draws, text: str, beside: int) -> torch.Tensor:
    """Return those of the stock pipeline as it is, of one of equal pictures in a call."""
    recipe = pair.recipe()
    shape = tuple(pair.models.denoiser(recipe, pair.negative(recipe)).latent_shape)
    draws.begin(Prompt(1, "", text, recipe), shape)
    size = recipe.height, recipe.width
    noise = draw(5, 1, *shape)[0].to(pair.dtype)
    asked = Asked(text, noise, K, recipe.guidance, *size, beside=beside)
    return pair.model.call(pair.stock, pair.model, asked)[0]
