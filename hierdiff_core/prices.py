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
    forwards = np.asarray(load_module(recipe.family).forwards(recipe), dtype=np.float64)
    return forwards / forwards.mean()
