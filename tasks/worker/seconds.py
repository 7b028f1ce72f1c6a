"""Seconds: what a worker's attempt adds to the figures of its run."""

from __future__ import annotations

import uuid

import torch

from hierdiff_core.models.device import choose_device
from tasks.lease import Hold
from tasks.ledger import record_metric
from tasks.settings import Settings
from tasks.stopwatch import Stopwatch


def record_seconds(hold: Hold, settings: Settings, run: uuid.UUID, watch: Stopwatch) -> None:
    """Add the seconds of each stage, with the name of the device that they were spent on."""
    device = choose_device(settings.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    with hold.session() as session:
        for stage, seconds in watch.seconds.items():
            record_metric(session, run, stage, seconds, device=name)
