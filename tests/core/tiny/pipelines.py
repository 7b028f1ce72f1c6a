"""A small model of every family, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.core.tiny import flows, flux, latent_diffusion, unclip
from tests.core.tiny.model import Tiny

MODELS: Mapping[str, Tiny] = {
    **latent_diffusion.MODELS,
    **flux.MODELS,
    **flows.MODELS,
    **unclip.MODELS,
}
