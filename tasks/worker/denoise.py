"""Denoising: a worker runs one shard of a plan, from wherever it was left.

Knows the device's side of the work: models, slots, rounds. What is made of a finished segment is
`draw`; what is kept, and where, `work` and `recorder`. Progress goes to whoever asks; order and
retries are the flows'.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch

from hierdiff_core.errors import CorruptCheckpoint, HierdiffError
from hierdiff_core.models.kandinsky22 import Decoder, fit_decoder, load_decoder, load_prior
from hierdiff_core.models.place import choose_device, find_revision
from hierdiff_core.prompt import Recipe
from hierdiff_core.sampling.sampler import Finished, Job, Round, rounds
from hierdiff_core.solver import Solver, make_solver
from tasks.embed import load_negative
from tasks.errors import CorruptObject, MissingObject, WrongRevision
from tasks.lease import Hold, held
from tasks.ledger import Tree, finished, forget_segment, note_resumed, record_metric
from tasks.object_keys import picture_key
from tasks.previews import shown_splits
from tasks.settings import DIGESTS_FILE, Settings
from tasks.stores import Stores
from tasks.worker.decode import Easel, as_shown, redraw, splits_of
from tasks.worker.shard import StoredStates, Work, by_tree, load_conditioning, load_work, parts_of
from tasks.worker.slots import probe, settle_slots
from tasks.worker.writer import Recorder

log = logging.getLogger(__name__)

_DAMAGE = (MissingObject, CorruptObject, CorruptCheckpoint)


@dataclass(frozen=True)
class Progress:
    """How far a shard has come."""

    evaluations: int  # done in this attempt
    planned: int  # of this attempt
    images: int  # made in this attempt


@dataclass
class _Shift:
    """One attempt at a shard: what its steps hand to each other."""

    stores: Stores
    settings: Settings
    work: Work
    hold: Hold
    report: Callable[[Progress], None]
    shown: frozenset[int]  # splits that previews are made of
    planned: int = 0
    evaluations: int = 0
    images: int = 0
    narrowest: int = 0  # rows that the device's memory was found to hold; 0 while all fit
    damaged: set[int] = field(default_factory=set)  # segments whose end state was of no use
    seconds: dict[str, float] = field(default_factory=dict)
    inner: float = 0.0  # seconds of stages inside the one that is being timed
    pipelines: dict[tuple[str, str], object] = field(default_factory=dict)
    decoders: dict[Recipe, Decoder] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's seconds to a stage, without those of stages inside it."""
        started, outer, self.inner = time.monotonic(), self.inner, 0.0
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent - self.inner
            self.inner = outer + spent


def denoise_shard(
    stores: Stores,
    settings: Settings,
    run: uuid.UUID,
    shard: int,
    owner: str,
    *,
    flow_run_id: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Run what is missing of a shard; every split and every picture is stored as it ends.

    Safe to call again after anything, on any machine: finished segments are not evaluated again.
    Raises LeaseHeld while another worker has the shard, WrongRevision where this machine's weights
    are not those of the plan.
    """
    seconds = settings.lease_seconds
    with held(stores, run, shard, owner, seconds, flow_run_id) as hold:
        work = load_work(stores, run, shard)
        shown = frozenset(shown_splits(work.plan) if settings.previews else ())
        shift = _Shift(stores, settings, work, hold, report, shown)
        try:
            _note_resumed(shift)
            _draw_missing(shift)
            _denoise(shift)
        finally:
            _record_seconds(shift)
    return Progress(shift.evaluations, shift.planned, shift.images)


def _denoise(shift: _Shift) -> None:
    """Run until nothing is wanted; a checkpoint that turns out damaged is wanted again."""
    while wanted := shift.work.wanted():
        segments = shift.work.plan.segments
        shift.planned = shift.evaluations + sum(segments[each].steps for each in wanted)
        for tree, only in by_tree(shift.work, sorted(wanted)).items():
            states = StoredStates(shift.stores.bucket, shift.work.done)
            try:
                _denoise_tree(shift, tree, only, states)
            except _DAMAGE as damage:
                _note_done(shift)
                # A state may be whole and yet lack what the solver has to remember.
                _take_back(shift, damage.facts.get("segment", states.damaged), damage)
                break
            _note_done(shift)


def _denoise_tree(shift: _Shift, tree: Tree, only: Collection[int], states: StoredStates) -> None:
    work = shift.work
    decoder = _decoder(shift, tree.recipe)
    solver = make_solver(tree.recipe.solver, decoder.noise_schedule, tree.recipe.steps)
    conditioning = load_conditioning(shift.stores, work, only)
    with shift.timed("probe"):
        slots = settle_slots(
            shift.stores, shift.settings, work.run, lambda: probe(decoder, conditioning, work.plan)
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
        few_shapes=shift.settings.compile,
    )
    with shift.timed("denoise"), Recorder(shift.stores, work.run, work.shard) as recorder:
        _run(shift, job, decoder, solver, states, recorder)


def _run(
    shift: _Shift,
    job: Job,
    decoder: Decoder,
    solver: Solver,
    states: StoredStates,
    recorder: Recorder,
) -> None:
    """Hand on each round: splits at once, pictures when enough have gathered to decode."""
    work, easel = shift.work, Easel(shift.work, shift.settings, decoder)
    try:
        for each in rounds(job, decoder, solver, states):
            shift.hold.check()
            _warn_of_memory(shift, job, each)
            with shift.timed("decode"):
                shown = [done for done in each.finished if _is_shown(shift, done)]
                drawn = easel.add(as_shown(solver, work.plan, done) for done in shown)
            splits = splits_of(work, each.finished)
            recorder.note(each.started, each.evaluations, splits, drawn)
            shift.evaluations += each.evaluations
            shift.images += sum(work.plan.is_leaf(done.segment) for done in each.finished)
            shift.report(Progress(shift.evaluations, shift.planned, shift.images))
    finally:
        # After an error too: nothing else is stored of the leaves that wait.
        with shift.timed("decode"):
            rest = easel.rest()
        recorder.note(makers=rest)


def _warn_of_memory(shift: _Shift, job: Job, each: Round) -> None:
    """Say once for each narrower call that the device's memory ran out."""
    if each.slots < (shift.narrowest or job.slots):
        shift.narrowest = each.slots
        log.warning(
            "The device's memory does not hold %d rows; it goes on with %d. Pictures may differ "
            "in their last bits from those of another run; set HIERDIFF_SLOTS to avoid the search",
            job.slots,
            each.slots,
        )


def _is_shown(shift: _Shift, done: Finished) -> bool:
    return shift.work.plan.is_leaf(done.segment) or done.segment.id in shift.shown


def _note_done(shift: _Shift) -> None:
    with shift.stores.session() as session:
        done = finished(session, shift.work.run)
    shift.work.done.clear()
    shift.work.done.update(done)


def _take_back(shift: _Shift, segment: object, damage: HierdiffError) -> None:
    """Let a segment be done again whose end state is damaged; a second time is too often."""
    if not isinstance(segment, int) or segment in shift.damaged:
        raise damage
    log.warning("%s", damage)
    shift.damaged.add(segment)
    with shift.stores.session() as session:
        forget_segment(session, shift.work.run, segment)
    del shift.work.done[segment]


def _draw_missing(shift: _Shift) -> None:
    """Give leaves that are done already, mostly by an earlier run, a picture of this run."""
    work, settings = shift.work, shift.settings
    with Recorder(shift.stores, work.run, work.shard) as recorder:
        for leaf in work.undrawn():
            shift.hold.check()
            stored = _stored_picture(shift, work.plan.leaf_segment(leaf).id)
            if stored is not None:
                recorder.note(makers=[partial(redraw, work, settings, leaf, stored)])
                shift.images += 1


def _stored_picture(shift: _Shift, segment: int) -> bytes | None:
    """Return the picture that a leaf's segment ended in, or None where that is damaged."""
    sha256 = shift.work.done[segment].sha256
    try:
        return shift.stores.bucket.get(picture_key(sha256), sha256)
    except _DAMAGE as damage:
        _take_back(shift, segment, damage)
        return None


def _decoder(shift: _Shift, recipe: Recipe) -> Decoder:
    """Return the denoiser of a recipe; networks are loaded once for all recipes of a model."""
    settings = shift.settings
    place = (recipe.model, recipe.dtype)
    with shift.timed("load"):
        if place not in shift.pipelines:
            _check_revision(settings, recipe.model, recipe.revision)
            shift.pipelines[place] = load_decoder(
                recipe, settings.device, compiled=settings.compile
            )
        if recipe not in shift.decoders:
            with shift.stores.session() as session:
                negative = load_negative(session, recipe)
            if negative is None:
                _check_revision(settings, recipe.prior, recipe.prior_revision)
                negative = load_prior(recipe, settings.device).embed_negative(recipe)
            shift.decoders[recipe] = fit_decoder(shift.pipelines[place], recipe, negative)
        return shift.decoders[recipe]


def _check_revision(settings: Settings, model: str, wanted: str) -> None:
    found = find_revision(model, settings.home / DIGESTS_FILE)
    if found != wanted:
        raise WrongRevision(model=model, found=found, wanted=wanted)


def _note_resumed(shift: _Shift) -> None:
    work = shift.work
    found = [each for each in work.night.shards[work.shard] if each in work.done]
    steps = sum(work.plan.segments[each].steps for each in found)
    with shift.stores.session() as session:
        note_resumed(session, work.run, work.shard, steps)


def _record_seconds(shift: _Shift) -> None:
    device = choose_device(shift.settings.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    with shift.stores.session() as session:
        for stage, seconds in shift.seconds.items():
            record_metric(session, shift.work.run, stage, seconds, device=name)
