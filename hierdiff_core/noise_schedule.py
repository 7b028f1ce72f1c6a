"""Noise schedules: how noisy a model's latents are at each time, as its family states it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hierdiff_core.solvers import Kind
from hierdiff_core.solvers.config import complete_config


@dataclass(frozen=True)
class NoiseSchedule:
    """How noisy a model's latents are at each time, as its family states it.

    Many flow models are made for other noise levels than their scheduler's own: their pipelines
    hand it sigmas, and a shift `mu` that grows with the picture.
    """

    kind: Kind
    config: Mapping[str, Any]  # of a diffusers scheduler
    sigmas: Callable[[int], Sequence[float]] | None = None  # of K steps; None: the scheduler's own
    mu: Callable[[int], float] | None = None  # of K steps; None: the config's own shift
    euler_only: bool = False  # whether the pipeline leaves other schedulers to their own sigmas

    @property
    def complete(self) -> Mapping[str, Any]:
        """The config with what its own class would do where it is silent; see `complete_config`."""
        needs = ("shift", "flow_shift") if self.kind == "flow" else ("beta_start",)
        return complete_config(self.config, needs)
