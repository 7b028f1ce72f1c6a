"""The tables, as SQLAlchemy maps them.

Queries are in `tasks.ledger`. The tables are made by `migrations`, which the tests compare with
these files.
"""

from tasks.records.base import Base
from tasks.records.batches import Batch, Catalogue, EmbeddingRow, PromptRow, RejectedRow, RemakeRow
from tasks.records.runs import (
    EnergyRow,
    FounderSum,
    ImageRow,
    LeafRow,
    NodeRow,
    PairRow,
    RenditionRow,
    Run,
    RunMetric,
    SegmentRow,
    Start,
    Subtree,
    TreeRow,
)
from tasks.records.verdicts import VerdictRow

__all__ = [
    "Base",
    "Batch",
    "Catalogue",
    "EmbeddingRow",
    "EnergyRow",
    "FounderSum",
    "ImageRow",
    "LeafRow",
    "NodeRow",
    "PairRow",
    "PromptRow",
    "RejectedRow",
    "RemakeRow",
    "RenditionRow",
    "Run",
    "RunMetric",
    "SegmentRow",
    "Start",
    "Subtree",
    "TreeRow",
    "VerdictRow",
]
