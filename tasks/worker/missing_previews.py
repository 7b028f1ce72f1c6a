"""Missing previews: small pictures of splits that are done, decoded from their checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.sampling.sampler import Finished
from hierdiff_core.solver import make_solver
from tasks.errors import CorruptObject, MissingObject
from tasks.worker.attempt import Attempt
from tasks.worker.decode import DecodeQueue, as_model_input
from tasks.worker.loading import load_denoiser
from tasks.worker.shard import StoredStates, by_tree
from tasks.worker.writer import open_writer

log = logging.getLogger(__name__)


def preview_missing(attempt: Attempt) -> None:
    """Give splits that were done already, but whose preview is gone, another one.

    One without its checkpoint stays without.
    """
    work = attempt.work
    mine = attempt.previewed & set(work.night.shards[work.shard]) & work.done.keys()
    lost = sorted(mine - work.previews - attempt.ended)
    for tree, splits in by_tree(work, lost).items():
        _make_previews(attempt, load_denoiser(attempt, tree.recipe), splits)


def _make_previews(attempt: Attempt, denoiser: Denoiser, splits: Iterable[int]) -> None:
    hold, work = attempt.hold, attempt.work
    states = StoredStates(attempt.stores.bucket, work.done)
    decoding = DecodeQueue(work, attempt.settings, denoiser)
    with open_writer(hold, attempt.settings, work) as writer:
        for split in splits:
            hold.check_stop()
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
