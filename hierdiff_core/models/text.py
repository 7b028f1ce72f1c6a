"""For all text encoders: the check of a prompt's length, and calls of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hierdiff_core.errors import PromptTooLong
from hierdiff_core.prompt import Prompt

Item = TypeVar("Item")


@dataclass(frozen=True)
class PromptCheck:
    """Raises PromptTooLong where a text encoder would drop the end of a prompt.

    Pipelines truncate with a warning, and the picture then ignores the end of its prompt.
    """

    tokenizer: Any

    def __call__(self, prompt: Prompt) -> None:
        """Check a prompt and its negative prompt."""
        limit = self.tokenizer.model_max_length
        for text in (prompt.text, prompt.recipe.negative_prompt):
            tokens = len(self.tokenizer(text, truncation=False, verbose=False).input_ids)
            if tokens > limit:
                raise PromptTooLong(row=prompt.row, tokens=tokens, limit=limit)


def equal_calls(items: Sequence[Item], size: int) -> Iterator[tuple[list[Item], int]]:
    """Yield calls of `size` items, the last one padded with its last item, and their real count.

    Rounding depends on the shape of a call, so equal shapes make an item's result independent of
    the others.
    """
    for first in range(0, len(items), size):
        call = list(items[first : first + size])
        yield call + call[-1:] * (size - len(call)), len(call)
