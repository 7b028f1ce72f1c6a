"""What an attempt loads for one recipe: its denoiser, and what steers its segments."""

from __future__ import annotations

from collections.abc import Collection

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning
from hierdiff_core.embedding_cache import find_negative
from hierdiff_core.recipe import Recipe
from tasks.embed import LedgerCache, remake_embeddings
from tasks.errors import MissingEmbedding
from tasks.states import Stage
from tasks.worker.attempt import Attempt
from tasks.worker.shard import load_conditioning


def load_denoiser(attempt: Attempt, recipe: Recipe) -> Denoiser:
    """Return the denoiser of a recipe; a negative embedding that is lost is made anew."""
    with attempt.watch.timed(Stage.LOAD):
        negative = find_negative(LedgerCache(attempt.stores), recipe)
        if negative is None:
            negative = attempt.models.encoder(recipe).embed_negative(recipe)
            attempt.models.forget_encoders()
        return attempt.models.denoiser(recipe, negative)


def steer(attempt: Attempt, only: Collection[int]) -> Conditioning:
    """Return what steers segments; an embedding that is lost or damaged is made anew."""
    try:
        return load_conditioning(attempt.stores, attempt.work, only)
    except MissingEmbedding:
        night = attempt.work.night
        keys = {leaf.embedding_key for leaf in (*night.leaves, *night.guests)}
        remake_embeddings(attempt.stores, keys, attempt.models)
    return load_conditioning(attempt.stores, attempt.work, only)
