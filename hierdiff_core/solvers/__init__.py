"""One file per solver: its coefficients, taken from the diffusers scheduler of the same name.

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


SOLVERS: Mapping[str, SolverEntry] = {
    "ddim": SolverEntry("DDIM", "diffusion", "hierdiff_core.solvers.ddim:make_ddim"),
    "ddpm": SolverEntry("DDPM", "diffusion", "hierdiff_core.solvers.ddpm:make_ddpm"),
    "euler": SolverEntry("Euler", "diffusion", "hierdiff_core.solvers.euler:make_euler"),
    "flow_euler": SolverEntry(
        "flow Euler", "flow", "hierdiff_core.solvers.flow_euler:make_flow_euler"
    ),
    "dpmsolver++": SolverEntry(
        "DPM-Solver++", "diffusion", "hierdiff_core.solvers.dpmsolver:make_dpmsolver"
    ),
}
