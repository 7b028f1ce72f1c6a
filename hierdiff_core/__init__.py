"""hierdiff's core: which steps a set of pictures shares, what they cost, and how they are denoised.

The names below are loaded when they are first used, so that a plan can be read without a network
library. `generate` is the whole method in one call; the others are its parts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hierdiff_core.budget import Budget as Budget
    from hierdiff_core.clustering.tree import build_tree as build_tree
    from hierdiff_core.library import Made as Made
    from hierdiff_core.library import generate as generate
    from hierdiff_core.models.loaded import Models as Models
    from hierdiff_core.models.recipes import make_recipe as make_recipe
    from hierdiff_core.plan import Plan as Plan
    from hierdiff_core.plan import make_plan as make_plan
    from hierdiff_core.planners import PlanSettings as PlanSettings
    from hierdiff_core.planners import plan_forest as plan_forest
    from hierdiff_core.prompt import Prompt as Prompt
    from hierdiff_core.recipe import Recipe as Recipe
    from hierdiff_core.sampling.sampler import Job as Job
    from hierdiff_core.sampling.sampler import run as run
    from hierdiff_core.schedule import make_schedule as make_schedule
    from hierdiff_core.schedule import solve_tau as solve_tau
    from hierdiff_core.solver import make_solver as make_solver

_PLACES = {
    "Budget": "budget",
    "Job": "sampling.sampler",
    "Made": "library",
    "Models": "models.loaded",
    "Plan": "plan",
    "PlanSettings": "planners",
    "Prompt": "prompt",
    "Recipe": "recipe",
    "build_tree": "clustering.tree",
    "generate": "library",
    "make_plan": "plan",
    "make_recipe": "models.recipes",
    "make_schedule": "schedule",
    "make_solver": "solver",
    "plan_forest": "planners",
    "run": "sampling.sampler",
    "solve_tau": "schedule",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
