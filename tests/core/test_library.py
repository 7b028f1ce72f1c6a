"""The method as one call: the same pictures as a stock pipeline's, in the order of the prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

import hierdiff_core
from hierdiff_core.errors import EmptyPrompt, InvalidSetting, PromptTooLong, RowFailed, UnknownModel
from hierdiff_core.models.kandinsky22 import Prior

TEXTS = ["red cup", "blue cup", "red hat", "red cup", "pink pot"]


def generate(folders: Any, texts: list[str] = TEXTS, **asked: Any) -> hierdiff_core.Made:
    fields = {"steps": 6, "prior": str(folders.prior), "prior_steps": 3, "device": "cpu"}
    return hierdiff_core.generate(str(folders.decoder), texts, **(fields | asked))


def noise(count: int) -> torch.Tensor:
    return torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(2))


def test_with_nothing_shared_latents_are_those_of_the_stock_pipeline(
    folders: Any, prior: Prior
) -> None:
    from diffusers import KandinskyV22Pipeline

    drawn = noise(3)
    made = generate(folders, TEXTS[:3], tau=0, initial_noise=drawn)
    pipeline = KandinskyV22Pipeline.from_pretrained(folders.decoder)
    config = {k: v for k, v in pipeline.scheduler.config.items() if k != "variance_type"}
    pipeline.scheduler = DDIMScheduler.from_config(config)
    recipe = hierdiff_core.make_recipe(
        str(folders.decoder), {"prior": str(folders.prior), "prior_steps": 3}
    )
    recipe = hierdiff_core.models.recipes.pin_recipe(recipe)
    prompts = [hierdiff_core.Prompt(row, "", text, recipe) for row, text in enumerate(TEXTS[:3])]
    rows = [embedding.conditioning for embedding in prior.embed(prompts)]
    embeds = torch.cat([row.tensors["image_embeds"] for row in rows])
    wanted = pipeline(
        image_embeds=embeds,
        negative_image_embeds=prior.embed_negative(recipe).tensors["image_embeds"].expand(3, -1),
        latents=drawn,
        height=16,
        width=16,
        num_inference_steps=6,
        guidance_scale=4.0,
        output_type="latent",
    ).images
    np.testing.assert_allclose(made.latents, wanted.numpy(), rtol=0, atol=1e-4)


def test_latents_that_are_not_finite_are_refused_by_their_prompts(folders: Any) -> None:
    with pytest.raises(RowFailed) as refusal:
        generate(folders, ["red cup", "blue cup"], guidance=1e39, tau=0)
    assert str(refusal.value) == (
        "Prompts 'blue cup' have no picture: its latents are not finite numbers; leave them "
        "out, or check the guidance and the weights."
    )


def test_pictures_come_in_the_order_of_the_prompts_and_equal_ones_are_one(folders: Any) -> None:
    made = generate(folders, saving=0.3)
    assert (made.pictures.shape, made.pictures.dtype) == ((5, 16, 16, 3), np.uint8)
    assert (made.latents.shape, made.latents.dtype) == ((5, 4, 4, 4), np.float32)
    assert made.plan.size == 4
    assert np.array_equal(made.latents[0], made.latents[3])
    assert not np.array_equal(made.latents[0], made.latents[1])
    back = generate(folders, TEXTS[::-1], saving=0.3)
    assert np.array_equal(back.pictures[::-1], made.pictures)


def test_what_is_asked_for_is_what_is_saved(folders: Any) -> None:
    assert generate(folders, saving=0.3).saving >= 0.3
    assert generate(folders, steps_per_image=4).evaluations <= 16
    assert generate(folders, tau=0).saving == 0
    assert generate(folders).saving >= 0.37  # half is more than four prompts allow
    assert generate(folders, ["red cup"]).saving == 0


def test_progress_is_told_up_to_the_last_evaluation(folders: Any) -> None:
    heard: list[tuple[int, int]] = []
    made = generate(folders, tau=0, progress=lambda done, planned: heard.append((done, planned)))
    assert heard[-1] == (made.evaluations, made.evaluations)
    assert heard == sorted(heard)


def test_another_seed_makes_other_pictures_and_the_same_seed_the_same(folders: Any) -> None:
    one, again, other = (generate(folders, saving=0.3, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pictures, again.pictures)
    assert not np.array_equal(one.pictures, other.pictures)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"saving": 0.3, "tau": 1.0}, InvalidSetting, "one of saving, steps_per_image and tau"),
        ({"saving": 0.9}, InvalidSetting, "can save at most"),
        ({"texts": []}, InvalidSetting, "list of texts"),
        ({"texts": "red cup"}, InvalidSetting, "list of texts"),
        ({"texts": ["red cup", " "]}, EmptyPrompt, "Row 2"),
        ({"texts": ["red cup", "cup " * 30]}, PromptTooLong, "Row 2"),
        (
            {"initial_noise": np.zeros((4, 4, 4, 4))},
            InvalidSetting,
            r"use the shape \(5, 4, 4, 4\)",
        ),
        ({"prior_step": 3}, InvalidSetting, "did you mean prior_steps"),
        ({"solver": "heun"}, InvalidSetting, "solver"),
        ({"prior": "/no/such/folder"}, UnknownModel, "/no/such/folder"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    folders: Any, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as refused:
        generate(folders, **asked)
    assert "\n" not in str(refused.value)


def test_every_name_of_the_face_is_there() -> None:
    for name in hierdiff_core.__all__:
        assert getattr(hierdiff_core, name) is not None
    assert sorted(hierdiff_core.__all__) == dir(hierdiff_core)
    with pytest.raises(AttributeError, match="no attribute 'generat'"):
        _ = hierdiff_core.generat  # type: ignore[attr-defined]
