"""UniPC of second order (Zhao et al. 2023, Alg. 5 and 6): a predictor, and a corrector before it.

Each evaluation first corrects the latents that the predictor before it made, from those that it
started from, and then goes on from the corrected ones. The history is what that takes: the
corrected latents of the step before, and the last two x_0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.clipping import read_thresholding
from hierdiff_core.solvers.flow import multistep_flow
from hierdiff_core.solvers.linear import PAST, X0, Linear, Table, X, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import (
    check_config,
    check_levels,
    load_scheduler,
    set_scheduler,
)

_DONE = {"solver_order": 2, "predict_x0": True, "disable_corrector": [], "solver_p": None}
CORRECTED, LAST, BEFORE = PAST


def make_unipc(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return UniPC over K steps of the noise schedule that a diffusers scheduler config states."""
    config = dict(schedule.complete)
    return _make(load_scheduler(UniPCMultistepScheduler, config, steps), steps)


def make_flow_unipc(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return UniPC over K steps of a flow."""
    config, spacing = multistep_flow(schedule, steps, takes_sigmas=True)
    return _make(set_scheduler(UniPCMultistepScheduler, config, spacing), steps)


def _make(scheduler: Any, steps: int) -> Linear:
    check_config(scheduler.config, _DONE)
    sigmas, flow = scheduler.sigmas.double(), scheduler.config.use_flow_sigmas
    check_levels(sigmas[:-1], steps)
    alpha = 1 - sigmas if flow else 1 / (sigmas**2 + 1).sqrt()
    sigma = sigmas if flow else sigmas * alpha
    orders = [min(2, step + 1) for step in range(steps)]
    if scheduler.config.lower_order_final:
        orders[-1] = 1
    scale = scheduler.config.solver_type
    rows = _Rows(alpha, sigma, scale)
    corrected = [rows.correct(step, orders[step - 1]) for step in range(steps)]
    after = [rows.predict(step, orders[step], corrected[step]) for step in range(steps)]
    ones = {X0: torch.ones(steps, dtype=torch.float64)}
    x0 = predicted_x0(scheduler.config.prediction_type, alpha[:-1], sigma[:-1])
    return make_linear(
        scheduler.timesteps,
        _tables(after),
        x0,
        read_thresholding(scheduler.config),
        kept=[_tables(corrected), ones, {LAST: ones[X0]}],
    )


Row = Mapping[str, torch.Tensor]  # the weight of each term, at one step


class _Rows:
    """Weights of single steps, from alpha and sigma (K + 1,)."""

    def __init__(self, alpha: Table, sigma: Table, scale: str) -> None:
        self.alpha, self.sigma, self.scale = alpha, sigma, scale
        self.levels = alpha.log() - sigma.log()  # lambda; infinite where sigma is 0

    def correct(self, step: int, order: int) -> Row:
        """Return the weights of the corrected latents before a step, x^c."""
        if step == 0:
            return {X: torch.ones((), dtype=torch.float64)}
        change, factor = self._exponential(step - 1)
        row: Row = {
            CORRECTED: self.sigma[step] / self.sigma[step - 1],
            LAST: -self.alpha[step] * change,
        }
        share, of_new = self._corrector(step - 1, order)
        return _add(
            row, -self.alpha[step] * factor, {BEFORE: share, LAST: -share - of_new, X0: of_new}
        )

    def predict(self, step: int, order: int, corrected: Row) -> Row:
        """Return the weights of the latents after a step, which goes on from the corrected ones."""
        change, factor = self._exponential(step)
        ratio = self.sigma[step + 1] / self.sigma[step]
        row: Row = {name: ratio * weight for name, weight in corrected.items()}
        row = _add(row, -self.alpha[step + 1], {X0: change})
        if order == 1:
            return row
        share = 0.5 / self._ratio(step)
        return _add(row, -self.alpha[step + 1] * factor, {LAST: share, X0: -share})

    def _exponential(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return e^-h - 1 and the paper's B(h) of the step from one level to the next."""
        h = self.levels[step] - self.levels[step + 1]  # of the paper, with the sign of x_0's form
        return torch.expm1(h), torch.expm1(h) if self.scale == "bh2" else h

    def _ratio(self, step: int) -> torch.Tensor:
        """Return r: the distance to the level before, in the step to the next one."""
        return (self.levels[step - 1] - self.levels[step]) / (
            self.levels[step + 1] - self.levels[step]
        )

    def _corrector(self, step: int, order: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the shares of the x_0 before and of the new one, as differences to the last."""
        if order == 1:
            return torch.zeros((), dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
        h = self.levels[step] - self.levels[step + 1]
        change, factor = self._exponential(step)
        first = change / h - 1
        wanted = torch.stack([first, 2 * (first / h - 0.5)]) / factor
        ratio = self._ratio(step)
        ones = torch.ones_like(ratio)
        rows = torch.stack([torch.stack([ones, ones]), torch.stack([ratio, ones])])
        of_past, of_new = torch.linalg.solve(rows, wanted)
        return of_past / ratio, of_new


def _add(row: Row, factor: torch.Tensor, more: Row) -> Row:
    sums = {name: row.get(name, 0) + factor * weight for name, weight in more.items()}
    return {**row, **sums}


def _tables(rows: list[Row]) -> dict[str, Table]:
    names = dict.fromkeys(name for row in rows for name in row)
    none = torch.zeros((), dtype=torch.float64)
    return {name: torch.stack([row.get(name, none) for row in rows]) for name in names}
