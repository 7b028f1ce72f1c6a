"""Several runs of the sampler that take turns, so that all of them see the same machine.

Knows runs and stopwatches; knows nothing of figures. A run is cut into turns by its evaluations,
so however long each run is, all of them begin and end together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.errors import DifferentWork
from benchmarks.lab import clock
from benchmarks.pairs import rotated
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.sampling.sampler import Job, Round, rounds
from hierdiff_core.solver import Solver


@dataclass
class Timed:
    """A run under a stopwatch."""

    job: Job
    denoiser: Denoiser
    solver: Solver
    share: float = 1.0  # of the run that is done before it is left
    seconds: float = 0.0
    evaluations: int = 0
    images: int = 0
    _rounds: Iterator[Round] | None = field(default=None, repr=False)

    def advance(self, share: float) -> None:
        """Run until this share of the work is done; at 1 to the run's end."""
        part = share * self.share
        wanted = math.inf if part >= 1 else part * self.job.plan.evaluations
        began = clock(self.denoiser.device)
        if self._rounds is None:
            self._rounds = rounds(self.job, self.denoiser, self.solver)
        while self.evaluations < wanted and (each := next(self._rounds, None)) is not None:
            self.evaluations += each.evaluations
            self.images += sum(self.job.plan.is_leaf(done.segment) for done in each.finished)
        self.seconds += clock(self.denoiser.device) - began

    @property
    def whole_seconds(self) -> float:
        """Seconds of the whole run; of a run that was left, in proportion to its evaluations."""
        return self.seconds * self.job.plan.evaluations / self.evaluations

    def check(self) -> None:
        """Raise DifferentWork where the run did not do what its plan says."""
        if self.share < 1:
            return
        plan = self.job.plan
        if (self.evaluations, self.images) != (plan.evaluations, plan.size):
            difference = (
                f"{self.evaluations} evaluations and {self.images} images were made "
                f"of {plan.evaluations} and {plan.size}"
            )
            raise DifferentWork(what="a run of the sampler", difference=difference)


def take_turns(runs: Mapping[str, Timed], turns: int) -> None:
    """Advance every run by an equal share of its work in each turn, in another order each time."""
    for turn in range(turns):
        for name in rotated(list(runs), turn):
            runs[name].advance((turn + 1) / turns)
    for run in runs.values():
        run.check()
