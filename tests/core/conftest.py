"""Kandinsky 2.2 in miniature with random weights: stock classes, saved to folders as on the hub."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when the hub's client is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from hierdiff_core.embedding import Conditioning
from hierdiff_core.models.kandinsky22 import (
    EMBEDDING,
    Decoder,
    Prior,
    fit,
    load_encoder,
    load_networks,
)
from hierdiff_core.models.recipes import make_recipe
from hierdiff_core.recipe import Recipe
from tests.core.stable_diffusion_folder import save_stable_diffusion
from tests.core.tiny.model import redraw
from tests.core.tiny.pipelines import MODELS

WIDTH = 16  # of an embedding
TOKENS = 24
PIXELS = 16  # four times four latents of four channels

torch.set_num_threads(1)


@dataclass(frozen=True)
class Folders:
    """Where the two pipelines were saved."""

    decoder: Path
    prior: Path

    def recipe(self, **changes: object) -> Recipe:
        """Return a recipe that both pipelines can follow at once."""
        options = {"prior": str(self.prior), "prior_steps": 3}
        options |= {name: changes.pop(name) for name in set(changes) & {"prior", "prior_steps"}}
        fields: dict[str, object] = {"steps": 7, "height": PIXELS, "width": PIXELS}
        return make_recipe(str(self.decoder), options, **(fields | changes))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return the folders of a decoder and a prior, 20,000 random weights each."""
    torch.manual_seed(0)
    top = tmp_path_factory.mktemp("models")
    _decoder().save_pretrained(top / "decoder")
    _prior().save_pretrained(top / "prior")
    return Folders(top / "decoder", top / "prior")


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a Stable Diffusion, random too."""
    return save_stable_diffusion(tmp_path_factory.mktemp("models") / "sd", _tokenizer())


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return where a model of `tests.core.tiny` is saved, which is done once."""
    top = tmp_path_factory.mktemp("tiny")

    @cache
    def save(name: str) -> Path:
        torch.manual_seed(0)
        redraw(MODELS[name].make()).save_pretrained(top / name)
        return top / name

    return save


@pytest.fixture(scope="session")
def prior(folders: Folders) -> Prior:
    """Return the loaded prior."""
    return load_encoder(folders.recipe(), "cpu")


@pytest.fixture(scope="session")
def denoiser(folders: Folders) -> Decoder:
    """Return the decoder at guidance 4 with a random negative embedding."""
    recipe = folders.recipe()
    negative = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))
    return fit(load_networks(recipe, "cpu"), recipe, Conditioning({EMBEDDING: negative}))


def _decoder() -> KandinskyV22Pipeline:
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    )
    # A random network would amplify rounding far more than a trained one does.
    unet.conv_out.weight.data.mul_(0.5)
    movq = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        layers_per_block=1,
        latent_channels=4,
        num_vq_embeddings=4,
        norm_num_groups=2,
        mid_block_add_attention=False,
    )
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        variance_type="fixed_small",
        clip_sample=False,
        steps_offset=1,
    )
    return KandinskyV22Pipeline(unet=unet.eval(), scheduler=scheduler, movq=movq.eval())


def _prior() -> KandinskyV22PriorPipeline:
    tokenizer = _tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=PIXELS,
        patch_size=8,
    )
    transformer = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        embedding_dim=WIDTH,
        num_embeddings=TOKENS,
    )
    transformer.clip_std.data.fill_(1.0)
    return KandinskyV22PriorPipeline(
        prior=transformer.eval(),
        image_encoder=CLIPVisionModelWithProjection(vision).eval(),
        text_encoder=CLIPTextModelWithProjection(text).eval(),
        tokenizer=tokenizer,
        scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", clip_sample_range=5.0, prediction_type="sample"
        ),
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS}
        ),
    )


def _tokenizer() -> CLIPTokenizer:
    """Return a tokenizer that reads each byte as a token."""
    letters = sorted(ByteLevel.alphabet())
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{each}</w>" for each in letters)]
    vocabulary = {name: index for index, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)
