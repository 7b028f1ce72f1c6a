"""Missing previews: small pictures of splits that are done, decoded from their checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.sampling.sampler import Finished
from hierdiff_core.solver import make_solver
from tasks.errors import CorruptObject, MissingObject
from tasks.lease import Hold
from tasks.settings import Settings
from tasks.worker.decode import DecodeQueue, as_model_input
from tasks.worker.shard import StoredStates, Work
from tasks.worker.writer import open_writer

log = logging.getLogger(__name__)


def make_previews(
    hold: Hold, settings: Settings, work: Work, denoiser: Denoiser, splits: Iterable[int]
) -> None:
    """Decode and store previews of splits of one tree; one without its checkpoint stays without."""
    states = StoredStates(hold.stores.bucket, work.done)
    decoding = DecodeQueue(work, settings, denoiser)
    with open_writer(hold, settings, work) as writer:
        for split in splits:
            hold.check()
            recipe = work.tree(split).recipe
            solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
            try:
                ended = Finished(work.plan.segments[split], states[split])
            except (MissingObject, CorruptObject, CorruptCheckpoint) as damage:
                # Nobody needs it now; a night that does makes it again.
                log.warning("No preview of segment %d: %s", split, damage)
                continue
            writer.note(makers=decoding.add([as_model_input(solver, work.plan, ended)]))
        writer.note(makers=decoding.rest())
