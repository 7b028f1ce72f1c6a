"""The tables, as SQLAlchemy maps them.

Knows columns and constraints. Knows nothing of queries (`tasks.ledger`) or of how the tables came
to be (`migrations`, which the tests compare with these files).
"""

from tasks.records.base import Base
from tasks.records.batches import Batch, Catalogue, EmbeddingRow, PromptRow, RejectedRow
from tasks.records.runs import (
    ImageRow,
    LeafRow,
    NodeRow,
    Run,
    RunMetric,
    SegmentRow,
    Subtree,
    TreeRow,
)

__all__ = [
    "Base",
    "Batch",
    "Catalogue",
    "EmbeddingRow",
    "ImageRow",
    "LeafRow",
    "NodeRow",
    "PromptRow",
    "RejectedRow",
    "Run",
    "RunMetric",
    "SegmentRow",
    "Subtree",
    "TreeRow",
]
