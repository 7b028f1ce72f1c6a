"""The one arithmetic of all solvers: a step is a sum of few terms, each with a weight per step.

The weights come from the solvers' own files. Sums are taken in float64 and rounded once, to
float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.solvers.clipping import NO_CLIPPING, Clipping

Table = torch.Tensor  # (K,) float64, one weight per step
History = tuple[torch.Tensor, ...]  # past predictions, each (B, C, ...) float32

# The terms: latents, the network's prediction, x_0 from both, the previous x_0, noise.
X, F, X0, PAST, Z = "x", "f", "x0", "past", "z"


@dataclass(frozen=True)
class Linear:
    """x' = sum of weight times term; a Solver."""

    timesteps: torch.Tensor  # (K,)
    terms: tuple[str, ...]
    weights: torch.Tensor  # (terms, K)
    x0: torch.Tensor  # (2, K): weights of x and f in x_0
    clipping: Clipping = NO_CLIPPING  # of x_0
    input_scale: torch.Tensor | None = None  # (1, K): scale of x in the network's input
    initial_scale: float = 1.0

    @property
    def draws_noise(self) -> bool:
        """See Solver."""
        return Z in self.terms

    @property
    def history_size(self) -> int:
        """See Solver."""
        return int(PAST in self.terms)

    def to(self, device: torch.device) -> Linear:
        """See Solver."""
        return replace(
            self,
            timesteps=self.timesteps.to(device),
            weights=self.weights.to(device),
            x0=self.x0.to(device),
            input_scale=None if self.input_scale is None else self.input_scale.to(device),
        )

    def scale(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See Solver."""
        if self.input_scale is None:
            return latents
        return (at(self.input_scale, steps, latents)[0] * latents).float()

    def predicted_x0(
        self, latents: torch.Tensor, prediction: torch.Tensor, steps: torch.Tensor
    ) -> torch.Tensor:
        """See Solver."""
        return self._x0(latents, prediction[:, : latents.shape[1]], steps).float()

    def step(
        self,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        noise: torch.Tensor | None,
        steps: torch.Tensor,
        history: History = (),
    ) -> tuple[torch.Tensor, History]:
        """See Solver."""
        terms = {X: latents, F: prediction[:, : latents.shape[1]]}
        if X0 in self.terms:
            terms[X0] = self._x0(latents, terms[F], steps)
        if noise is not None:
            terms[Z] = noise
        if PAST in self.terms:
            (terms[PAST],), history = history, (terms[X0].float(),)
        weights = zip(self.terms, at(self.weights, steps, latents), strict=True)
        first, *rest = (weight * terms[name] for name, weight in weights if name in terms)
        # Products and sums one by one: fused ones round the last rows of a batch differently.
        for product in rest:
            first.add_(product)
        return first.float(), history

    def _x0(
        self, latents: torch.Tensor, prediction: torch.Tensor, steps: torch.Tensor
    ) -> torch.Tensor:
        u, v = at(self.x0, steps, latents)
        return self.clipping((u * latents).add_(v * prediction))


def at(tables: torch.Tensor, steps: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the tables (n, K) at the rows' steps, each (B, 1, ...) to broadcast with `like`."""
    rows = tables.index_select(1, steps)
    return rows.view(*rows.shape, *[1] * (like.dim() - 1)).unbind()


def make_linear(
    timesteps: torch.Tensor,
    weights: Mapping[str, Table],
    x0: tuple[Table, Table],
    clipping: Clipping = NO_CLIPPING,
    input_scale: Table | None = None,
    initial_scale: float = 1.0,
) -> Linear:
    """Return the solver of these weights; raises InvalidSetting where one is not finite.

    Where x_0 is neither clipped nor kept for the next step it is linear itself, and its two terms
    are added to those of x and f.
    """
    needed = dict(weights)
    if clipping.changes_nothing and PAST not in needed:
        of_x0 = needed.pop(X0)
        for name, table in zip((X, F), x0, strict=True):
            needed[name] = needed.get(name, 0) + of_x0 * table
    tables = torch.stack([needed[name] for name in needed])
    if not torch.isfinite(torch.stack([*needed.values(), *x0])).all():
        hint = "the noise schedule starts at pure noise, which needs v_prediction or sample"
        raise InvalidSetting(setting="prediction_type", value="epsilon", hint=hint)
    return Linear(
        timesteps,
        tuple(needed),
        tables,
        torch.stack(x0),
        clipping,
        None if input_scale is None else input_scale[None],
        initial_scale,
    )
