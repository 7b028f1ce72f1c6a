"""Where a thread's time goes: its stack, looked at some hundred times a second.

Knows frames and which of them are ours; knows nothing of what runs. Time in C code counts for the
Python function that called it, so this sees a denoiser's call as it sees any other.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from benchmarks.machine import ROOT

EVERY = 0.002  # seconds between two looks
OUTSIDE = "outside"
_CORE = ROOT / "hierdiff_core"


@dataclass
class Stacks:
    """Use as a context: looks at the thread that entered it until the block ends."""

    found: Counter[str] = field(default_factory=Counter)  # looks by innermost function of the core
    seconds: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Stacks:
        thread = threading.get_ident()
        self._looker = threading.Thread(target=self._look, args=(thread,), daemon=True)
        self._began = time.perf_counter()
        self._looker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._looker.join()
        self.seconds = time.perf_counter() - self._began

    def shares(self) -> dict[str, float]:
        """Return the share of all looks that found each function, the greatest first."""
        total = max(sum(self.found.values()), 1)
        return {name: count / total for name, count in self.found.most_common()}

    def _look(self, thread: int) -> None:
        while not self._ended.wait(EVERY):
            self.found[innermost(sys._current_frames().get(thread))] += 1


def innermost(frame: FrameType | None) -> str:
    """Return `module.function` of the innermost frame that is the core's, or OUTSIDE."""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(_CORE):
            return f"{'.'.join(file.relative_to(_CORE).with_suffix('').parts)}.{_name(frame)}"
        frame = frame.f_back
    return OUTSIDE


def _name(frame: FrameType) -> str:
    return frame.f_code.co_qualname.replace(".<locals>", "")
