"""Pictures that share no step are those of the stock pipelines, for every family.

The few cases here run with every change; `slow` is the whole grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hierdiff_core.embedding import Conditioning
from hierdiff_core.library import generate
from hierdiff_core.models.family import load_family
from hierdiff_core.models.recipes import make_recipe
from tests.core.gaussian import STOCK, draw, stock_config
from tests.core.tiny.model import Tiny
from tests.core.tiny.pipelines import MODELS

K = 3
TEXTS = ("a red cup", "two pots, a hat", "a cup")
MANY = (*TEXTS, "a", "a blue hat on a chair", "pots", "two cups", "a pot and a hat")
NEAR = 1e-5  # of the size of latents, and of pictures from 0 to 1

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

    def shape(self, **fields: Any) -> tuple[int, ...]:
        recipe = make_recipe(self.folder, dict(self.model.options), **fields)
        fitted = load_family(recipe.family).fit(self.networks, recipe, self.negative)
        return tuple(fitted.latent_shape)


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tiny_folder: Folder) -> Pair:
    model, folder = MODELS[request.param], tiny_folder(request.param)
    stock = type(model.make()).from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    recipe = make_recipe(str(folder), dict(model.options))
    family = load_family(recipe.family)
    networks = family.load_networks(recipe, "cpu", compiled=False)
    negative = family.load_encoder(recipe, "cpu").embed_negative(recipe)
    stated = family.load_schedule(recipe).complete
    return Pair(model, str(folder), stock, stock.scheduler, stated, networks, negative)


@pytest.fixture(autouse=True)
def same_noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let both sides draw the noise of a step by its number alone."""
    step: list[int] = []

    def theirs(shape: Sequence[int], **_: Any) -> torch.Tensor:
        step.append(len(step))
        return draw(step[-1], *shape[1:])[None]

    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", theirs)
    monkeypatch.setattr(
        "hierdiff_core.sampling.batch.step_noise", lambda _s, _k, at, shape: draw(at, *shape)
    )
    return step


def check(pair: Pair, step: list[int], texts: Sequence[str] = TEXTS, **fields: Any) -> None:
    """Compare latents and pictures of our call with those of the stock pipeline."""
    model = pair.model
    fields = {"height": model.side, "width": model.side, "guidance": model.guidance} | fields
    noise = draw(5, len(texts), *pair.shape(steps=K, **fields))
    made = generate(
        pair.folder, texts, tau=0.0, steps=K, device="cpu", initial_noise=noise,
        **fields, **model.options,
    )  # fmt: skip
    solver = fields.get("solver")
    pair.stock.scheduler = (
        STOCK[solver].from_config(stock_config(solver, pair.stated)) if solver else pair.own
    )
    for row, text in enumerate(texts):
        latents, picture = theirs(pair, step, text, noise[row], fields)
        found = model.packed(torch.from_numpy(made.latents[row]))
        if latents.shape == found.shape:  # klein's are decoded halfway
            size = float(latents.abs().max())
            torch.testing.assert_close(found, latents, rtol=0, atol=NEAR * size)
        # Whole numbers are half a level off, and a level where rounding tips.
        assert np.abs(made.pictures[row] / 255 - picture).max() < 0.5 / 255 + NEAR


def theirs(
    pair: Pair, step: list[int], text: str, noise: torch.Tensor, fields: dict[str, Any]
) -> tuple[torch.Tensor, npt.NDArray[np.float32]]:
    """Return latents and picture, from 0 to 1, of the stock pipeline."""
    model, found = pair.model, []
    negative = fields.get("negative_prompt") or model.no_negative
    told = {} if negative is None else {"negative_prompt": negative}
    for kind in ("latent", "np"):
        step.clear()
        found.append(
            pair.stock(
                prompt=text,
                height=fields["height"],
                width=fields["width"],
                num_inference_steps=K,
                latents=noise[None].clone(),
                output_type=kind,
                **{model.scale_name: fields["guidance"]},
                **told,
                **model.stock,
            ).images[0]
        )
    return found[0], found[1]


def test_pictures_are_those_of_the_stock_pipeline(pair: Pair, same_noise: list[int]) -> None:
    check(pair, same_noise)


def test_pictures_without_guidance_are_too(pair: Pair, same_noise: list[int]) -> None:
    check(pair, same_noise, TEXTS[:1], guidance=pair.model.unguided)


def test_pictures_of_another_shape_by_other_solvers_are_too(
    pair: Pair, same_noise: list[int]
) -> None:
    side = pair.model.side
    for solver in pair.model.others or (None,):
        check(pair, same_noise, TEXTS[1:2], solver=solver, height=2 * side, width=side)


def test_pictures_away_from_a_negative_prompt_are_too(pair: Pair, same_noise: list[int]) -> None:
    if not pair.model.negative or pair.model.family == "kandinsky3":
        pytest.skip("takes none, or cuts it to the length of the prompt beside it")
    check(pair, same_noise, TEXTS[:1], negative_prompt="a blur")


@pytest.mark.slow
@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS, MANY], ids=len)
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("wide", [1, 2])
def test_the_whole_grid_is(
    pair: Pair, same_noise: list[int], texts: Sequence[str], guided: bool, wide: int
) -> None:
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
