"""States of stored things and stages of a run, each with its meaning.

The ledger alone moves a thing from one state to another.
"""

from __future__ import annotations

from enum import StrEnum


class BatchState(StrEnum):
    """How far a night's rows have come."""

    CLAIMED = "claimed"  # the night has its row, but no prompts yet
    INGESTED = "ingested"  # prompts and rejected rows are stored, for good


class RunState(StrEnum):
    """How far a plan has come."""

    PLANNED = "planned"  # stored; nothing spent
    RUNNING = "running"  # a subtree has started
    COMPLETED = "completed"  # every picture and the report are there
    FAILED = "failed"  # something is missing; a retry makes only that
    CANCELLED = "cancelled"  # somebody stopped it; a retry goes on
    REPLACED = "replaced"  # another night of the same date has taken its place


class SubtreeState(StrEnum):
    """How far one shard of a plan has come."""

    WAITING = "waiting"  # nobody has taken it yet
    RUNNING = "running"  # leased; a lease that has run out means its worker is gone
    COMPLETED = "completed"  # all its segments are done
    INCOMPLETE = "incomplete"  # all are done but those that failed alone and were set aside
    FAILED = "failed"  # given back with an error


class Stage(StrEnum):
    """A part of a run whose seconds are recorded; the first three come before the run is stored."""

    READ = "read"  # rows of the source
    EMBED = "embed"  # prompts that are not in the cache
    PLAN = "plan"  # trees, segments and shards
    LOAD = "load"  # the denoiser
    PROBE = "probe"  # how many rows the device denoises at once
    DENOISE = "denoise"  # the steps of a shard
    DECODE = "decode"  # decoding, as far as denoising waits for it
    SAMPLE = "sample"  # the same rows without sharing, on the device


class SegmentState(StrEnum):
    """How far one segment has come."""

    WAITING = "waiting"  # not started
    RUNNING = "running"  # started; after a crash it is simply started again
    PARKED = "parked"  # left between two steps when its worker was stopped; its object holds them
    DONE = "done"  # its object is stored and its sha256 known
    FAILED = "failed"  # set aside with its reason; what is below a cluster goes around it


# What somebody who holds its subtree will make.
COMING = (SegmentState.WAITING, SegmentState.RUNNING, SegmentState.PARKED)


class VerdictState(StrEnum):
    """What a person said of a picture."""

    ACCEPTED = "accepted"  # it may be shown to customers
    REJECTED = "rejected"  # the next night makes another one
    WITHDRAWN = "withdrawn"  # what was said before no longer holds, and nothing in its place
