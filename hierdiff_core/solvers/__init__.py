"""Solvers: the coefficients of each, taken from the diffusers scheduler of the same name.

They share one arithmetic (`linear`); `hierdiff_core.solver` makes one by its name here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# How a model was trained: on x_t = alpha x_0 + sigma epsilon, or to match a flow's velocity.
Kind = Literal["diffusion", "flow"]


@dataclass(frozen=True, slots=True)
class SolverEntry:
    """One solver's entry."""

    label: str  # for people
    kind: Kind  # of the models that it is for
    maker: str  # module:function, imported when a solver is made, since that imports torch
    scheduler: str  # class of diffusers that models name for it
    extra: int = 0  # evaluations beyond the steps that are asked for, where those are two or more


_HERE = "hierdiff_core.solvers"
SOLVERS: Mapping[str, SolverEntry] = {
    "ddim": SolverEntry("DDIM", "diffusion", f"{_HERE}.ddim:make_ddim", "DDIMScheduler"),
    "ddpm": SolverEntry("DDPM", "diffusion", f"{_HERE}.ddpm:make_ddpm", "DDPMScheduler"),
    "euler": SolverEntry(
        "Euler", "diffusion", f"{_HERE}.euler:make_euler", "EulerDiscreteScheduler"
    ),
    "flow_euler": SolverEntry(
        "flow Euler",
        "flow",
        f"{_HERE}.flow_euler:make_flow_euler",
        "FlowMatchEulerDiscreteScheduler",
    ),
    "dpmsolver++": SolverEntry(
        "DPM-Solver++",
        "diffusion",
        f"{_HERE}.dpmsolver:make_dpmsolver",
        "DPMSolverMultistepScheduler",
    ),
    "pndm": SolverEntry("PNDM", "diffusion", f"{_HERE}.pndm:make_pndm", "PNDMScheduler", extra=1),
    "unipc": SolverEntry(
        "UniPC", "diffusion", f"{_HERE}.unipc:make_unipc", "UniPCMultistepScheduler"
    ),
    "lcm": SolverEntry("LCM", "diffusion", f"{_HERE}.lcm:make_lcm", "LCMScheduler"),
    "euler_ancestral": SolverEntry(
        "Euler ancestral",
        "diffusion",
        f"{_HERE}.euler:make_euler_ancestral",
        "EulerAncestralDiscreteScheduler",
    ),
    "flow_dpmsolver++": SolverEntry(
        "flow DPM-Solver++",
        "flow",
        f"{_HERE}.dpmsolver:make_flow_dpmsolver",
        "DPMSolverMultistepScheduler",
    ),
    "flow_unipc": SolverEntry(
        "flow UniPC", "flow", f"{_HERE}.unipc:make_flow_unipc", "UniPCMultistepScheduler"
    ),
}


def count_evaluations(solver: str, steps: int) -> int:
    """Return how often the network is called for a picture that shares none of its steps."""
    return steps + (SOLVERS[solver].extra if steps > 1 else 0)


def solver_of(scheduler: str, kind: Kind) -> str | None:
    """Return the solver that follows a diffusers scheduler on a kind of model, if one does."""
    fitting = (name for name, entry in SOLVERS.items() if entry.kind == kind)
    return next((name for name in fitting if SOLVERS[name].scheduler == scheduler), None)
