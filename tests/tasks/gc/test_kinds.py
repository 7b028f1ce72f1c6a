"""Every object that is ever written is of a kind that `hierdiff gc` knows."""

from __future__ import annotations

import uuid

import pytest

from tasks import object_keys
from tasks.object_keys import KINDS, ObjectKind
from tasks.records import Base

NAMES = ("a" * 64, str(uuid.uuid4()))


@pytest.mark.parametrize("made", [each for each in vars(object_keys) if each.endswith("_key")])
def test_every_key_is_of_one_kind(made: str) -> None:
    keys = [getattr(object_keys, made)(name) for name in NAMES]
    assert sum(kind.name_of(key) in NAMES for key in keys for kind in KINDS) == 1


@pytest.mark.parametrize("kind", KINDS, ids=[kind.folder for kind in KINDS])
def test_a_kind_is_named_by_columns_that_are_found_by_an_index(kind: ObjectKind) -> None:
    for named in kind.named_by:
        table, _, column = named.partition(".")
        indexed = {index.columns[0].name for index in Base.metadata.tables[table].indexes}
        keys = {each.name for each in Base.metadata.tables[table].primary_key}
        assert column in indexed | keys


@pytest.mark.parametrize("kind", KINDS, ids=[kind.folder for kind in KINDS])
def test_a_name_comes_back_from_its_key_and_from_no_other(kind: ObjectKind) -> None:
    (name,) = [each for each in NAMES if kind.name_of(kind.key(each))]
    key = kind.key(name)
    assert kind.name_of(key) == name
    for other in (f"x{key}", f"{key}x", key.upper(), key.replace(name, name[1:]), f"{key}\n"):
        assert kind.name_of(other) is None
