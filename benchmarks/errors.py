"""Why a benchmark refuses to give a figure: one class each, its docstring is the message."""

from __future__ import annotations

from hierdiff_core.errors import HierdiffError


class DifferentWork(HierdiffError):
    """{what}: both sides must do the same work, but {difference}; no ratio is given."""


class UnknownBenchmark(HierdiffError):
    """There is no benchmark {name!r}; name some of {known}."""


class NightFailed(HierdiffError):
    """The night of {day} did not end although nothing disturbed it; its error stands above."""
