"""Measured deviation: how far a plan's final latents lie from what each prompt would get alone.

Knows plans, samplers and latents; knows nothing of how plans are made. A prompt's own run starts
from the noise that its root segment started from, or the two could not be compared: so all roots
are given one noise, and the solver must draw none on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import Solver

Latents = npt.NDArray[np.float32]  # (N, ...)


def measure_deviations(
    plans: Sequence[Plan], job: Job, denoiser: Denoiser, make: Callable[[int], Solver]
) -> Iterator[float]:
    """Yield each plan's mean squared distance of final latents from those of unshared runs.

    `job` says what is denoised and how; its own plan does not count. Unshared runs are made once
    for each K. Raises InvalidSetting for a solver that draws noise.
    """
    alone: dict[int, Latents] = {}
    for plan in plans:
        solver = make(plan.steps)
        if solver.draws_noise:
            hint = "its steps draw noise of their own; measure with ddim, euler or dpmsolver++"
            raise InvalidSetting(setting="solver", value="ddpm", hint=hint)
        if plan.steps not in alone:
            own = unshared_plan(plan.size, plan.steps)
            alone[plan.steps] = final_latents(own, job, denoiser, solver)
        gaps = final_latents(plan, job, denoiser, solver) - alone[plan.steps]
        yield float((gaps.reshape(len(gaps), -1) ** 2).sum(axis=1).mean())


def unshared_plan(size: int, steps: int) -> Plan:
    """Return the plan in which every leaf takes all steps alone."""
    segments = tuple(Segment(leaf, leaf, 0, steps, None, leaf, leaf + 1) for leaf in range(size))
    return Plan(steps, tuple(range(size)), segments, 0.0, "none")


def final_latents(plan: Plan, job: Job, denoiser: Denoiser, solver: Solver) -> Latents:
    """Return the leaves' final latents, all roots starting from one noise."""
    job = replace(job, plan=plan, initial_noise="shared", only=None, parts=None)
    found = np.empty((plan.size, *denoiser.latent_shape), dtype=np.float32)
    for each in run(job, denoiser, solver):
        if plan.is_leaf(each.segment):
            found[plan.order[each.segment.first]] = each.state.latents.numpy()
    return found
