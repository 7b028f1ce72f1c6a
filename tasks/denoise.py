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

import torch

from hierdiff_core.errors import CorruptCheckpoint, HierdiffError
from hierdiff_core.models.kandinsky22 import Decoder, fit_decoder, load_decoder, load_prior
from hierdiff_core.models.place import choose_device
from hierdiff_core.prompt import Recipe
from hierdiff_core.sampler import Finished, Job, rounds
from hierdiff_core.solver import make_solver
from tasks.draw import Drawn, decode, make_entry
from tasks.embed import load_negative
from tasks.errors import CorruptObject, MissingObject, WrongRevision
from tasks.hold import Hold, held
from tasks.ledger import Tree, finished, forget_segment, note_resumed, record_metric
from tasks.plan import pin_recipe
from tasks.recorder import Entry, Recorder, store_picture
from tasks.settings import Settings
from tasks.stores import Stores
from tasks.work import StoredStates, Work, by_tree, load_work

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
    planned: int = 0
    evaluations: int = 0
    images: int = 0
    damaged: set[int] = field(default_factory=set)  # segments whose checkpoint was of no use
    seconds: dict[str, float] = field(default_factory=dict)
    inner: float = 0.0  # seconds of stages inside the one that is being timed
    pipelines: dict[tuple[str, str], object] = field(default_factory=dict)

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
        shift = _Shift(stores, settings, load_work(stores, run, shard), hold, report)
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
                _take_back(shift, states.damaged, damage)
                break
            _note_done(shift)


def _denoise_tree(shift: _Shift, tree: Tree, only: Collection[int], states: StoredStates) -> None:
    work = shift.work
    decoder = _decoder(shift, tree.recipe)
    solver = make_solver(tree.recipe.solver, decoder.noise_schedule, tree.recipe.steps)
    job = Job(
        plan=work.plan,
        conditioning=work.conditioning,
        content_keys=work.content_keys,
        seed=tree.recipe.seed,
        initial_noise=tree.recipe.initial_noise,
        slots=shift.settings.slots,
        only=only,
    )
    with shift.timed("denoise"), Recorder(shift.stores, work.run, work.shard) as recorder:
        for each in rounds(job, decoder, solver, states):
            shift.hold.check()
            drawn = [_decode(shift, decoder, finished) for finished in each.finished]
            recorder.note(each.started, each.evaluations, _maker(shift, drawn))
            shift.evaluations += each.evaluations
            shift.report(Progress(shift.evaluations, shift.planned, shift.images))


def _note_done(shift: _Shift) -> None:
    with shift.stores.session() as session:
        done = finished(session, shift.work.run)
    shift.work.done.clear()
    shift.work.done.update(done)


def _take_back(shift: _Shift, segment: int | None, damage: HierdiffError) -> None:
    """Let a segment be done again whose checkpoint is damaged; a second time is too often."""
    if segment is None or segment in shift.damaged:
        raise damage
    log.warning("%s", damage)
    shift.damaged.add(segment)
    with shift.stores.session() as session:
        forget_segment(session, shift.work.run, segment)
    del shift.work.done[segment]


def _decode(shift: _Shift, decoder: Decoder, ended: Finished) -> Drawn:
    with shift.timed("decode"):
        drawn = decode(shift.work, shift.settings, decoder, ended)
    shift.images += shift.work.plan.is_leaf(ended.segment)
    return drawn


def _maker(shift: _Shift, drawn: list[Drawn]) -> Callable[[], list[Entry]] | None:
    if not drawn:
        return None
    return lambda: [make_entry(shift.work, shift.settings, each) for each in drawn]


def _draw_missing(shift: _Shift) -> None:
    """Make pictures whose latents are done already, by an earlier run or before a crash."""
    work = shift.work
    states = StoredStates(shift.stores.bucket, work.done)
    for leaf in work.undrawn():
        segment = work.plan.leaf_segment(leaf)
        try:
            state = states[segment.id]
        except _DAMAGE as damage:
            _take_back(shift, segment.id, damage)
            continue
        decoder = _decoder(shift, work.tree(segment.id).recipe)
        drawn = _decode(shift, decoder, Finished(segment, state))
        store_picture(shift.stores, work.run, make_entry(work, shift.settings, drawn))


def _decoder(shift: _Shift, recipe: Recipe) -> Decoder:
    """Return the denoiser of a recipe; networks are loaded once for all recipes of a model."""
    device = shift.settings.device
    place = (recipe.model, recipe.dtype)
    with shift.timed("load"):
        if place not in shift.pipelines:
            _check_revision(recipe)
            shift.pipelines[place] = load_decoder(recipe, device)
        with shift.stores.session() as session:
            negative = load_negative(session, recipe)
        if negative is None:
            negative = load_prior(recipe, device).embed_negative(recipe)
        return fit_decoder(shift.pipelines[place], recipe, negative)


def _check_revision(recipe: Recipe) -> None:
    found = pin_recipe(recipe)
    if found != recipe:
        raise WrongRevision(model=recipe.model, found=found.revision, wanted=recipe.revision)


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
