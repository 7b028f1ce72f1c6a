"""Prices: what an evaluation of each step costs, which is what planners spend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hierdiff_core.models.families import load_module
from hierdiff_core.recipe import Recipe


def step_prices(recipe: Recipe) -> npt.NDArray[np.float64]:
    """Return the price of an evaluation at each step, (K,) of mean 1, in proportion to forwards.

    A budget of evaluations buys as many forward passes as that many evaluations of the mean price.
    """
    forwards = step_forwards(recipe).astype(np.float64)
    return np.asarray(forwards / forwards.mean())


def step_forwards(recipe: Recipe) -> npt.NDArray[np.int64]:
    """Return the forward passes of the network that an evaluation of each step takes, (K,)."""
    return np.asarray(load_module(recipe.family).forwards(recipe), dtype=np.int64)
