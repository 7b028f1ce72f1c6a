"""The models of this machine, loaded as its settings ask."""

from __future__ import annotations

from hierdiff_core.models.loaded import Models
from tasks.settings import Settings


def open_models(settings: Settings) -> Models:
    """Return the loader of models on the settings' device; nothing is loaded yet."""
    return Models(settings.device, settings.compile, settings.digests)
