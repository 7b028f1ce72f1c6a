"""Denoising: a worker runs one shard of a plan, from wherever it was left.

Knows the device's side of the work: models, slots, rounds, decoding. What is kept, and where, is
`work` and `recorder`. Progress goes to whoever asks; order and retries are the flows'.
"""

from __future__ import annotations

import io
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from hierdiff_core.checkpoint import State
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.models.kandinsky22 import Decoder, fit_decoder, load_decoder, load_prior
from hierdiff_core.models.place import choose_device
from hierdiff_core.plan import Segment
from hierdiff_core.prompt import Recipe
from hierdiff_core.sampler import Finished, Job, rounds
from hierdiff_core.solver import make_solver
from tasks.embed import load_negative
from tasks.errors import CorruptObject, MissingObject, WrongRevision
from tasks.hold import Hold, held
from tasks.ledger import Tree, note_resumed, record_image, record_metric
from tasks.plan import pin_recipe
from tasks.recorder import Entry, Object, Recorder, stored_image
from tasks.settings import Settings
from tasks.stores import Stores
from tasks.work import (
    StoredStates,
    Work,
    by_tree,
    checkpoint,
    load_work,
    picture,
    preview_key,
)

log = logging.getLogger(__name__)

_PREVIEW_SIDE = 96  # pixels
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
    seconds: dict[str, float] = field(default_factory=dict)
    pipelines: dict[tuple[str, str], object] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            spent = self.seconds.get(stage, 0.0) + time.monotonic() - started
            self.seconds[stage] = spent


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
                if states.damaged is None:
                    raise
                log.warning("%s", damage)
                del shift.work.done[states.damaged]
                break
        else:
            return


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
            entries = [_drawn(shift, decoder, finished) for finished in each.finished]
            recorder.note(each.started, each.evaluations, _maker(shift, entries))
            shift.evaluations += each.evaluations
            shift.report(Progress(shift.evaluations, shift.planned, shift.images))
    _note_done(shift, only)


def _note_done(shift: _Shift, only: Collection[int]) -> None:
    fresh = load_work(shift.stores, shift.work.run, shift.work.shard)
    shift.work.done.update({each: fresh.done[each] for each in only})


@dataclass(frozen=True)
class _Drawn:
    """A finished segment with what only the device could make of it."""

    segment: Segment
    state: State
    pixels: npt.NDArray[np.uint8] | None  # (H, W, 3); None for a split that is not shown


def _drawn(shift: _Shift, decoder: Decoder, finished: Finished) -> _Drawn:
    # Decoded one by one: a picture must not depend on what ended in the same round.
    leaf = shift.work.plan.is_leaf(finished.segment)
    if not leaf and not shift.settings.previews:
        return _Drawn(finished.segment, finished.state, None)
    with shift.timed("decode"):
        pixels = decoder.decode(finished.state.latents[None])[0]
    shift.images += leaf
    return _Drawn(finished.segment, finished.state, pixels)


def _maker(shift: _Shift, drawn: list[_Drawn]) -> Callable[[], list[Entry]] | None:
    if not drawn:
        return None
    return lambda: [_entry(shift, each) for each in drawn]


def _entry(shift: _Shift, drawn: _Drawn) -> Entry:
    work, segment, pixels = shift.work, drawn.segment, drawn.pixels
    stored = checkpoint(work, segment, drawn.state)
    if pixels is None:
        return Entry(segment.id, stored)
    if not work.plan.is_leaf(segment):
        return Entry(segment.id, stored, preview=_preview(work, segment, pixels))
    leaf, shown = work.plan.order[segment.first], shift.settings.prompt_in_images
    return Entry(segment.id, stored, picture(work, leaf, pixels, with_prompt=shown))


def _preview(work: Work, segment: Segment, pixels: npt.NDArray[np.uint8]) -> Object:
    small = Image.fromarray(pixels)
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return Object(preview_key(work.night.keys[segment.id]), file.getvalue(), "image/webp")


def _draw_missing(shift: _Shift) -> None:
    """Make pictures whose latents are done already, by an earlier run or before a crash."""
    work = shift.work
    states = StoredStates(shift.stores.bucket, work.done)
    for leaf in work.undrawn():
        segment = work.plan.leaf_segment(leaf)
        try:
            state = states[segment.id]
        except _DAMAGE as damage:
            log.warning("%s", damage)
            del work.done[segment.id]
            continue
        decoder = _decoder(shift, work.tree(segment.id).recipe)
        drawn = _drawn(shift, decoder, Finished(segment, state))
        entry = _entry(shift, drawn)
        if entry.picture is None:
            continue
        made = entry.picture.object
        shift.stores.bucket.put(made.key, made.body, made.content_type)
        with shift.stores.session() as session:
            record_image(session, work.run, leaf, stored_image(entry.picture))


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
