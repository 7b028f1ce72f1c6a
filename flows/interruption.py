"""Interruptions: work that ends between two steps when its process is asked to stop.

Prefect raises a stop or a cancellation in the main thread, wherever that is. The work is therefore
done in another thread, which is told of it and chooses its moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

Answer = TypeVar("Answer")


def interruptible(work: Callable[[threading.Event], Answer]) -> Answer:
    """Return what work returns, which is to end soon once the event that it is given is set.

    Raises what interrupts this thread, but not before the work has ended.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="work") as pool:
        future = pool.submit(copy_context().run, work, stop)
        try:
            return future.result()
        finally:
            stop.set()
            wait([future])
