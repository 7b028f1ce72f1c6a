"""The one arithmetic of all solvers: a step is a sum of few terms, each with a weight per step.

The weights come from the solvers' own files. Sums are taken in float64 and rounded once, to
float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.solvers.clipping import NO_CLIPPING, Clipping

Table = torch.Tensor  # (K,) float64, one weight per step
History = tuple[torch.Tensor, ...]  # past predictions, each (B, C, ...) float32

# The terms: latents, the network's prediction, x_0 from both, noise; and what earlier steps kept.
X, F, X0, Z = "x", "f", "x0", "z"
PAST = ("past 0", "past 1", "past 2")  # in the order of the history


@dataclass(frozen=True)
class Sum:
    """A sum of terms, with a weight per step for each."""

    terms: tuple[str, ...]
    weights: torch.Tensor  # (terms, K)

    def __call__(
        self, known: Mapping[str, torch.Tensor], steps: torch.Tensor, like: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum (B, C, ...) float32 at the rows' steps; terms not known count as zero."""
        weights = zip(self.terms, at(self.weights, steps, like), strict=True)
        first, *rest = (weight * known[name] for name, weight in weights if name in known)
        # Products and sums one by one: fused ones round the last rows of a batch differently.
        for product in rest:
            first.add_(product)
        return first.float()

    def to(self, device: torch.device) -> Sum:
        """Return this sum with its weights on a device."""
        return replace(self, weights=self.weights.to(device))


@dataclass(frozen=True)
class Linear:
    """A Solver each of whose outcomes is a sum of weight times term."""

    timesteps: torch.Tensor  # (K,)
    latents: Sum  # x'
    x0: torch.Tensor  # (2, K): weights of x and f in x_0
    kept: tuple[Sum, ...] = ()  # the history for the next step
    clipping: Clipping = NO_CLIPPING  # of x_0
    input_scale: torch.Tensor | None = None  # (1, K): scale of x in the network's input
    initial_scale: float = 1.0

    @property
    def draws_noise(self) -> bool:
        """See Solver."""
        return Z in self.latents.terms

    @property
    def history_size(self) -> int:
        """See Solver."""
        return len(self.kept)

    def to(self, device: torch.device) -> Linear:
        """See Solver."""
        return replace(
            self,
            timesteps=self.timesteps.to(device),
            latents=self.latents.to(device),
            kept=tuple(each.to(device) for each in self.kept),
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
        known = {X: latents, F: prediction[:, : latents.shape[1]]}
        known |= dict(zip(PAST, history, strict=False))
        if any(X0 in each.terms for each in (self.latents, *self.kept)):
            known[X0] = self._x0(latents, known[F], steps)
        if noise is not None:
            known[Z] = noise
        kept = tuple(each(known, steps, latents) for each in self.kept)
        return self.latents(known, steps, latents), kept

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
    kept: Sequence[Mapping[str, Table]] = (),
) -> Linear:
    """Return the solver of these weights; raises InvalidSetting where one is not finite.

    Where x_0 is neither clipped nor kept for the next step it is linear itself, and its two terms
    are added to those of x and f.
    """
    needed = dict(weights)
    if X0 in needed and clipping.changes_nothing and not any(X0 in each for each in kept):
        of_x0 = needed.pop(X0)
        for name, table in zip((X, F), x0, strict=True):
            needed[name] = needed.get(name, 0) + of_x0 * table
    sums = [Sum(tuple(each), torch.stack([*each.values()])) for each in (needed, *kept)]
    if not all(torch.isfinite(each).all() for each in (*(sum.weights for sum in sums), *x0)):
        hint = "the noise schedule starts at pure noise, which needs v_prediction or sample"
        raise InvalidSetting(setting="prediction_type", value="epsilon", hint=hint)
    return Linear(
        timesteps,
        sums[0],
        torch.stack(x0),
        tuple(sums[1:]),
        clipping,
        None if input_scale is None else input_scale[None],
        initial_scale,
    )
