"""Table of verdicts: what people said of the pictures of a catalogue."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tasks.records.base import Base, choice
from tasks.states import VerdictState


class VerdictRow(Base):
    """What somebody said of a picture; of several the newest holds.

    It is said of the object, so a picture that is made anew has no verdict yet. No column but the
    first four has to be given, so that a shop can write its own.
    """

    __tablename__ = "verdicts"
    __table_args__ = (Index("ix_verdicts_catalogue_id_sha256", "catalogue_id", "sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    catalogue_id: Mapped[int] = mapped_column(ForeignKey("catalogues.id", ondelete="CASCADE"))
    reference: Mapped[str]  # of the row that was looked at; equal rows share its picture
    number: Mapped[int] = mapped_column(server_default=text("1"))  # of the row's pictures
    sha256: Mapped[str]  # of the picture
    verdict: Mapped[VerdictState] = mapped_column(choice(VerdictState))
    reason: Mapped[str] = mapped_column(server_default="")
    reviewer: Mapped[str] = mapped_column(server_default=text("CURRENT_USER"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
