"""Classifier-free guidance (Ho and Salimans 2021): c steered away from u, in one call for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.families import Option
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import make_solver

# Takes latents (B, ...), timesteps (B,), conditioning (B, ...); returns (B, C or 2C, ...).
Network = Callable[[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
# Takes a guided and a plain prediction (B, ...); returns what is used.
Finish = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

START, STOP, RESCALE = "guidance_start", "guidance_stop", "guidance_rescale"
INTERVAL = (
    Option(START, 0.0, "share of the steps that are taken before guidance", least=0, added=True),
    Option(STOP, 1.0, "share of the steps after which guidance ends", least=0, added=True),
)
GUIDANCE = (
    *INTERVAL,
    Option(RESCALE, 0.0, "share of guidance's contrast that is taken back", least=0, added=True),
)


@dataclass(frozen=True)
class Guidance:
    """How one recipe's predictions are guided."""

    scale: float  # g in u + g (c - u)
    earliest: float = -math.inf  # the highest timestep that is guided; -inf: none is
    latest: float = math.inf  # the lowest
    finish: Finish = lambda guided, plain: guided


def guided_forwards(recipe: Recipe) -> tuple[int, ...]:
    """Return the forward passes of the network per row at each step (K,): 2 for a guided pair."""
    return forwards_above(recipe, 1.0)


def forwards_above(recipe: Recipe, least: float) -> tuple[int, ...]:
    """Return the same for a family that is guided from above another scale than 1."""
    return tuple(1 + guided for guided in _guided(recipe, least))


def check_guidance(recipe: Recipe) -> None:
    """Raise InvalidSetting unless the interval and the rescaling are shares."""
    for name in (each.name for each in GUIDANCE if each.name in recipe.options):
        if recipe.option(name) > 1:
            raise InvalidSetting(setting=name, value=recipe.option(name), hint="use 0 to 1")


def make_guidance(
    recipe: Recipe,
    schedule: NoiseSchedule,
    *,
    least: float = 1.0,
    more: float = 0.0,
    finish: Finish | None = None,
) -> Guidance:
    """Return a recipe's guidance, which is on above the scale `least`; g is its scale and `more`.

    `finish` replaces the rescaling of Lin et al. 2023, section 3.4.
    """
    guided = _guided(recipe, least)
    scale, share = recipe.guidance + more, _option(recipe, RESCALE)
    last = finish or (_rescale(share) if share else Guidance.finish)
    if all(guided):
        return Guidance(scale, math.inf, -math.inf, last)
    if not any(guided):
        return Guidance(scale)
    timesteps = make_solver(recipe.solver, schedule, recipe.steps).timesteps.tolist()
    on = [timestep for timestep, is_on in zip(timesteps, guided, strict=True) if is_on]
    return Guidance(scale, max(on), min(on), last)


def guide(
    network: Network,
    guidance: Guidance,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    conditioning: Mapping[str, torch.Tensor],
    negative: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """Return u + g (c - u), with the conditional half's variance behind it where there is one.

    `negative` has one row. Rows outside of the guided timesteps have no second half.
    """
    if guidance.earliest < guidance.latest:
        return network(latents, timesteps, conditioning)
    if guidance.earliest == math.inf:
        return _guide_all(network, guidance, latents, timesteps, conditioning, negative)
    on = (timesteps <= guidance.earliest) & (timesteps >= guidance.latest)
    if on.all():
        return _guide_all(network, guidance, latents, timesteps, conditioning, negative)
    if not on.any():
        return network(latents, timesteps, conditioning)
    parts = []
    for chosen in (on, ~on):  # the sampler never mixes them: the shape of a call is the plan's
        rows = {name: each[chosen] for name, each in conditioning.items()}
        part = latents[chosen], timesteps[chosen], rows
        guided = chosen is on
        parts.append(_guide_all(network, guidance, *part, negative) if guided else network(*part))
    both = torch.empty_like(torch.cat(parts))
    both[on], both[~on] = parts
    return both


def _guide_all(
    network: Network,
    guidance: Guidance,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    conditioning: Mapping[str, torch.Tensor],
    negative: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    pair = {
        name: torch.cat([negative[name].to(each.device).expand_as(each), each])
        for name, each in conditioning.items()
    }
    both = network(torch.cat([latents, latents]), timesteps.repeat(2), pair)
    unconditional, conditional = both.chunk(2)
    channels = latents.shape[1]
    u, c = unconditional[:, :channels], conditional[:, :channels]
    guided = guidance.finish(u + guidance.scale * (c - u), c)
    return torch.cat([guided, conditional[:, channels:]], dim=1)


def _rescale(share: float) -> Finish:
    def rescale(guided: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
        axes = tuple(range(1, guided.dim()))
        contrast = plain.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
        return share * (guided * contrast) + (1 - share) * guided

    return rescale


def _guided(recipe: Recipe, least: float) -> list[bool]:
    """Return whether each evaluation is guided."""
    start, stop, steps = _option(recipe, START), _option(recipe, STOP), recipe.steps
    # PNDM evaluates its second step twice, at one timestep: both are on or both off.
    extra = recipe.evaluations - steps
    places = [place if place <= extra else place - extra for place in range(recipe.evaluations)]
    return [recipe.guidance > least and start <= place / steps < stop for place in places]


def _option(recipe: Recipe, name: str) -> float:
    """Return an option of guidance, or its default where a family does not have it."""
    defaults = {each.name: each.default for each in GUIDANCE}
    return float(recipe.options.get(name, defaults[name]))
