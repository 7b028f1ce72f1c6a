"""Kandinsky 2.2: a prior from text to image embedding, a decoder from image embedding to picture.

The image embedding that the prior predicts conditions the decoder; trees are built on it, too.
The module is a `Family`, its classes are an `Encoder` and a `Denoiser`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import KandinskyV22Pipeline, KandinskyV22PriorPipeline
from PIL import Image
from transformers import CLIPTokenizer

from hierdiff_core.embedding import Conditioning, Embedding, Slot
from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.autoencoder import made_size, to_pixels
from hierdiff_core.models.device import choose_dtype, choose_text_dtype, prepare_network, put_on
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, load_pipeline, read_config, read_number
from hierdiff_core.models.guidance import (
    GUIDANCE,
    Guidance,
    check_guidance,
    guide,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.text import PromptCheck, equal_calls
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import NoiseSchedule
from hierdiff_core.solvers.config import config_of

EMBEDDING = "image_embeds"
SLOTS = (Slot(EMBEDDING, "vector"),)
PUBLISHED_PRIOR = "kandinsky-community/kandinsky-2-2-prior"
OPTIONS = (
    Option("prior", PUBLISHED_PRIOR, "folder or hub name of the prior", text=True, weights=True),
    # The prior's scheduler divides by one less than its steps.
    Option("prior_steps", 25, "steps of the prior's own sampler", least=2, text=True),
    Option("prior_guidance", 4.0, "guidance of the prior's own sampler", least=0, text=True),
    *GUIDANCE,
)
TEXT_DRAWS = True  # the prior samples
forwards = guided_forwards
# Prompts are embedded in calls of this one size, so that an embedding does not depend on company.
PRIOR_BATCH = 8


def read_defaults(model: str) -> Defaults:
    return Defaults("ddim", 40, 4.0, *made_size(model, "movq"))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.option("prior"))


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model)


def check(recipe: Recipe) -> None:
    check_guidance(recipe)
    prior = recipe.option("prior")
    made = read_number(prior, "prior", "embedding_dim")
    wanted = read_number(recipe.model, "unet", "encoder_hid_dim")
    if made != wanted:
        hint = f"its embeddings have {made} numbers, {recipe.model} wants {wanted}; set the option"
        hint += " prior to the one that belongs to the model"
        raise UnknownModel(model=prior, hint=hint)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    return PromptCheck(load_part(CLIPTokenizer, recipe.option("prior"), "tokenizer"))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    config = read_config(recipe.model, "scheduler", "scheduler_config.json")
    return NoiseSchedule("diffusion", config)


def load_encoder(recipe: Recipe, device: str) -> Prior:
    dtype = choose_text_dtype(recipe, device)
    pipeline = load_pipeline(KandinskyV22PriorPipeline, recipe.option("prior"), (), dtype)
    return Prior(put_on(pipeline, device))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    dtype = choose_dtype(recipe, device)
    pipeline = put_on(load_pipeline(KandinskyV22Pipeline, recipe.model, (), dtype), device)
    prepare_network(pipeline.unet, pipeline.movq, compiled=compiled)
    return pipeline


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> Decoder:
    scale, unet = networks.movq_scale_factor, networks.unet
    # The pipeline rounds sides up to a multiple of the squared scale.
    height, width = (-(-side // scale**2) * scale for side in (recipe.height, recipe.width))
    # Where the weights are: a step that fetched it from elsewhere would wait for the one before.
    steered_from = negative.tensors[EMBEDDING].to(unet.device)
    guidance = make_guidance(recipe, NoiseSchedule("diffusion", config_of(networks.scheduler)))
    shape = (unet.config.in_channels, height, width)
    return Decoder(networks, recipe, steered_from, shape, guidance)


@dataclass(frozen=True)
class Prior:
    """A loaded text-to-image prior."""

    pipeline: Any  # KandinskyV22PriorPipeline, whose parts diffusers does not declare

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """See Encoder.

        The prior samples, so each prompt has a generator of its own, seeded by its embedding key.
        """
        rows: list[Embedding] = []
        for call, count in equal_calls(prompts, PRIOR_BATCH):
            names = [embedding_key(prompt) for prompt in call]
            vectors = self._sample([prompt.text for prompt in call], names, prompts[0].recipe)
            rows += [
                Embedding(row.numpy(), Conditioning({EMBEDDING: row[None]}))
                for row in vectors[:count]
            ]
        return rows

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """See Encoder; without a negative prompt that is a black picture, as in the pipeline."""
        if not recipe.negative_prompt:
            with torch.no_grad():
                return Conditioning({EMBEDDING: self.pipeline.get_zero_embed().float().cpu()})
        texts = [recipe.negative_prompt] * PRIOR_BATCH
        vectors = self._sample(texts, [f"negative/{recipe.seed}"] * PRIOR_BATCH, recipe)
        return Conditioning({EMBEDDING: vectors[:1]})

    @torch.no_grad()
    def embed_pictures(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See Encoder: the decoder makes pictures whose embedding is the one it is given."""
        encoder, images = self.pipeline.image_encoder, [Image.fromarray(each) for each in pictures]
        pixels = self.pipeline.image_processor(images, return_tensors="pt").pixel_values
        embedded = encoder(pixels.to(encoder.device, encoder.dtype)).image_embeds
        return np.asarray(embedded.float().cpu().numpy())

    def _sample(self, texts: list[str], names: list[str], recipe: Recipe) -> torch.Tensor:
        output = self.pipeline(
            texts,
            num_inference_steps=recipe.option("prior_steps"),
            guidance_scale=recipe.option("prior_guidance"),
            generator=[generator(f"prior/{name}") for name in names],
        )
        vectors: torch.Tensor = output.image_embeds
        return vectors.float().cpu()


@dataclass(frozen=True)
class Decoder:
    """The decoder for one recipe."""

    pipeline: Any  # KandinskyV22Pipeline
    recipe: Recipe
    negative: torch.Tensor  # (1, D)
    latent_shape: tuple[int, ...]
    guidance: Guidance
    slots: tuple[Slot, ...] = SLOTS

    @property
    def device(self) -> torch.device:
        device: torch.device = self.pipeline.unet.device
        return device

    @property
    def noise_schedule(self) -> NoiseSchedule:
        return NoiseSchedule("diffusion", config_of(self.pipeline.scheduler))

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        negative = {EMBEDDING: self.negative}
        return guide(self._unet, self.guidance, latents, timesteps, conditioning, negative)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        movq = self.pipeline.movq  # needs no scaling factor
        decoded = movq.decode(latents.to(movq.device, movq.dtype), force_not_quantize=True)
        return to_pixels(decoded["sample"], self.recipe.height, self.recipe.width)

    def _unet(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        unet = self.pipeline.unet
        prediction: torch.Tensor = unet(
            sample=latents.to(unet.dtype),
            timestep=timesteps,
            encoder_hidden_states=None,
            added_cond_kwargs={EMBEDDING: conditioning[EMBEDDING].to(unet.dtype)},
            return_dict=False,
        )[0]
        return prediction.float()
