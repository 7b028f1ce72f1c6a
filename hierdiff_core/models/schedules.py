"""Noise schedules and solvers as models' folders name them, and what flow pipelines add to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hierdiff_core.models.family import Defaults
from hierdiff_core.models.folder import read_config
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers import Kind, solver_of

_FEW = 4  # steps of models that are distilled to few


def read_scheduler(model: str) -> dict[str, Any]:
    """Return the config of a model's scheduler; raises UnknownModel."""
    return read_config(model, "scheduler", "scheduler_config.json")


def own_defaults(model: str, kind: Kind, usual: Defaults) -> Defaults:
    """Return a model's defaults: those of its family, with the scheduler that its folder names.

    Models that are distilled for LCM, or for ancestral Euler from pure noise (Turbo), take few
    steps and no guidance.
    """
    config = read_scheduler(model)
    solver = solver_of(str(config.get("_class_name")), kind) or usual.solver
    turbo = solver == "euler_ancestral" and config.get("timestep_spacing") == "trailing"
    if solver == "lcm" or turbo:
        return replace(usual, solver=solver, steps=_FEW, guidance=1.0)
    return replace(usual, solver=solver)


def even_sigmas(steps: int) -> Sequence[float]:
    """Return K noise levels from 1 to 1/K, which flow pipelines hand their schedulers."""
    return [1 - step / steps for step in range(steps)]


def shift_by_tokens(config: Mapping[str, Any], tokens: int, most: float = 1.15) -> float:
    """Return mu, which grows in line with a picture's tokens between two shifts of a config."""
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", most)
    slope = (high - low) / (many - few)
    return float(tokens * slope + (low - slope * few))


def flow_by_tokens(model: str, tokens: int, *, euler_only: bool = False) -> NoiseSchedule:
    """Return the schedule of a flow whose pipeline hands its scheduler even levels and a shift."""
    config = read_scheduler(model)
    mu = shift_by_tokens(config, tokens)
    return NoiseSchedule("flow", config, even_sigmas, lambda steps: mu, euler_only)
