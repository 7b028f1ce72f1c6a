"""Slots: how many rows a run denoises at once, measured by its first worker and kept.

Pictures have the same bits after an interruption only with the same slots, so the ledger keeps
them with the run, whatever the settings are later.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning
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


def probe(denoiser: Denoiser, conditioning: Conditioning, plan: Plan) -> Probe:
    """Try a device out; a plan is not given more slots than its steps fill on average."""
    most = max(1, plan.evaluations // plan.steps)
    return probe_slots(denoiser, _blank(conditioning), most, time.perf_counter)


def probe_one(denoiser: Denoiser, conditioning: Conditioning) -> None:
    """Evaluate one blank row; raises what the device raises."""
    probe_slots(denoiser, _blank(conditioning), 1, time.perf_counter)


def _blank(conditioning: Conditioning) -> Conditioning:
    # A row that fails must not keep the others from being tried.
    tensors = conditioning.tensors.items()
    return Conditioning({name: each.new_zeros(1, *each.shape[1:]) for name, each in tensors})
