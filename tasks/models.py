"""The models of this machine, as its settings have them loaded."""

from __future__ import annotations

from hierdiff_core.models.loaded import Models
from tasks.settings import Settings


def open_models(settings: Settings) -> Models:
    """Return what loads models to the settings' device; nothing is loaded yet."""
    return Models(settings.device, settings.compile, settings.digests)
