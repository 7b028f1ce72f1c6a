"""The frontier of one run, measured in a process of its own: `python -m benchmarks.frontier ...`.

Knows a denoiser that computes nothing, so that only states are in memory, and how states are
counted from what the sampler says. Knows nothing of what is made of the figures.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.catalogue import cut, load_catalogue
from benchmarks.lab import Lab
from hierdiff_core.embedding import Slot
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.sampler import Round, rounds
from hierdiff_core.solver import NoiseSchedule, make_solver

LATENTS = (4, 64, 64)  # Kandinsky 2.2 at 512 pixels


@dataclass(frozen=True)
class Idle:
    """A denoiser of real size that predicts zero."""

    latent_shape: tuple[int, ...] = LATENTS
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    noise_schedule: NoiseSchedule = field(default_factory=lambda: NoiseSchedule("diffusion", {}))
    slots: tuple[Slot, ...] = ()

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return zeros."""
        return torch.zeros_like(latents)

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Return black pictures."""
        return np.zeros((len(latents), 8, 8, 3), dtype=np.uint8)


@dataclass
class Held:
    """States that children still need, counted from the sampler's rounds."""

    plan: Plan
    waiting: dict[int, int] = field(default_factory=dict)  # children that have not started
    peak: int = 0

    def note(self, each: Round) -> None:
        """Take a round: a state is held from its segment's end until its last child starts."""
        for child in each.started:
            parent = self.plan.segments[child].parent
            if parent is not None:
                self.waiting[parent] -= 1
                if not self.waiting[parent]:
                    del self.waiting[parent]
        for done in each.finished:
            children = len(self.plan.children[done.segment.id])
            if children:
                self.waiting[done.segment.id] = children
        self.peak = max(self.peak, len(self.waiting))


@dataclass(frozen=True)
class Frontier:
    """What a run held in memory at most."""

    prompts: int
    depth: int  # segments on the longest path
    states: int
    state_bytes: int  # of one state
    grown: int  # bytes that the process grew by at its peak

    @property
    def bytes(self) -> int:
        """Of all states held at once."""
        return self.states * self.state_bytes


def measure_here(work: Path, count: int, slots: int, saving: float, quick: bool) -> Frontier:
    """Run a plan of N prompts in this process, which should have run nothing before."""
    lab = Lab("frontier", work, quick)
    catalogue = load_catalogue(lab, count)
    plan = cut(catalogue.tree(), catalogue.recipe.steps, saving)
    denoiser = Idle()
    solver = make_solver("ddim", denoiser.noise_schedule, plan.steps)
    held, size = Held(plan), 0
    before = _forget_peak()
    for each in rounds(catalogue.job(plan, slots), denoiser, solver):
        held.note(each)
        for done in each.finished:
            tensors = (done.state.latents, *done.state.history)
            size = max(size, sum(tensor.nbytes for tensor in tensors))
    depth = max(len(plan.path(plan.leaf_segment(leaf))) for leaf in range(count))
    return Frontier(count, depth, held.peak, size, _memory("VmHWM") - before)


def _forget_peak() -> int:
    """Return the bytes in memory now, from which on the kernel notes a new peak (proc(5))."""
    gc.collect()
    # What planning has freed goes back first, or the run would grow into it unseen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    folder, many, rows, share, mode = sys.argv[1:]
    found = measure_here(Path(folder), int(many), int(rows), float(share), mode == "quick")
    print(json.dumps(asdict(found)))
