"""Errors travel between processes and stay one clear line."""

from __future__ import annotations

import copy
import pickle

import pytest

from hierdiff_core import errors
from hierdiff_core.errors import HierdiffError, InvalidSetting, WrongType

FACTS = {
    "setting": "tau",
    "value": "a\nvalue {of} braces",
    "hint": "use\nanother",
    "row": 12,
    "tokens": 99,
    "limit": 77,
    "column": "seed",
    "columns": "a, b",
    "wanted": "text",
    "found": "0123",
    "reason": "is {zero}",
    "model": "a/b",
    "key": "0123",
    "prompts": "'a', 'b'",
}
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HierdiffError) and kind is not HierdiffError
]
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_every_error_survives_the_way_to_another_process(kind: type[HierdiffError]) -> None:
    error = kind(**FACTS)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert again.facts == FACTS


@every_kind
def test_every_message_is_one_line_that_ends_in_a_full_stop(kind: type[HierdiffError]) -> None:
    line = str(kind(**FACTS))
    assert "\n" not in line
    assert line.endswith(".")
    assert line == " ".join(line.split())


def test_values_are_shown_as_they_were_written() -> None:
    line = str(InvalidSetting(setting="tau", value="{x}\n", hint="use a number"))
    assert line == "Setting tau is '{x}\\n': use a number."


def test_a_row_is_named() -> None:
    error = WrongType(row=3, column="seed", value=1.5, wanted="a whole number")
    assert str(error).startswith("Row 3: column 'seed' holds 1.5, not a whole number;")


def test_what_the_user_can_mend_is_told_from_what_is_a_bug() -> None:
    assert all(issubclass(kind, HierdiffError) for kind in KINDS)
    assert not issubclass(HierdiffError, (ValueError, RuntimeError))
