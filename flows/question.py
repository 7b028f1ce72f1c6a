"""Questions to servers that may be away for a while, as a night itself bears it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from tasks.errors import UnreachableDatabase

Answer = TypeVar("Answer")


@dataclass
class Question(Generic[Answer]):
    """A question that is asked again and again, by somebody who looks at more than the answer."""

    ask: Callable[[], Answer]
    seconds: float  # without any answer, after which it is given up
    _since: float | None = None

    def __call__(self) -> Answer | None:
        """Return the answer, or None where there is none just now; raises what ends patience."""
        try:
            found = self.ask()
        except (httpx.HTTPError, UnreachableDatabase) as error:
            self._since = self._since or time.monotonic()
            if refuses(error) or time.monotonic() - self._since > self.seconds:
                raise
            return None
        self._since = None
        return found


def refuses(error: Exception) -> bool:
    """Return whether a server has answered, and will not answer otherwise later."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
