"""Plain pictures: the sample's rows without sharing, made by whoever made them with it.

They are beside the night: what goes wrong here costs no picture and fails no subtree.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.errors import HierdiffError
from hierdiff_core.models.family import load_family
from hierdiff_core.plain import PlainPlan, choose_sample, make_plain_plan
from hierdiff_core.png import encode_png, trace
from hierdiff_core.sampling.decode import AT_ONCE, decode_each
from hierdiff_core.sampling.isolate import reason_of, try_call
from hierdiff_core.sampling.sampler import Finished, Job, rounds
from hierdiff_core.solver import make_solver
from tasks.errors import LeaseLost, StillAway, WorkerStopped
from tasks.ledger import (
    StoredImage,
    StoredPair,
    Tree,
    find_slots,
    load_images,
    load_pairs,
    record_pairs,
    reused_segments,
)
from tasks.object_keys import plain_key
from tasks.states import Stage
from tasks.worker.attempt import Attempt
from tasks.worker.loading import load_denoiser
from tasks.worker.shard import by_tree, name_noise
from tasks.worker.steering import open_conditioning

log = logging.getLogger(__name__)

_ENDS = (LeaseLost, StillAway, WorkerStopped)  # of the whole attempt


def make_plain_pictures(attempt: Attempt) -> None:
    """Make what is missing of the shard's part of the sample; a warning where that fails.

    Raises LeaseLost, StillAway and WorkerStopped.
    """
    if not attempt.settings.sample:
        return
    fault: BaseException | None
    try:
        fault = try_call(lambda: _make_missing(attempt))
    except _ENDS:
        raise
    except HierdiffError as error:
        fault = error
    if fault is not None:
        log.warning("The sample without sharing is not whole: %s", reason_of(fault))


def _make_missing(attempt: Attempt) -> None:
    work = attempt.work
    with attempt.stores.session() as session:
        images, known = load_images(session, work.run), load_pairs(session, work.run)
    sampled = {work.plan.leaf_segment(leaf).id: leaf for leaf in _sample(attempt)}
    for tree, segments in by_tree(work, list(sampled)).items():
        leaves = [sampled[each] for each in segments]
        missing = {leaf for leaf in leaves if leaf in images and leaf not in known}
        if missing:
            denoiser = load_denoiser(attempt, tree.recipe)
            with attempt.watch.timed(Stage.SAMPLE):
                _make(attempt, tree, denoiser, leaves, missing, images)


def _sample(attempt: Attempt) -> list[int]:
    """Return this shard's leaves that are in the sample."""
    work = attempt.work
    with attempt.stores.session() as session:
        reused = reused_segments(session, work.run)
    plan = work.undisturbed
    made = [leaf for leaf in plan.order if plan.leaf_segment(leaf).id not in reused]
    mine = set(work.leaves_of(work.night.shards[work.shard]))
    chosen = choose_sample(plan, work.content_keys, made, attempt.settings.sample)
    return [leaf for leaf in chosen if leaf in mine]


def _make(
    attempt: Attempt,
    tree: Tree,
    denoiser: Denoiser,
    leaves: Sequence[int],
    missing: Collection[int],
    images: Mapping[int, StoredImage],
) -> None:
    """Make missing ones of some leaves' plain pictures; each few are stored, and entered, at once.

    All leaves are planned, or calls would have other shapes after an interruption.
    """
    work = attempt.work
    plain = make_plain_plan(work.plan, leaves, work.content_keys, work.night.text_keys)
    ended: list[Finished] = []
    for finished in _denoise(attempt, tree, denoiser, plain, missing):
        ended.append(finished)
        if len(ended) == AT_ONCE:
            _store(attempt, denoiser, plain, ended, images)
            ended = []
    attempt.hold.check_stop()
    _store(attempt, denoiser, plain, ended, images)


def _denoise(
    attempt: Attempt,
    tree: Tree,
    denoiser: Denoiser,
    plain: PlainPlan,
    missing: Collection[int],
) -> Iterator[Finished]:
    """Yield the ends of plain rows; one that fails is named in a warning and left out."""
    work, hold, recipe = attempt.work, attempt.hold, tree.recipe
    with attempt.stores.session() as session:
        slots = find_slots(session, work.run) or 1
    steered = [work.plan.leaf_segment(leaf).id for leaf in plain.plan.order]
    order, segments = plain.plan.order, plain.plan.segments
    job = Job(
        plan=plain.plan,
        conditioning=open_conditioning(attempt.stores, work, steered),
        content_keys=work.content_keys,
        seed=recipe.seed,
        initial_noise=recipe.initial_noise,
        slots=min(slots, plain.plan.size),
        only=[each.id for each in segments if order[each.first] in missing],
        few_shapes=attempt.settings.compile,
        isolate=True,
        forwards=load_family(recipe.family).forwards(recipe),
        text_keys=work.night.text_keys,
        noise_names=plain.names,
    )
    solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
    for step in rounds(job, denoiser, solver, stopping=hold.stop.is_set):
        hold.check()
        for failed in step.failed:
            name = work.prompts[order[failed.segment.first]].name
            log.warning("%s has no picture without sharing: %s", name, failed.reason)
        yield from (each for each in step.finished if plain.plan.is_leaf(each.segment))


def _store(
    attempt: Attempt,
    denoiser: Denoiser,
    plain: PlainPlan,
    ended: Sequence[Finished],
    images: Mapping[int, StoredImage],
) -> None:
    work, pairs = attempt.work, []
    leaves = [plain.plan.order[each.segment.first] for each in ended]
    # A decoder that draws noise draws that of the picture beside it.
    names = [name_noise(work, work.plan.leaf_segment(leaf)) for leaf in leaves]
    decoded = decode_each(denoiser, [each.state.latents for each in ended], names)
    for leaf, pixels in zip(leaves, decoded.pictures, strict=True):
        if isinstance(pixels, Exception):
            name = work.prompts[leaf].name
            log.warning("%s has no picture without sharing: %s", name, reason_of(pixels))
            continue
        facts = trace(
            plain.plan,
            leaf,
            prompt=work.prompts[leaf],
            run=str(work.run),
            content_key=work.content_keys[leaf],
        )
        body = encode_png(pixels, facts, with_prompt=attempt.settings.prompt_in_images)
        sha256 = hashlib.sha256(body).hexdigest()
        attempt.stores.bucket.put(plain_key(sha256), body, "image/png")
        steps = plain.plan.steps
        pairs.append(StoredPair(leaf, images[leaf].sha256, sha256, len(body), steps))
    with attempt.hold.session() as session:
        record_pairs(session, work.run, pairs)
