"""Denoising: a worker runs one shard of a plan, from wherever it was left.

This is the device's side of the work: models, slots, rounds. What is made of a finished segment is
in `decode`; what is stored, and where, in `shard` and `writer`. Progress goes to a callback; order
and retries are the flows'.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from functools import partial

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.errors import CorruptCheckpoint, HierdiffError
from hierdiff_core.models.device import choose_device
from hierdiff_core.models.family import load_family
from hierdiff_core.sampling.sampler import Finished, Job, Round, rounds
from hierdiff_core.solver import Solver, make_solver
from tasks.energy import metered
from tasks.errors import CorruptObject, MissingObject, StillAway
from tasks.lease import leased_subtree
from tasks.ledger import (
    Tree,
    claim_segments,
    forget_segment,
    load_failures,
    note_resumed,
    stored_segments,
)
from tasks.models import open_models
from tasks.object_keys import picture_key
from tasks.previews import choose_splits
from tasks.settings import Settings
from tasks.states import Stage
from tasks.stores import Stores
from tasks.worker.attempt import Attempt, Progress
from tasks.worker.decode import DecodeQueue, as_model_input, redraw, splits_of, states_of
from tasks.worker.loading import load_denoiser
from tasks.worker.missing_previews import preview_missing
from tasks.worker.plain import make_plain_pictures
from tasks.worker.seconds import record_spent
from tasks.worker.set_aside import check_set_aside, go_around, set_tree_aside, write_started
from tasks.worker.shard import (
    ParkedStates,
    StoredStates,
    by_tree,
    load_work,
    parts_of,
)
from tasks.worker.slots import probe, probe_one, settle_slots
from tasks.worker.steering import open_conditioning
from tasks.worker.writer import Writer, open_writer

log = logging.getLogger(__name__)

_AGAIN = 1.0  # seconds between looks at what another run makes
_DAMAGE = (MissingObject, CorruptObject, CorruptCheckpoint)


def denoise_shard(
    stores: Stores,
    settings: Settings,
    run: uuid.UUID,
    shard: int,
    owner: str,
    *,
    flow_run_id: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Progress:
    """Run what is missing of a shard; every split and every picture is stored as it ends.

    Once `stop` is set it takes no further step, stores those that it has taken, gives the shard
    back and raises WorkerStopped.

    Safe to call again after anything, on any machine: finished segments are not evaluated again.
    A row that fails alone is set aside, and everything else is made. Raises LeaseHeld while another
    worker has the shard, WrongRevision where this machine's weights are not those of the plan,
    LostEmbeddings where the text side has to make some anew, and RowsSetAside at the end.
    """
    seconds = settings.lease_seconds
    with (
        leased_subtree(stores, run, shard, owner, seconds, flow_run_id, stop) as hold,
        metered(choose_device(settings.device)) as energy,
    ):
        work = load_work(stores, run, shard)
        previewed = frozenset(choose_splits(work.plan) if settings.previews else ())
        attempt = Attempt(stores, settings, open_models(settings), work, hold, report, previewed)
        try:
            _note_resumed(attempt)
            _draw(attempt, work.undrawn())
            _denoise(attempt)
            preview_missing(attempt)
            make_plain_pictures(attempt)
            check_set_aside(stores, attempt.work)
        finally:
            # Who gave up waiting for a store has none to write to.
            if not (hold.lost or isinstance(sys.exception(), StillAway)):
                record_spent(hold, settings, run, attempt.watch, energy())
    return Progress(attempt.evaluations, attempt.planned, attempt.images)


def _denoise(attempt: Attempt) -> None:
    """Run until no segment is missing; one whose checkpoint turns out damaged is run again."""
    while wanted := attempt.work.wanted():
        attempt.hold.check_stop()
        free = _claim(attempt, wanted)
        segments = attempt.work.plan.segments
        attempt.planned = attempt.evaluations + sum(segments[each].steps for each in free)
        for tree, only in by_tree(attempt.work, attempt.work.chosen(free)).items():
            states = StoredStates(attempt.stores.bucket, attempt.work.done)
            try:
                _try_tree(attempt, tree, only, states)
            except _DAMAGE as damage:
                _note_done(attempt)
                # A state may be whole and yet lack what the solver has to remember.
                _take_back(attempt, damage.facts.get("segment", states.damaged), damage)
                break
            _note_done(attempt)


def _claim(attempt: Attempt, wanted: set[int]) -> set[int]:
    """Return the wanted segments that are this attempt's to make.

    What another run makes is not made here: it is waited for where nothing else is left.
    """
    work, damaged = attempt.work, attempt.damaged
    with attempt.hold.session() as session:
        claims = claim_segments(session, work.run, work.shard, wanted, damaged)
    if claims.found:
        _note_done(attempt)
        _draw(attempt, work.leaves_of(claims.found))
    below = {under for each in claims.busy for under in work.plan.subtree(each)}
    free = (wanted & work.wanted()) - below
    if below and not free:
        attempt.hold.check_stop()
        time.sleep(_AGAIN)
    return free


def _try_tree(attempt: Attempt, tree: Tree, only: Collection[int], states: StoredStates) -> None:
    """Run segments of a tree; where only its recipe fails on this machine, set them aside."""
    others = [each for each in attempt.work.night.trees if each.recipe != tree.recipe]

    def try_other(other: Tree) -> None:
        segment = attempt.work.plan.leaf_segment(other.first_leaf).id
        conditioning = open_conditioning(attempt.stores, attempt.work, [segment])
        probe_one(load_denoiser(attempt, other.recipe), conditioning)

    set_tree_aside(
        attempt.hold,
        attempt.work,
        only,
        lambda: _denoise_tree(attempt, tree, only, states),
        [partial(try_other, each) for each in others],
    )


def _denoise_tree(
    attempt: Attempt, tree: Tree, only: Collection[int], states: StoredStates
) -> None:
    work = attempt.work
    denoiser = load_denoiser(attempt, tree.recipe)
    solver = make_solver(tree.recipe.solver, denoiser.noise_schedule, tree.recipe.steps)
    conditioning = open_conditioning(attempt.stores, work, only)
    with attempt.watch.timed(Stage.PROBE):
        slots = settle_slots(
            attempt.stores,
            attempt.settings,
            work.run,
            lambda: probe(denoiser, conditioning, work.plan),
        )
    job = Job(
        plan=work.plan,
        conditioning=conditioning,
        content_keys=work.content_keys,
        seed=tree.recipe.seed,
        initial_noise=tree.recipe.initial_noise,
        slots=slots,
        only=only,
        parts=parts_of(work, tree),
        few_shapes=attempt.settings.compile,
        isolate=True,
        forwards=load_family(tree.recipe.family).forwards(tree.recipe),
        undisturbed=work.undisturbed,
        text_keys=work.night.text_keys,
    )
    writing = open_writer(attempt.hold, attempt.settings, work)
    with attempt.watch.timed(Stage.DENOISE), writing as writer:
        _run(attempt, job, denoiser, solver, states, writer)


def _run(
    attempt: Attempt,
    job: Job,
    denoiser: Denoiser,
    solver: Solver,
    states: StoredStates,
    writer: Writer,
) -> None:
    """Hand on each round: splits at once, pictures when enough have gathered to decode."""
    work, decoding = attempt.work, DecodeQueue(attempt.work, attempt.settings, denoiser)
    # After a crash the next one has to show what was in flight.
    starting = partial(write_started, attempt.hold, work.run) if attempt.hold.again else None
    parked, stopping = ParkedStates(attempt.stores.bucket, work.parked), attempt.hold.stop.is_set
    try:
        for ended in rounds(job, denoiser, solver, states, starting, parked, stopping):
            attempt.hold.check()
            _warn_of_memory(attempt, job, ended)
            with attempt.watch.timed(Stage.DECODE):
                decoded = [done for done in ended.finished if _is_decoded(attempt, done)]
                drawn = decoding.add(as_model_input(solver, work.plan, done) for done in decoded)
            splits = splits_of(work, ended.finished)
            failed = {one.segment.id: one.reason for one in ended.failed}
            started = () if attempt.hold.again else ended.started
            writer.note(
                started, ended.evaluations, splits, drawn, failed, states_of(work, ended.parked)
            )
            attempt.ended |= {done.segment.id for done in ended.finished}
            attempt.evaluations += ended.evaluations
            attempt.images += sum(work.plan.is_leaf(done.segment) for done in ended.finished)
            attempt.report(Progress(attempt.evaluations, attempt.planned, attempt.images))
    finally:
        # After an error too: nothing else is stored of the leaves that wait. Who has lost the lease
        # can write no more.
        if not attempt.hold.lost:
            with attempt.watch.timed(Stage.DECODE):
                rest = decoding.rest()
            writer.note(makers=rest)


def _warn_of_memory(attempt: Attempt, job: Job, ended: Round) -> None:
    """Warn once for each narrower call that the device's memory ran out."""
    if ended.slots < (attempt.narrowest or job.slots):
        attempt.narrowest = ended.slots
        log.warning(
            "The device's memory does not hold %d rows; continuing with %d. Pictures may differ "
            "in their last bits from those of another run; set HIERDIFF_SLOTS to avoid the search",
            job.slots,
            ended.slots,
        )


def _is_decoded(attempt: Attempt, done: Finished) -> bool:
    return attempt.work.plan.is_leaf(done.segment) or done.segment.id in attempt.previewed


def _note_done(attempt: Attempt) -> None:
    """Read what is done and what has failed by now; go around clusters that are set aside."""
    work = attempt.work
    with attempt.stores.session() as session:
        done = stored_segments(session, work.run)
        failures = load_failures(session, work.run)
    work.done.clear()
    work.done.update(done)
    work.failures.clear()
    work.failures.update(failures)
    if go_around(attempt.hold, work):
        attempt.work = load_work(attempt.stores, work.run, work.shard)


def _take_back(attempt: Attempt, segment: object, damage: HierdiffError) -> None:
    """Let a segment be done again whose end state is damaged; a second time is too often."""
    if not isinstance(segment, int) or segment in attempt.damaged:
        raise damage
    log.warning("%s", damage)
    attempt.damaged.add(segment)
    with attempt.hold.session() as session:
        forget_segment(session, attempt.work.run, segment)
    del attempt.work.done[segment]


def _draw(attempt: Attempt, leaves: Iterable[int]) -> None:
    """Give leaves that are done already, by another run, a picture of this run."""
    work, settings = attempt.work, attempt.settings
    with open_writer(attempt.hold, settings, work) as writer:
        for leaf in leaves:
            attempt.hold.check_stop()
            stored = _stored_picture(attempt, work.plan.leaf_segment(leaf).id)
            if stored is not None:
                writer.note(makers=[partial(redraw, work, settings, leaf, stored)])
                attempt.images += 1


def _stored_picture(attempt: Attempt, segment: int) -> bytes | None:
    """Return the picture that a leaf's segment ended in, or None where that is damaged."""
    sha256 = attempt.work.done[segment].sha256
    try:
        return attempt.stores.bucket.get(picture_key(sha256), sha256)
    except _DAMAGE as damage:
        _take_back(attempt, segment, damage)
        return None


def _note_resumed(attempt: Attempt) -> None:
    work = attempt.work
    found = [each for each in work.night.shards[work.shard] if each in work.done]
    steps = sum(work.plan.segments[each].steps for each in found)
    with attempt.hold.session() as session:
        note_resumed(session, work.run, work.shard, steps)
