"""Tables of a night: catalogues, batches, prompts, rejected rows, and the embedding cache."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tasks.records.base import Base, choice
from tasks.states import BatchState


class Catalogue(Base):
    """A named source of nights."""

    __tablename__ = "catalogues"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    settings: Mapped[
        dict[str, Any] | None
    ]  # what `hierdiff tune` chose, see tasks.catalogue_record
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Batch(Base):
    """One night of a catalogue; of those of one date all but the last were replaced."""

    __tablename__ = "batches"
    __table_args__ = (
        Index(
            "ix_batches_current_night",
            "catalogue_id",
            "business_date",
            unique=True,
            postgresql_where=text("replaced_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogues.id", ondelete="CASCADE"))
    business_date: Mapped[date]
    state: Mapped[BatchState] = mapped_column(choice(BatchState), default=BatchState.CLAIMED)
    settings: Mapped[dict[str, Any] | None]  # of `tasks.night_settings`, as it was asked for
    rows_digest: Mapped[str | None]  # of its rows as they were read
    replaced_at: Mapped[datetime | None]  # when another night took its place
    lease_owner: Mapped[str | None]  # who runs the night; null when nobody does
    lease_holder: Mapped[str | None]  # the process, see tasks.holder
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)  # leases taken: the number of the latest one
    crashes: Mapped[int] = mapped_column(default=0)  # in a row: leases that were never given back
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RejectedRow(Base):
    """A source row that no picture can be made of."""

    __tablename__ = "rejected_rows"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), index=True)
    row: Mapped[int]
    reason: Mapped[str]


class PromptRow(Base):
    """One picture that is asked for; equal content keys share a leaf and a picture."""

    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("batch_id", "row", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"))
    row: Mapped[int]
    reference: Mapped[str]
    text: Mapped[str]
    content_key: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    number: Mapped[int] = mapped_column(default=1)  # of the row's pictures
    own_seed: Mapped[int | None] = mapped_column(BigInteger)  # the row's, of its own steps
    remade_seed: Mapped[int | None] = mapped_column(BigInteger)  # instead, see RemakeRow
    anew: Mapped[bool] = mapped_column(default=False)  # made although its picture existed


class RemakeRow(Base):
    """A picture that was rejected: from that night on it is made with another seed.

    One row for each attempt, so that they can be counted; the last one of a picture holds, for as
    long as its row keeps its text and recipe.
    """

    __tablename__ = "remakes"
    __table_args__ = (Index("ix_remakes_catalogue_id_text_key", "catalogue_id", "text_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogues.id", ondelete="CASCADE"))
    reference: Mapped[str]
    number: Mapped[int]  # of the row's pictures
    text_key: Mapped[str]  # content key of the text's first picture
    seed: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EmbeddingRow(Base):
    """A prompt's embedding, kept because making it again may differ."""

    __tablename__ = "embeddings"

    key: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes]  # safetensors: all of it, or its vector where an object holds all
    sha256: Mapped[str]  # of the content; one that does not match marks it as lost
    object: Mapped[str | None] = mapped_column(index=True)  # its sha256, which names it
    object_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
