"""One attempt at a shard: what its steps share, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hierdiff_core.models.loaded import Models
from tasks.lease import Hold
from tasks.settings import Settings
from tasks.stopwatch import Stopwatch
from tasks.stores import Stores
from tasks.worker.shard import Work


@dataclass(frozen=True)
class Progress:
    """How far a shard has come."""

    evaluations: int  # done in this attempt
    planned: int  # of this attempt
    images: int  # made in this attempt


@dataclass
class Attempt:
    """One attempt at a shard: the state that its steps share."""

    stores: Stores
    settings: Settings
    models: Models
    work: Work
    hold: Hold
    report: Callable[[Progress], None]
    previewed: frozenset[int]  # splits that previews are made of
    planned: int = 0
    evaluations: int = 0
    images: int = 0
    narrowest: int = 0  # rows that the device's memory was found to hold; 0 while all fit
    damaged: set[int] = field(default_factory=set)  # segments whose end state was of no use
    ended: set[int] = field(default_factory=set)  # segments that this attempt has ended
    watch: Stopwatch = field(default_factory=Stopwatch)
