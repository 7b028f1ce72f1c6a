"""LoRA adapters (Hu et al. 2021): small weights that are added to those of a model as it is loaded.

Loading is diffusers' own, part by part, since each side has its own parts. What is added stays
added: W + scale B A, so that a step costs what it costs without.
"""

from __future__ import annotations

import inspect
from typing import Any

from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Adapter
from hierdiff_core.models.folder import find_adapter
from hierdiff_core.recipe import Recipe

LORA = (
    Option("lora", "", "folder, file or hub name of a LoRA adapter; empty: none",
           text=True, weights=True, added=True),
    Option("lora_scale", 1.0, "how strongly the LoRA adapter acts", text=True, added=True),
)  # fmt: skip
_NETWORKS, _ENCODERS = ("unet", "transformer"), ("text_encoder", "text_encoder_2")
_NAME = "lora"


def adapter_of(recipe: Recipe) -> Adapter | None:
    """Return the adapter that a recipe names, if it does."""
    name = recipe.option("lora")
    return Adapter(name, recipe.option("lora_scale")) if name else None


def add_lora(pipeline: Any, recipe: Recipe) -> Any:
    """Return the pipeline with the recipe's adapter in those parts that it has.

    Raises UnknownModel for an adapter that has nothing for the network, or does not fit.
    """
    adapter = adapter_of(recipe)
    if adapter is None:
        return pipeline
    file, kind = find_adapter(adapter.name), type(pipeline)
    try:
        found = kind.lora_state_dict(str(file.parent), weight_name=file.name, local_files_only=True)
        added = [each for each in _parts(pipeline) if _add(pipeline, each, found)]
        if added:
            pipeline.fuse_lora(components=added, lora_scale=adapter.scale)
            pipeline.unload_lora_weights()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnknownModel(
            model=adapter.name, hint=f"it does not fit the model ({reason})"
        ) from None
    network = next((each for each in _NETWORKS if each in _parts(pipeline)), None)
    if network and network not in added:
        hint = f"it has no LoRA weights for the {network} of {recipe.model}"
        raise UnknownModel(model=adapter.name, hint=hint)
    return pipeline


def _parts(pipeline: Any) -> list[str]:
    """Return the parts that are loaded and that an adapter may change."""
    loadable = pipeline._lora_loadable_modules
    return [each for each in loadable if getattr(pipeline, each, None) is not None]


def _add(pipeline: Any, part: str, found: Any) -> bool:
    """Load an adapter's weights into one part; return whether it has any for it."""
    weights, alphas = found if isinstance(found, tuple) else (found, None)
    if not any(name.startswith(f"{part}.") for name in weights):
        return False
    module = getattr(pipeline, part)
    if part in _ENCODERS:
        load, told = pipeline.load_lora_into_text_encoder, {"text_encoder": module, "prefix": part}
    else:
        load, told = getattr(pipeline, f"load_lora_into_{part}"), {part: module}
    told |= {"network_alphas": alphas, "adapter_name": _NAME, "_pipeline": pipeline}
    known = inspect.signature(load).parameters
    load(weights, **{name: value for name, value in told.items() if name in known})
    return True
