"""The lab: what a benchmark is told of its run.

Knows folders, the device and how progress is shown; knows nothing of what is measured.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class Lab:
    """One benchmark's run."""

    name: str
    work: Path  # for what may be found again by a later run, such as embeddings
    quick: bool = False  # tiny sizes: every line of code is run, no figure means anything
    device: str = "auto"
    began: float = field(default_factory=time.perf_counter)

    def say(self, line: str) -> None:
        """Show how far the benchmark has come."""
        seconds = time.perf_counter() - self.began
        print(f"{self.name:>12} {seconds:6.0f} s  {line}", file=sys.stderr, flush=True)

    def folder(self, name: str) -> Path:
        """Return a folder of the work folder, made where it is missing."""
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def clock(device: torch.device | None = None) -> float:
    """Return seconds on a steady clock, once the device has done all that it was given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
