"""What ships is what the stock pipelines expect."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, KandinskyV22Pipeline, KandinskyV22PriorPipeline

from hierdiff_core.miniature import DECODER, PRIOR
from training.autoencoder import standardise
from training.networks import LATENT_CHANNELS, build_autoencoder

TEXTS = ["a product photo of a red striped mug on a wooden table", "a teal lamp at night"]


@pytest.fixture(scope="module")
def prior() -> KandinskyV22PriorPipeline:
    return KandinskyV22PriorPipeline.from_pretrained(PRIOR)


@pytest.fixture(scope="module")
def decoder() -> KandinskyV22Pipeline:
    return KandinskyV22Pipeline.from_pretrained(DECODER)


def test_both_stock_pipelines_load_it_and_draw_a_small_picture(
    prior: KandinskyV22PriorPipeline, decoder: KandinskyV22Pipeline
) -> None:
    found = prior(TEXTS, num_inference_steps=3, generator=torch.Generator().manual_seed(1))
    assert found.image_embeds.shape == (2, 128)
    for scheduler in (decoder.scheduler, DDIMScheduler.from_config(decoder.scheduler.config)):
        stock = KandinskyV22Pipeline(decoder.unet, scheduler, decoder.movq)
        pictures = stock(
            image_embeds=found.image_embeds,
            negative_image_embeds=found.negative_image_embeds,
            height=64,
            width=64,
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(1),
        ).images
        assert [picture.size for picture in pictures] == [(64, 64), (64, 64)]


def test_no_weight_is_missing_or_not_a_number(
    prior: KandinskyV22PriorPipeline, decoder: KandinskyV22Pipeline
) -> None:
    for part in (prior.prior, prior.text_encoder, prior.image_encoder, decoder.unet, decoder.movq):
        assert all(torch.isfinite(weight).all() for weight in part.state_dict().values())
        assert all(weight.dtype == torch.float32 for weight in part.parameters())


def test_it_is_small_and_holds_no_pickle() -> None:
    files = [path for folder in (PRIOR, DECODER) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 40_000_000


def test_the_package_needs_nothing_of_the_training_code() -> None:
    import hierdiff_core.miniature as miniature

    assert Path(inspect.getfile(miniature)).parent == PRIOR.parent == DECODER.parent
    assert "training" not in vars(miniature)


def test_standardised_latents_decode_to_the_same_picture() -> None:
    torch.manual_seed(0)
    model = build_autoencoder().eval().requires_grad_(False)
    batch = torch.rand(64, 3, 64, 64) * 2 - 1
    before = model.decode(model.encode(batch).latents, force_not_quantize=True).sample
    standardise(model, batch)
    latents = model.encode(batch).latents
    after = model.decode(latents, force_not_quantize=True).sample
    flat = latents.permute(1, 0, 2, 3).flatten(1)
    assert torch.allclose(flat.std(1), torch.ones(LATENT_CHANNELS), atol=0.02)
    assert torch.allclose(flat.mean(1), torch.zeros(LATENT_CHANNELS), atol=0.02)
    assert torch.allclose(before, after, atol=1e-3)
