"""The machine that figures were measured on, and the version of the code.

Knows where Linux, git and torch tell; knows nothing of benchmarks.
"""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scipy")
_NOT_RESULTS = (".", ":(exclude)benchmarks/results")


@dataclass(frozen=True)
class Machine:
    """Where and when figures were measured, and with which code."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    gpu: str  # empty without one
    driver: str
    python: str
    versions: dict[str, str]
    threads: int  # that torch computes with
    commit: str  # the last one that changed more than results; ends in + where files differ
    date: str

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)


def describe() -> Machine:
    """Return what is known of this machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return Machine(
        cpu=_cpu(),
        cores=psutil.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=_system(),
        gpu=gpu,
        driver=_said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        if gpu
        else "",
        python=platform.python_version(),
        versions={name: _version(name) for name in PACKAGES},
        threads=torch.get_num_threads(),
        commit=commit(),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def commit() -> str:
    """Return the last commit that changed more than results, with a + where files differ from it.

    Empty outside of a clone.
    """
    found = _said("git", "log", "-1", "--format=%h", "--", *_NOT_RESULTS)
    changed = _said("git", "status", "--porcelain", "--untracked-files=no", "--", *_NOT_RESULTS)
    return found + "+" if found and changed else found


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    name = facts.get("model name", platform.processor())
    # A virtual machine's name may be cut down to "Xeon"; family and model tell which.
    return f"{name} (family {facts.get('cpu family')}, model {facts.get('model')})"


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name} {platform.system()} {platform.release()} {platform.machine()}".strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
