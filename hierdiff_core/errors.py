"""The errors that a user can fix: one class each, its docstring is the message."""

from __future__ import annotations

import inspect

from hierdiff_core.printable import brief, printable_line

_LENGTH = 2000  # characters of a message
_FACT = 600  # characters of a fact in it, which may be a whole file


class HierdiffError(Exception):
    """An error that the user can fix."""

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        short = {name: brief(value, _FACT) for name, value in facts.items()}
        message = inspect.cleandoc(self.__doc__ or "").format(**short)
        super().__init__(printable_line(message, _LENGTH))

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling drops keyword arguments, and errors cross process borders.
        return _rebuild, (type(self), self.facts)


def _rebuild(kind: type[HierdiffError], facts: dict[str, object]) -> HierdiffError:
    return kind(**facts)


class InvalidSetting(HierdiffError):
    """Setting {setting} is {value!r}: {hint}."""


class EmptyPrompt(HierdiffError):
    """Row {row}: the prompt is empty; write a prompt or drop the row."""


class PromptTooLong(HierdiffError):
    """Row {row}: the prompt has {tokens} tokens, the text encoder reads {limit}; shorten it."""


class MissingColumn(HierdiffError):
    """Column {column!r} is missing: the source has {columns}; name it in the query or the file, or
    say which column it is with --column {column}=NAME."""


class WrongType(HierdiffError):
    """Row {row}: column {column!r} holds {value!r}, not {wanted}; correct it or drop the row."""


class InvalidEmbedding(HierdiffError):
    """Row {row}: its embedding {reason}; check the prompt and the prior's weights."""


class RowFailed(HierdiffError):
    """Prompts {prompts} have no picture: {reason}; leave them out, or check the guidance and the
    weights."""


class UnknownModel(HierdiffError):
    """Model {model!r} cannot be loaded: {hint}."""


class WrongRevision(HierdiffError):
    """Model {model} has revision {found} on this machine, the plan was made for {wanted}; put
    the same weights here, or start a new night."""


class CorruptCheckpoint(HierdiffError):
    """Checkpoint {key} cannot be used: {reason}; it will be computed again from its parent."""
