"""What every table shares: names of constraints, types of columns, how a state is stored."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Enum, Float, LargeBinary, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

# Names that migrations can count on, whichever database made them.
NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


class Base(DeclarativeBase):
    """What every table shares: named constraints, text without limits, times with a zone."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: Text,
        float: Float(53),
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        uuid.UUID: Uuid,
        dict[str, Any]: JSONB,
        list[int]: JSONB,
    }


def choice(states: type[StrEnum]) -> Enum:
    # Text with a CHECK: a new state is a plain migration, a native type's is not.
    return Enum(
        states,
        name="state",
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda kind: [state.value for state in kind],
    )
