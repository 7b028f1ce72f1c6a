"""Slots: how many rows a run denoises at once, measured by its first worker and kept.

Pictures have the same bits after an interruption only with the same slots, so the ledger keeps
them with the run, whatever the settings are later.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Members
from hierdiff_core.plan import Plan
from hierdiff_core.probe import Probe, probe_slots
from tasks.ledger import find_slots, keep_slots, record_metric
from tasks.settings import Settings
from tasks.states import Stage
from tasks.stores import Stores


def settle_slots(
    stores: Stores,
    settings: Settings,
    run: uuid.UUID,
    find_out: Callable[[], Probe],
) -> int:
    """Return the slots of a run: those that it has, or those that are set, or the probe's."""
    with stores.session() as session:
        known = find_slots(session, run)
    if known is not None:
        return known
    began, details = time.monotonic(), {}
    if settings.slots == "auto":
        probe = find_out()
        slots = probe.slots
        details = {"rows_per_second": {str(n): round(each, 2) for n, each in probe.rates.items()}}
    else:
        slots = settings.slots
    with stores.session() as session:
        record_metric(session, run, Stage.PROBE, time.monotonic() - began, details=details)
        return keep_slots(session, run, slots)


def probe(denoiser: Denoiser, conditioning: Members, plan: Plan) -> Probe:
    """Try a device out; a plan is not given more slots than its steps fill on average."""
    most = max(1, plan.evaluations // plan.steps)
    return probe_slots(denoiser, conditioning.blank(), most, time.perf_counter)


def probe_one(denoiser: Denoiser, conditioning: Members) -> None:
    """Evaluate one blank row; raises what the device raises."""
    probe_slots(denoiser, conditioning.blank(), 1, time.perf_counter)
