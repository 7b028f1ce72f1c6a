"""What an attempt loads for one recipe: its denoiser. Text encoders are never loaded here."""

from __future__ import annotations

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.prompt import negative_key
from hierdiff_core.recipe import Recipe
from tasks.embed import read_conditionings
from tasks.states import Stage
from tasks.worker.attempt import Attempt


def load_denoiser(attempt: Attempt, recipe: Recipe) -> Denoiser:
    """Return the denoiser of a recipe; raises LostEmbeddings without its negative embedding."""
    with attempt.watch.timed(Stage.LOAD):
        key = negative_key(recipe)
        negative = read_conditionings(attempt.stores, [key])[key]
        return attempt.models.denoiser(recipe, negative)
