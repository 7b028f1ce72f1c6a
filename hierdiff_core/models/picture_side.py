"""The picture side that most families share: one network, guided, and an autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import to_pixels
from hierdiff_core.models.device import choose_dtype, choose_text_dtype, prepare_network, put_on
from hierdiff_core.models.folder import load_pipeline
from hierdiff_core.models.guidance import Guidance, Network, guide
from hierdiff_core.models.lora import add_lora
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.recipe import Recipe

Pixels = npt.NDArray[np.uint8]  # (B, height, width, 3)


@dataclass(frozen=True)
class PictureSide:
    """A Denoiser of one recipe."""

    pipeline: Any
    recipe: Recipe
    noise_schedule: NoiseSchedule
    latent_shape: tuple[int, ...]
    slots: tuple[Slot, ...]
    device: torch.device
    network: Network  # the prediction without guidance
    decoder: Callable[[torch.Tensor], torch.Tensor]  # latents (B, ...) -> pictures from -1 to 1
    guidance: Guidance
    negative: Mapping[str, torch.Tensor]  # one row
    # Pictures as they may be stored; raises an error, no HierdiffError, for one that may not.
    inspect: Callable[[Pixels], Pixels] = lambda pictures: pictures

    def __post_init__(self) -> None:
        """Raise InvalidSetting for a network that reuses what it computed for other rows."""
        refuse_caches(self.pipeline)

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """See Denoiser."""
        return guide(self.network, self.guidance, latents, timesteps, conditioning, self.negative)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        """See Denoiser; no noise is drawn."""
        size = self.recipe.height, self.recipe.width
        return self.inspect(to_pixels(self.decoder(latents), *size))


def load_picture_side(
    kind: Any, recipe: Recipe, parts: tuple[str, ...], device: str, *, compiled: bool
) -> Any:
    """Return a pipeline of these parts, of which the first is the network; raises UnknownModel."""
    pipeline = load_pipeline(kind, recipe.model, parts, choose_dtype(recipe, device))
    pipeline = put_on(_adapted(pipeline, recipe), device)
    if getattr(pipeline.vae.config, "force_upcast", False) and recipe.dtype == "float16":
        pipeline.vae.to(torch.float32)  # it overflows
    prepare_network(getattr(pipeline, parts[0]), pipeline.vae, compiled=compiled)
    return pipeline


def load_text_side(kind: Any, recipe: Recipe, parts: tuple[str, ...], device: str) -> Any:
    """Return a pipeline of these parts; raises UnknownModel."""
    dtype = choose_text_dtype(recipe, device)
    pipeline = load_pipeline(kind, recipe.model, parts, dtype)
    return put_on(_adapted(pipeline, recipe), device)


def _adapted(pipeline: Any, recipe: Recipe) -> Any:
    """Return the pipeline with the recipe's adapter, where its family takes one."""
    return add_lora(pipeline, recipe) if "lora" in recipe.options else pipeline


def refuse_caches(pipeline: Any) -> None:
    """Raise InvalidSetting where a part has one of diffusers' caches.

    They keep residuals of a call, whose rows are at different steps here.
    """
    for name, part in pipeline.components.items():
        modules = part.modules() if isinstance(part, torch.nn.Module) else ()
        registries = (getattr(module, "_diffusers_hook", None) for module in modules)
        if any(registry is not None and registry.hooks for registry in registries):
            hint = "use none: it would make a row depend on the rows beside it; see docs/models.md"
            raise InvalidSetting(setting="cache", value=name, hint=hint)


def on_device(negative: Conditioning, device: torch.device) -> dict[str, torch.Tensor]:
    """Return a negative conditioning where the weights are, so that no step waits for it."""
    return {name: each.to(device) for name, each in negative.tensors.items()}
