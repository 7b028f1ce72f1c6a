"""The diffusers scheduler that gives a solver its noise levels, and checks of its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hierdiff_core.errors import InvalidSetting

_REFUSALS = (ImportError, NotImplementedError, TypeError, ValueError)  # of diffusers' schedulers


def load_scheduler(kind: Any, config: Mapping[str, Any], steps: int) -> Any:
    """Return the scheduler, set to K steps; raises InvalidSetting where it cannot take K steps."""
    scheduler = set_scheduler(kind, config, {"num_inference_steps": steps})
    trained = scheduler.config.num_train_timesteps
    # An offset moves the first of very many steps beyond the table.
    if float(scheduler.timesteps.max()) >= trained:
        hint = f"use 1 to {trained - scheduler.config.steps_offset}"
        raise InvalidSetting(setting="steps", value=steps, hint=hint)
    # Some K round to one step more than asked for.
    if len(torch.unique_consecutive(scheduler.timesteps)) != steps:
        raise _no_such_steps(steps)
    return scheduler


def set_scheduler(kind: Any, config: Mapping[str, Any], spacing: Mapping[str, Any]) -> Any:
    """Return a scheduler of diffusers with its steps set.

    `spacing` are the arguments of its `set_timesteps`. Raises InvalidSetting where it refuses them,
    or the config.
    """
    try:
        scheduler = kind.from_config(dict(config))
        scheduler.set_timesteps(**spacing)
    except _REFUSALS as refusal:
        steps = spacing.get("num_inference_steps") or len(spacing["sigmas"])
        hint = f"diffusers' {kind.__name__} refuses it with {steps} steps: {refusal}"
        value = config.get("_class_name", kind.__name__)
        raise InvalidSetting(setting="the model's scheduler", value=value, hint=hint) from refusal
    return scheduler


def check_levels(levels: torch.Tensor, steps: int) -> None:
    """Raise InvalidSetting unless each noise level lies below the one before it."""
    if not (levels.diff() < 0).all():
        raise _no_such_steps(steps)


def check_config(config: Any, done: Mapping[str, object]) -> None:
    """Raise InvalidSetting where the config has another value than the one supported here."""
    for name, wanted in done.items():
        if config[name] != wanted:
            raise InvalidSetting(setting=name, value=config[name], hint=f"use {wanted}")


def check_prediction(config: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise InvalidSetting where the network predicts what a solver has no step for."""
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in known:
        hint = f"use one of {', '.join(known)}, or another solver"
        raise InvalidSetting(setting="prediction_type", value=prediction, hint=hint)


def _no_such_steps(steps: int) -> InvalidSetting:
    hint = "the model's noise schedule cannot be divided into that many; use fewer"
    return InvalidSetting(setting="steps", value=steps, hint=hint)
