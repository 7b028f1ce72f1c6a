"""Gathering: the records of a report, read from the ledger and the bucket."""

from __future__ import annotations

import logging
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from hierdiff_core.errors import HierdiffError
from hierdiff_core.prompt import Prompt, content_key
from tasks.ledger import (
    NightPlan,
    RunSummary,
    StoredImage,
    StoredPair,
    SubtreeLine,
    count_accepted,
    load_images,
    load_pairs,
    load_plan,
    load_previews,
    load_run_prompts,
    summarise,
)
from tasks.measured import MeasuredPairs, badness, measure_pairs
from tasks.object_keys import picture_key, plain_key, preview_key
from tasks.previews import choose_splits
from tasks.report.check import Checked
from tasks.report.gallery import SHOWN
from tasks.report.headline import planned_by
from tasks.report.links import Link, links_end, make_link
from tasks.report.page import (
    ReportData,
    ReportImage,
    ReportPair,
    ReportSetAside,
    ReportStage,
    ReportSubtree,
    small_copy,
    thumbnail_side,
)
from tasks.report.timeline import BEFORE, PAID, make_timeline
from tasks.saving import why_nothing
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import Stores

log = logging.getLogger(__name__)

Small = TypeVar("Small")

_READERS = 16
_PAIR_SIDE = 320  # pixels
_UNNAMEABLE = re.compile(r"[^\w.-]+")  # in the name of a file
_READS = 2  # attempts at an object; what fails in passing is read by the second


def gather_report(
    stores: Stores,
    settings: Settings,
    run: uuid.UUID,
    link: Link | None = None,
    checked: Checked | None = None,
    state: RunState | None = None,
) -> ReportData:
    """Return the content of the run's report, as of now; raises UnknownRun.

    Its pictures are opened by `link`, or from anywhere.
    A picture or preview that is not whole, or cannot be read just now, is left out of it; `checked`
    ones are not read again. `state` is the one that the run is about to get.
    """
    with stores.session() as session:
        facts, night = summarise(session, run), load_plan(session, run)
        prompts, images = load_run_prompts(session, run), load_images(session, run)
        accepted = count_accepted(session, facts.catalogue, run)
        previews, pairs = load_previews(session, run), load_pairs(session, run)
    checked = checked or Checked()
    end = facts.finished_at if state is None else datetime.now(UTC)
    chosen = {each: previews[each] for each in choose_splits(night.plan) if each in previews}
    return ReportData(
        run=str(run),
        catalogue=facts.catalogue,
        business_date=facts.business_date,
        state=(state or facts.state).value,
        plan=night.plan,
        images=_images(
            stores, night, prompts, images, link or make_link(stores, settings), checked
        ),
        links_end=None if link else links_end(settings),
        spent=facts.evaluations_done + facts.evaluations_reused,
        reused=facts.evaluations_reused,
        kept=facts.images_kept,
        bound=facts.bound,
        nothing_shared=nothing_shared(facts),
        subtrees=tuple(_subtree(each, night, images) for each in facts.subtrees),
        rejected=facts.rejected,
        set_aside=tuple(
            ReportSetAside(each.row, each.reference, each.failures, each.reason)
            for each in facts.set_aside
        ),
        rejected_often=facts.rejected_often,
        pairs=_pairs(stores, night, prompts, pairs.values(), checked),
        measured=measured_of(night, pairs.values()),
        stages=_stages(facts, end),
        parameters=_parameters(facts),
        previews=_previews(stores, chosen, checked) if settings.previews else {},
        seconds=None if end is None else _seconds(facts, end),
        gpu_seconds=paid_seconds(facts),
        price_per_hour=settings.gpu_price_per_hour,
        energy=facts.energy,
        kwh_price=settings.kwh_price,
        accepted=accepted,
        currency=settings.currency,
    )


def paid_seconds(facts: RunSummary) -> float:
    """Return the seconds for which a run has held a device so far."""
    return sum(facts.seconds.get(stage, 0.0) for stage in PAID)


def nothing_shared(facts: RunSummary) -> str:
    """Return why a run's plan shares nothing; empty where it shares."""
    if facts.evaluations_planned < facts.evaluations_standard:
        return ""
    return why_nothing(
        images=facts.images_expected,
        trees=facts.trees,
        steps=facts.recipe.evaluations,
        tau=facts.tau,
        saving=facts.saving_asked,
        steps_per_image=facts.steps_per_image,
        tuned=facts.tuned,
        bound=facts.bound,
    )


def _images(
    stores: Stores,
    night: NightPlan,
    prompts: Iterable[Prompt],
    images: Mapping[int, StoredImage],
    link: Link,
    checked: Checked,
) -> tuple[ReportImage, ...]:
    asked: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        asked[content_key(prompt)].append(prompt)
    side = thumbnail_side(night.plan.size)
    wanted = {image.sha256: image.key for image in images.values()}
    small = _fetch(stores, wanted, checked.pictures, lambda body: small_copy(body, side))

    def shown(leaf: int) -> tuple[bytes, bool]:
        return small.get(images[leaf].sha256, (b"", False)) if leaf in images else (b"", False)

    return tuple(
        ReportImage(
            leaf=leaf,
            references=tuple(each.name for each in asked[facts.content_key]),
            prompt=asked[facts.content_key][0].text,
            # What is made is what the ledger says; what cannot be read just now has no thumbnail.
            made=leaf in images,
            thumbnail=shown(leaf)[0],
            flat=shown(leaf)[1],
            loss=facts.loss,
            link=link(images[leaf].key, _file_name(asked[facts.content_key][0]))
            if leaf in images
            else "",
        )
        for leaf, facts in enumerate(night.leaves)
        if facts.content_key in asked  # or it was forgotten
    )


def measured_of(night: NightPlan, pairs: Iterable[StoredPair]) -> MeasuredPairs | None:
    """Return what the pairs of a night say together."""
    predicted = {leaf: facts.loss for leaf, facts in enumerate(night.leaves)}
    return measure_pairs(pairs, predicted)


def _pairs(
    stores: Stores,
    night: NightPlan,
    prompts: Iterable[Prompt],
    pairs: Iterable[StoredPair],
    checked: Checked,
) -> tuple[ReportPair, ...]:
    """Return the pairs that the night has made, the worst first."""
    asked = {content_key(each): each for each in prompts}
    made = [each for each in pairs if each.evaluations]
    made.sort(key=lambda each: -badness(each.loss, each.distance))
    worst = made[:SHOWN]

    def shrink(body: bytes) -> tuple[bytes, bool]:
        return small_copy(body, _PAIR_SIDE)

    shared = {each.picture: picture_key(each.picture) for each in worst}
    plain = {each.plain: plain_key(each.plain) for each in worst}
    small = _fetch(stores, shared | plain, checked.pictures, shrink)
    named = ((each, asked.get(night.leaves[each.leaf].content_key)) for each in worst)
    return tuple(
        ReportPair(
            leaf=each.leaf,
            reference=prompt.name or f"#{each.leaf}",
            prompt=prompt.text,
            shared=small.get(each.picture, (b"", False))[0],
            plain=small.get(each.plain, (b"", False))[0],
            loss=each.loss,
            predicted=night.leaves[each.leaf].loss,
            distance=each.distance,
        )
        for each, prompt in named
        if prompt is not None
    )


def _file_name(prompt: Prompt) -> str:
    """Return the name under which people save a picture: its reference, and number."""
    name = _UNNAMEABLE.sub("-", prompt.name).strip("-.")[:80]
    return f"{name or prompt.row}.png"


def _subtree(
    line: SubtreeLine, night: NightPlan, images: Mapping[int, StoredImage]
) -> ReportSubtree:
    plan = night.plan
    ends = (plan.segments[each] for each in night.shards[line.shard])
    leaves = [plan.order[segment.first] for segment in ends if plan.is_leaf(segment)]
    seconds = None
    if line.started_at is not None and line.finished_at is not None:
        seconds = (line.finished_at - line.started_at).total_seconds()
    return ReportSubtree(
        shard=line.shard,
        state=line.state.value,
        images=sum(leaf in images for leaf in leaves),
        evaluations_planned=line.evaluations_planned,
        evaluations_done=line.evaluations_done,
        evaluations_resumed=line.evaluations_resumed,
        attempts=line.attempts,
        seconds=seconds,
        error=line.error or "",
    )


def _seconds(facts: RunSummary, end: datetime) -> float:
    """Return the night's time from its first stage to its end."""
    since_plan = (end - facts.created_at).total_seconds()
    return since_plan + sum(facts.seconds.get(stage, 0.0) for stage in BEFORE)


def _stages(facts: RunSummary, end: datetime | None) -> tuple[ReportStage, ...]:
    """Return where the time went, or nothing before the night has ended."""
    if end is None:
        return ()
    spans = [
        (each.started_at, each.finished_at)
        for each in facts.subtrees
        if each.started_at is not None and each.finished_at is not None
    ]
    return tuple(
        ReportStage(name, seconds, facts.devices.get(name, ""))
        for name, seconds in make_timeline(facts.seconds, spans, facts.created_at, end).items()
        if seconds  # slots that are set take no time to find
    )


def _parameters(facts: RunSummary) -> dict[str, object]:
    parameters: dict[str, object] = {**facts.recipe.to_json()}
    parameters |= {"planned_by": planned_by(facts.planner, facts.linkage, facts.tau, facts.price)}
    if facts.tuned is not None:
        parameters["setting"] = facts.tuned
    if facts.saving_asked is not None:
        parameters["saving_asked"] = facts.saving_asked
    if facts.steps_per_image is not None:
        parameters["steps_per_image_asked"] = facts.steps_per_image
    return parameters


def _previews(stores: Stores, chosen: Mapping[int, str], checked: Checked) -> dict[int, bytes]:
    keys = {sha256: preview_key(sha256) for sha256 in chosen.values()}
    found = _fetch(stores, keys, checked.previews, lambda body: body)
    return {split: found[sha256] for split, sha256 in chosen.items() if sha256 in found}


def _fetch(
    stores: Stores,
    keys: Mapping[str, str],
    known: Mapping[str, Small],
    shrink: Callable[[bytes], Small],
) -> dict[str, Small]:
    """Return what is shown of objects, by sha256; a report without a picture beats no report."""

    def get(sha256: str) -> Small | None:
        if sha256 in known:
            return known[sha256]
        for _ in range(_READS):
            try:
                return shrink(stores.bucket.get(keys[sha256], sha256))
            except HierdiffError as error:
                log.warning("%s", error)
        return None

    with ThreadPoolExecutor(_READERS) as pool:
        bodies = pool.map(get, keys)
        return {each: body for each, body in zip(keys, bodies, strict=True) if body is not None}
