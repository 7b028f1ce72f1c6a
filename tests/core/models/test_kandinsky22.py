"""The prior and the decoder's networks: what an embedding and a picture depend on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import KandinskyV22PriorPipeline

from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.errors import InvalidSetting, PromptTooLong
from hierdiff_core.models.kandinsky22 import (
    EMBEDDING,
    PRIOR_BATCH,
    Decoder,
    Prior,
    fit,
    load_check,
    load_networks,
)
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, embedding_key
from tests.core.recipes import change as changed

TEXTS = [
    f"{colour} {thing}" for colour in ("red", "blue", "pink") for thing in ("cup", "hat", "pot")
]


@pytest.fixture(scope="module")
def prompts(folders: Any) -> list[Prompt]:
    return [Prompt(row, "", text, folders.recipe()) for row, text in enumerate(TEXTS, 1)]


def vectors(rows: list[Embedding]) -> list[torch.Tensor]:
    return [row.conditioning.tensors[EMBEDDING] for row in rows]


def test_an_embedding_does_not_depend_on_company(prior: Prior, prompts: list[Prompt]) -> None:
    together = vectors(prior.embed(prompts))
    for prompt, vector in zip(prompts, together, strict=True):
        assert torch.equal(vectors(prior.embed([prompt]))[0], vector)
    assert len({each.numpy().tobytes() for each in together}) == len(prompts) > PRIOR_BATCH


def test_an_embedding_does_not_depend_on_the_order(prior: Prior, prompts: list[Prompt]) -> None:
    forth, back = prior.embed(prompts), prior.embed(prompts[::-1])
    assert all(map(torch.equal, vectors(forth), reversed(vectors(back))))


def test_an_embedding_is_one_row_of_float32_on_the_cpu(prior: Prior, prompts: list[Prompt]) -> None:
    (embedding,) = prior.embed(prompts[:1])
    (vector,) = vectors([embedding])
    assert (vector.shape, vector.dtype, vector.device.type) == ((1, 16), torch.float32, "cpu")
    # Trees stand where the decoder is steered to.
    np.testing.assert_array_equal(embedding.vector, vector[0].numpy())
    assert prior.embed([]) == []


def test_an_embedding_is_what_the_stock_prior_makes(prior: Prior, prompts: list[Prompt]) -> None:
    pipeline: KandinskyV22PriorPipeline = prior.pipeline
    for prompt, vector in zip(prompts, vectors(prior.embed(prompts)), strict=True):
        stock = pipeline(
            prompt.text,
            num_inference_steps=prompt.recipe.options["prior_steps"],
            guidance_scale=prompt.recipe.options["prior_guidance"],
            generator=generator(f"prior/{embedding_key(prompt)}"),
        ).image_embeds
        torch.testing.assert_close(vector, stock, rtol=1e-5, atol=1e-5)


def test_texts_with_one_key_have_one_embedding(prior: Prior, prompts: list[Prompt]) -> None:
    spellings = ("caf\u00e9 cup", "cafe\u0301 cup", "  caf\u00e9 cup\n")
    rows = [dataclasses.replace(prompts[0], text=text) for text in spellings]
    assert len({each.numpy().tobytes() for each in vectors(prior.embed(rows))}) == 1


@pytest.mark.parametrize("change", [{"seed": 5}, {"prior_steps": 4}, {"prior_guidance": 2.0}])
def test_an_embedding_follows_the_recipe(
    prior: Prior, prompts: list[Prompt], change: dict[str, float]
) -> None:
    recipe = changed(prompts[0].recipe, **change)
    (one,) = vectors(prior.embed(prompts[:1]))
    (other,) = vectors(prior.embed([dataclasses.replace(prompts[0], recipe=recipe)]))
    assert (one - other).abs().max() > 1e-3


def test_without_a_negative_prompt_guidance_steers_away_from_a_black_picture(
    prior: Prior, prompts: list[Prompt]
) -> None:
    negative = prior.embed_negative(prompts[0].recipe).tensors[EMBEDDING]
    with torch.no_grad():
        assert torch.equal(negative, prior.pipeline.get_zero_embed())


def test_a_negative_prompt_has_an_embedding_of_its_own(prior: Prior, prompts: list[Prompt]) -> None:
    recipe = dataclasses.replace(prompts[0].recipe, negative_prompt="a blur")
    once, again, other = (
        prior.embed_negative(each).tensors[EMBEDDING]
        for each in (recipe, recipe, dataclasses.replace(recipe, negative_prompt="a blot"))
    )
    assert torch.equal(once, again)
    assert once.shape == (1, 16)
    assert (once - other).abs().max() > 1e-3


def test_a_prompt_that_would_be_cut_is_refused_by_its_row(folders: Any) -> None:
    fits, long = "x" * 22, "x" * 23  # between a start and an end token
    check = load_check(folders.recipe())
    check(Prompt(4, "", fits, folders.recipe()))
    with pytest.raises(PromptTooLong) as refused:
        check(Prompt(4, "", long, folders.recipe()))
    assert str(refused.value) == (
        "Row 4: the prompt has 25 tokens, the text encoder reads 24; shorten it."
    )
    with pytest.raises(PromptTooLong, match=r"^Row 5: "):
        check(Prompt(5, "", fits, folders.recipe(negative_prompt=long)))


def test_the_tokenizer_alone_is_enough_to_check_a_prompt(folders: Any, tmp_path: Path) -> None:
    recipe = folders.recipe()
    for name in ("model_index.json", "tokenizer"):
        copy = shutil.copytree if (folders.prior / name).is_dir() else shutil.copy
        copy(folders.prior / name, tmp_path / name)
    check = load_check(changed(recipe, prior=str(tmp_path)))
    check(Prompt(1, "", "a red cup", recipe))
    with pytest.raises(PromptTooLong):
        check(Prompt(1, "", "a red cup " * 9, recipe))


def test_pictures_are_embedded_where_prompts_are(prior: Prior) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    vectors = prior.embed_pictures(pictures)
    assert (vectors.shape, vectors.dtype) == ((3, 16), np.float32)
    np.testing.assert_allclose(vectors[:1], prior.embed_pictures(pictures[:1]), atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [(16, 16, (4, 4, 4)), (17, 16, (4, 8, 4)), (32, 48, (4, 8, 12)), (1, 1, (4, 4, 4))],
)
def test_a_picture_has_the_size_that_was_asked(
    folders: Any, denoiser: Decoder, height: int, width: int, shape: tuple[int, ...]
) -> None:
    recipe = folders.recipe(height=height, width=width)
    fitted = fit(denoiser.pipeline, recipe, Conditioning({EMBEDDING: denoiser.negative}))
    assert fitted.latent_shape == shape
    assert fitted.decode(torch.zeros(2, *shape), "ab").shape == (2, height, width, 3)


def test_a_rows_prediction_is_its_own_at_any_step(denoiser: Decoder) -> None:
    draws = torch.Generator().manual_seed(6)
    latents = torch.randn(6, *denoiser.latent_shape, generator=draws)
    embeds = torch.randn(6, 16, generator=draws)
    timesteps = torch.tensor([951, 1, 501, 501, 251, 751])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        straight = denoiser.predict(latents, timesteps, {EMBEDDING: embeds})
        shuffled = denoiser.predict(latents[order], timesteps[order], {EMBEDDING: embeds[order]})
        alone = denoiser.predict(latents[2:3], timesteps[2:3], {EMBEDDING: embeds[2:3]})
    assert torch.equal(shuffled, straight[order])
    torch.testing.assert_close(alone, straight[2:3], rtol=1e-5, atol=1e-5)


def test_networks_are_loaded_in_the_precision_of_the_recipe(folders: Any) -> None:
    pipeline = load_networks(folders.recipe(dtype="bfloat16"), "cpu")
    assert pipeline.unet.dtype == pipeline.movq.dtype == torch.bfloat16
    negative = Conditioning({EMBEDDING: torch.zeros(1, 16)})
    fitted = fit(pipeline, folders.recipe(), negative)
    with torch.no_grad():
        embeds = {EMBEDDING: torch.ones(1, 16)}
        prediction = fitted.predict(torch.ones(1, 4, 4, 4), torch.tensor([1]), embeds)
    assert prediction.dtype == torch.float32
    assert fitted.decode(torch.zeros(1, 4, 4, 4), "a").shape == (1, 16, 16, 3)


def test_half_precision_on_a_cpu_is_refused(folders: Any) -> None:
    with pytest.raises(InvalidSetting, match="a CPU needs float32 or bfloat16"):
        load_networks(folders.recipe(dtype="float16"), "cpu")
