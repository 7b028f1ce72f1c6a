"""Kandinsky 2.2: prior (text to image embedding) and decoder (image embedding to picture).

Knows diffusers' classes and folders of this family; knows nothing of plans. The conditioning of a
prompt is the image embedding that the prior predicts from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDPMScheduler, KandinskyV22Pipeline, KandinskyV22PriorPipeline
from PIL import Image
from transformers import CLIPTokenizer

from hierdiff_core.embedding import Conditioning
from hierdiff_core.errors import PromptTooLong
from hierdiff_core.models.place import choose_dtype, load_part, load_pipeline, put_on
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, Recipe, embedding_key

EMBEDDING = "image_embeds"
# Prompts are embedded in calls of this one size, so that an embedding does not depend on company.
PRIOR_BATCH = 8


@dataclass(frozen=True)
class Prior:
    """A loaded text-to-image prior."""

    pipeline: Any  # KandinskyV22PriorPipeline, whose parts diffusers does not declare

    def check_length(self, prompt: Prompt) -> None:
        """See `check_length`."""
        check_length(self.pipeline.tokenizer, prompt)

    def embed(self, prompts: Sequence[Prompt]) -> list[Conditioning]:
        """Return one row of conditioning per prompt; prompts must share a recipe.

        The prior samples, so each prompt has a generator of its own, seeded by its embedding key.
        """
        rows: list[Conditioning] = []
        for first in range(0, len(prompts), PRIOR_BATCH):
            chunk = list(prompts[first : first + PRIOR_BATCH])
            padded = chunk + chunk[-1:] * (PRIOR_BATCH - len(chunk))
            names = [embedding_key(each) for each in padded]
            vectors = self._sample([each.text for each in padded], names, prompts[0].recipe)
            rows += [Conditioning({EMBEDDING: row[None]}) for row in vectors[: len(chunk)]]
        return rows

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """Return the conditioning that guidance steers away from, one row for the whole recipe.

        Without a negative prompt it is the embedding of a black picture, as in the pipeline.
        """
        if not recipe.negative_prompt:
            with torch.no_grad():
                return Conditioning({EMBEDDING: self.pipeline.get_zero_embed().float().cpu()})
        texts = [recipe.negative_prompt] * PRIOR_BATCH
        vectors = self._sample(texts, [f"negative/{recipe.seed}"] * PRIOR_BATCH, recipe)
        return Conditioning({EMBEDDING: vectors[:1]})

    @torch.no_grad()
    def look(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the image embeddings (B, D) of pictures (B, height, width, 3).

        They live where conditionings do: the decoder was trained to make pictures whose embedding
        is the one that it is given.
        """
        encoder, images = self.pipeline.image_encoder, [Image.fromarray(each) for each in pictures]
        pixels = self.pipeline.image_processor(images, return_tensors="pt").pixel_values
        found = encoder(pixels.to(encoder.device, encoder.dtype)).image_embeds
        return np.asarray(found.float().cpu().numpy())

    def _sample(self, texts: list[str], names: list[str], recipe: Recipe) -> torch.Tensor:
        output = self.pipeline(
            texts,
            num_inference_steps=recipe.prior_steps,
            guidance_scale=recipe.prior_guidance,
            generator=[generator(f"prior/{name}") for name in names],
        )
        vectors: torch.Tensor = output.image_embeds
        return vectors.float().cpu()


@dataclass(frozen=True)
class Decoder:
    """A loaded decoder for one recipe; a Denoiser."""

    pipeline: Any  # KandinskyV22Pipeline
    guidance: float
    negative: torch.Tensor  # (1, D)
    latent_shape: tuple[int, ...]
    size: tuple[int, int]  # height and width in pixels

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.pipeline.unet.device
        return device

    @property
    def noise_schedule(self) -> Mapping[str, Any]:
        """The scheduler config that came with the weights."""
        return dict(self.pipeline.scheduler.config)

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return u + g (c - u), with the conditional half's variance behind it; see Denoiser."""
        embeds = conditioning[EMBEDDING]
        if self.guidance <= 1:
            return self._unet(latents, timesteps, embeds)
        negative = self.negative.to(embeds.device).expand_as(embeds)
        pair = torch.cat([negative, embeds])
        both = self._unet(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), pair)
        unconditional, conditional = both.chunk(2)
        channels = latents.shape[1]
        u, c = unconditional[:, :channels], conditional[:, :channels]
        return torch.cat([u + self.guidance * (c - u), conditional[:, channels:]], dim=1)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> npt.NDArray[np.uint8]:
        """Return pictures; see Denoiser. MoVQ needs no scaling factor."""
        movq = self.pipeline.movq
        decoded = movq.decode(latents.to(movq.device, movq.dtype), force_not_quantize=True)
        pictures = (decoded["sample"].float() * 0.5 + 0.5).clamp(0, 1)
        height, width = self.size
        whole = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return np.asarray(whole[:, :height, :width].cpu())

    def _unet(
        self, latents: torch.Tensor, timesteps: torch.Tensor, embeds: torch.Tensor
    ) -> torch.Tensor:
        unet = self.pipeline.unet
        prediction: torch.Tensor = unet(
            sample=latents.to(unet.dtype),
            timestep=timesteps,
            encoder_hidden_states=None,
            added_cond_kwargs={"image_embeds": embeds.to(unet.dtype)},
            return_dict=False,
        )[0]
        return prediction.float()


def load_tokenizer(recipe: Recipe) -> Any:
    """Return the prior's tokenizer alone, which is enough to check prompts; raises UnknownModel."""
    return load_part(CLIPTokenizer, recipe.prior, "tokenizer")


def load_schedule(recipe: Recipe) -> Mapping[str, Any]:
    """Return the decoder's noise schedule alone, which is enough to plan; raises UnknownModel."""
    return dict(load_part(DDPMScheduler, recipe.model, "scheduler").config)


def check_length(tokenizer: Any, prompt: Prompt) -> None:
    """Raise PromptTooLong where the text encoder would drop the end of a prompt.

    Prior pipelines truncate with a warning; a picture that ignores half a prompt is no picture.
    """
    limit = tokenizer.model_max_length
    for text in (prompt.text, prompt.recipe.negative_prompt):
        tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if tokens > limit:
            raise PromptTooLong(row=prompt.row, tokens=tokens, limit=limit)


def load_prior(recipe: Recipe, device: str = "auto") -> Prior:
    """Return the prior of a recipe; raises UnknownModel."""
    pipeline = load_pipeline(KandinskyV22PriorPipeline, recipe.prior, choose_dtype(recipe, device))
    return Prior(put_on(pipeline, device))


def load_decoder(recipe: Recipe, device: str = "auto", *, compiled: bool = False) -> Any:
    """Return the decoder's networks, which serve every recipe of one model; raises UnknownModel.

    On a GPU convolutions read channels last; a CPU was measured to be slower that way.
    Attention is torch's own fused kernel, which diffusers chooses by itself. A compiled network
    takes minutes for its first calls of each width.
    """
    pipeline = load_pipeline(KandinskyV22Pipeline, recipe.model, choose_dtype(recipe, device))
    pipeline = put_on(pipeline, device)
    if pipeline.unet.device.type == "cuda":
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.movq.to(memory_format=torch.channels_last)
    if compiled:
        pipeline.unet.compile(dynamic=False)
    return pipeline


def fit_decoder(pipeline: Any, recipe: Recipe, negative: Conditioning) -> Decoder:
    """Return the denoiser of one recipe over loaded networks."""
    scale = pipeline.movq_scale_factor
    shape = (
        pipeline.unet.config.in_channels,
        _latent_side(recipe.height, scale),
        _latent_side(recipe.width, scale),
    )
    size = (recipe.height, recipe.width)
    # Where the weights are: a step that fetched it from elsewhere would wait for the one before.
    steered_from = negative.tensors[EMBEDDING].to(pipeline.unet.device)
    return Decoder(pipeline, recipe.guidance, steered_from, shape, size)


def _latent_side(pixels: int, scale: int) -> int:
    # The pipeline rounds sides up to a multiple of the squared scale.
    return -(-pixels // scale**2) * scale
