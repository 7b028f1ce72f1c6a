"""Seconds and energy: what a worker's attempt adds to the figures of its run."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import torch

from hierdiff_core.models.device import choose_device
from tasks.energy import Used
from tasks.lease import Hold
from tasks.ledger import add_energy, record_metric
from tasks.settings import Settings
from tasks.stopwatch import Stopwatch


def record_spent(
    hold: Hold, settings: Settings, run: uuid.UUID, watch: Stopwatch, energy: Iterable[Used]
) -> None:
    """Add the seconds of each stage, with the device that they were spent on, and the energy."""
    device = choose_device(settings.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    with hold.session() as session:
        for stage, seconds in watch.seconds.items():
            record_metric(session, run, stage, seconds, device=name)
        for used in energy:
            add_energy(session, run, used.part, used.joules, used.reason)
