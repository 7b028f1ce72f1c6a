"""PNDM without Runge-Kutta steps (Liu et al. 2022, Eq. 9 and 12), the scheduler of SD 1.

A linear multistep method over past predictions: x' = A x + B m, where m is the Adams-Bashforth mean
of this prediction and up to three before it. The second evaluation repeats the first step with the
mean of its predictions at both ends, so K steps take K + 1 evaluations. It starts from the latents
before the first, which follow from those after it: x_T = (x - B f) / A.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import PNDMScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.linear import PAST, F, Linear, Table, X, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import check_config, check_prediction, load_scheduler

# Its scheduler knows no zero terminal SNR, and would pass over it without a word.
_DONE = {"skip_prk_steps": True, "rescale_betas_zero_snr": False}
# Shares of this prediction and of those before it, by how many there are.
_MEANS = (
    [1.0],
    [3 / 2, -1 / 2],
    [23 / 12, -16 / 12, 5 / 12],
    [55 / 24, -59 / 24, 37 / 24, -9 / 24],
)
_AGAIN = 1  # the evaluation that repeats the first step


def make_pndm(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return PNDM over K steps of the noise schedule that a diffusers scheduler config states."""
    config = {**_DONE, **schedule.complete}
    check_config(config, _DONE)
    check_prediction(config, ("epsilon", "v_prediction"))
    scheduler = load_scheduler(PNDMScheduler, config, steps)
    timesteps = scheduler.timesteps.long()
    of_x, of_m = _step(scheduler, timesteps, steps)
    weights = _weights(of_x, of_m)
    bar = scheduler.alphas_cumprod.double()[timesteps]
    x0 = predicted_x0(scheduler.config.prediction_type, bar.sqrt(), (1 - bar).sqrt())
    return make_linear(timesteps, weights, x0, kept=_kept(len(timesteps)))


def _step(scheduler: Any, timesteps: torch.Tensor, steps: int) -> tuple[Table, Table]:
    """Return the weights A and B of each evaluation's step."""
    stride = scheduler.config.num_train_timesteps // steps
    bars, last = scheduler.alphas_cumprod.double(), scheduler.final_alpha_cumprod.double()
    starts, ends = timesteps.clone(), timesteps - stride
    if len(timesteps) > 1:
        starts[_AGAIN], ends[_AGAIN] = timesteps[_AGAIN] + stride, timesteps[_AGAIN]
    a = bars[starts]
    a_next = torch.stack([bars[t] if t >= 0 else last for t in ends.tolist()])
    of_x = (a_next / a).sqrt()
    of_m = (a - a_next) / (a * (1 - a_next).sqrt() + (a * (1 - a) * a_next).sqrt())
    if scheduler.config.prediction_type == "v_prediction":
        return of_x + of_m * (1 - a).sqrt(), of_m * a.sqrt()
    return of_x, of_m


def _weights(of_x: Table, of_m: Table) -> Mapping[str, Table]:
    weights = {name: torch.zeros_like(of_x) for name in (X, F, *PAST)}
    weights[X] = of_x.clone()
    for step in range(len(of_x)):
        for name, share in zip((F, *PAST), _MEANS[_known(step)], strict=False):
            weights[name][step] = share * of_m[step]
    if len(of_x) > 1:
        back = of_x[_AGAIN] / of_x[0]
        weights[X][_AGAIN], weights[F][_AGAIN] = back, of_m[_AGAIN] / 2
        weights[PAST[0]][_AGAIN] = of_m[_AGAIN] / 2 - back * of_m[0]
    return weights


def _known(step: int) -> int:
    """Return how many predictions before this one count; the repeated step's is never kept."""
    return min(step, 3) if step <= _AGAIN else min(step - 1, 3)


def _kept(evaluations: int) -> list[dict[str, Table]]:
    new = torch.ones(evaluations, dtype=torch.float64)
    new[_AGAIN : _AGAIN + 1] = 0
    return [{after: new, before: 1 - new} for after, before in zip((F, *PAST), PAST, strict=False)]
