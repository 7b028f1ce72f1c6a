"""A scheduler's config, and what it leaves unsaid.

The files that models come with name the facts that differ from their class's defaults, and often
those alone. Read by another class, such a silence would take that class's default: DDIM clips x_0
unless it is told not to, PNDM never does.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from hierdiff_core.errors import InvalidSetting

# Facts about how a model was trained. How steps are spaced is the solver's own affair.
_FACTS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
    "clip_sample",
    "clip_sample_range",
    "thresholding",
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "shift",
    "flow_shift",
)
_UNSAID = "_use_default_values"  # a scheduler object's list of what its file did not name
# What a class that has no such parameter does.
_WITHOUT: Mapping[str, object] = {"clip_sample": False, "thresholding": False}


def config_of(scheduler: Any) -> dict[str, Any]:
    """Return the config of a loaded scheduler, which alone does not name its class."""
    return {"_class_name": type(scheduler).__name__, **scheduler.config}


def complete_config(
    config: Mapping[str, Any], needs: tuple[str, ...] = ("beta_start",)
) -> dict[str, Any]:
    """Return a config with the facts that it leaves out as its own class would have them.

    A config that names no class is left as it is. Raises InvalidSetting for a class that is not
    diffusers', or that has no parameter of `needs`, since its noise levels are of another kind.
    """
    name = config.get("_class_name")
    unsaid = {_UNSAID, *config.get(_UNSAID, ())}
    stated = {key: value for key, value in config.items() if key not in unsaid}
    if name is None:
        return stated
    defaults = _defaults(str(name))
    if not set(needs) & set(defaults):
        hint = f"it has no {needs[0]}, which all solvers for this kind of model start from"
        raise InvalidSetting(setting="the model's scheduler", value=name, hint=hint)
    known = {key: defaults[key] for key in _FACTS if key in defaults}
    return {**_WITHOUT, **known, **stated}


def _defaults(name: str) -> dict[str, Any]:
    kind = getattr(diffusers, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.SchedulerMixin)):
        hint = "diffusers has no such scheduler, so what its config leaves out is unknown"
        raise InvalidSetting(setting="the model's scheduler", value=name, hint=hint)
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {each.name: each.default for each in parameters if each.name != "self"}
