"""Energy: what a worker's processors and its GPU use, by the counters that the machine shows.

RAPL counts the processors of a machine, whoever uses them: a worker's part is that of its processor
time in the time of all processes. NVML counts a GPU, which is one worker's. What shows no counter
is said, and never guessed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import torch

RAPL = Path("/sys/class/powercap")
CPU, GPU = "cpu", "gpu"
_EVERY = 30.0  # seconds between looks: a processor's counter begins anew after some minutes
_WHOLE = ("package", "dram")  # zones that are no part of another one; `psys` would be both


class NotMeasured(Exception):
    """There is no counter, for this reason."""


class Meter(Protocol):
    """A counter that runs."""

    def joules(self) -> float:
        """Return what was used since it was opened; raises NotMeasured."""
        ...


@dataclass(frozen=True, slots=True)
class Used:
    """What one part of a worker used."""

    part: str  # CPU or GPU
    joules: float | None
    reason: str = ""  # why it was not measured


@dataclass
class Zone:
    """A RAPL zone: a folder with a counter of microjoules that begins anew at its limit."""

    folder: Path
    limit: int  # microjoules after which it begins anew
    last: int
    total: int = 0

    def joules(self) -> float:
        """Return what was used since the first look."""
        now = _read(self.folder / "energy_uj")
        self.total += now - self.last if now >= self.last else now + self.limit - self.last
        self.last = now
        return self.total / 1e6


@dataclass(frozen=True)
class Rapl:
    """The processors of this machine; a Meter of this process's part."""

    zones: Sequence[Zone]
    own: Callable[[], float] = time.process_time  # seconds of this process
    everyone: Callable[[], float] = field(default_factory=lambda: _busy)
    since: tuple[float, float] = (0.0, 0.0)  # of both, when it was opened

    def joules(self) -> float:
        """See Meter."""
        used = sum(zone.joules() for zone in self.zones)
        own, everyone = self.own() - self.since[0], self.everyone() - self.since[1]
        return used * (min(1.0, own / everyone) if everyone > 0 else 1.0)


@dataclass(frozen=True)
class Nvml:
    """A GPU; a Meter."""

    read: Callable[[], float]  # millijoules since its driver was loaded
    since: float

    def joules(self) -> float:
        """See Meter."""
        return (self.read() - self.since) / 1e3


def open_rapl(folder: Path = RAPL) -> Rapl:
    """Return the meter of this machine's processors; raises NotMeasured."""
    zones = [
        Zone(zone, _read(zone / "max_energy_range_uj"), _read(zone / "energy_uj"))
        for zone in sorted(folder.glob("intel-rapl:*"))  # AMD's have that name, too
        if _name(zone).startswith(_WHOLE)
    ]
    if not zones:
        raise NotMeasured("the kernel shows no RAPL")
    return Rapl(zones, since=(time.process_time(), _busy()))


def open_nvml(device: torch.device) -> Nvml:
    """Return the meter of a GPU; raises NotMeasured."""
    try:
        import pynvml
    except ImportError:
        raise NotMeasured("nvidia-ml-py is not installed: pip install 'hierdiff[gpu]'") from None
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
        read = partial(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        return Nvml(read, read())
    except pynvml.NVMLError as error:
        raise NotMeasured(f"NVML says: {error}") from None


@contextmanager
def metered(device: torch.device, rapl: Path = RAPL) -> Iterator[Callable[[], tuple[Used, ...]]]:
    """Yield a function that returns what this process has used so far, by part."""
    opened: dict[str, Callable[[], Meter]] = {CPU: partial(open_rapl, rapl)}
    if device.type == "cuda":
        opened[GPU] = partial(open_nvml, device)
    parts = {part: _open(open_one) for part, open_one in opened.items()}
    lock, ended = threading.Lock(), threading.Event()

    def used() -> tuple[Used, ...]:
        with lock:
            return tuple(_used(part, meter) for part, meter in parts.items())

    def look() -> None:
        while not ended.wait(_EVERY):
            used()

    threading.Thread(target=look, name="energy", daemon=True).start()
    try:
        yield used
    finally:
        ended.set()


def _open(open_one: Callable[[], Meter]) -> Meter | str:
    try:
        return open_one()
    except NotMeasured as reason:
        return str(reason)


def _used(part: str, meter: Meter | str) -> Used:
    if isinstance(meter, str):
        return Used(part, None, meter)
    try:
        return Used(part, meter.joules())
    except Exception as error:  # a driver that goes away ends no work
        return Used(part, None, f"its counter stopped: {error}")


def _read(file: Path) -> int:
    try:
        return int(file.read_text())
    except PermissionError:
        raise NotMeasured(f"{file.name} of RAPL may be read by root alone") from None
    except (OSError, ValueError):
        raise NotMeasured(f"{file.name} of RAPL cannot be read") from None


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _busy() -> float:
    """Return the processor seconds of all processes of this machine so far."""
    times = psutil.cpu_times()._asdict()
    return float(sum(times.get(kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq")))
