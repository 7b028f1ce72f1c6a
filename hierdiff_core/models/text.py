"""For all text encoders: the check of a prompt's length, and calls of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    limit: int | None = None  # tokens; None: the tokenizer's own
    wrap: Callable[[str], str] = str  # what the encoder reads of a prompt, such as a chat
    special: bool = True  # whether the tokenizer adds its own tokens to that

    def __call__(self, prompt: Prompt) -> None:
        """Check a prompt and its negative prompt."""
        limit = self.limit or self.tokenizer.model_max_length
        for text in (prompt.text, prompt.recipe.negative_prompt):
            read = self.tokenizer(
                self.wrap(text),
                truncation=False,
                verbose=False,
                add_special_tokens=self.special,
            )
            if (tokens := len(read.input_ids)) > limit:
                raise PromptTooLong(row=prompt.row, tokens=tokens, limit=limit)


def check_all(checks: Iterable[Callable[[Prompt], None]]) -> Callable[[Prompt], None]:
    """Return the check of several encoders, of which each reads the whole prompt."""
    kept = tuple(checks)

    def check(prompt: Prompt) -> None:
        for one in kept:
            one(prompt)

    return check


def equal_calls(items: Sequence[Item], size: int) -> Iterator[tuple[list[Item], int]]:
    """Yield calls of `size` items, the last one padded with its last item, and their real count.

    Rounding depends on the shape of a call, so equal shapes make an item's result independent of
    the others.
    """
    for first in range(0, len(items), size):
        call = list(items[first : first + size])
        yield call + call[-1:] * (size - len(call)), len(call)
