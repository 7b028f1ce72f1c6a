"""Gathering: the records of a report, read from the ledger and the bucket."""

from __future__ import annotations

import logging
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hierdiff_core.errors import HierdiffError
from hierdiff_core.prompt import Prompt, content_key
from tasks.ledger import (
    NightPlan,
    RunSummary,
    StoredImage,
    SubtreeLine,
    load_images,
    load_plan,
    load_run_prompts,
    stored_segments,
    summarise,
)
from tasks.object_keys import preview_key
from tasks.previews import choose_splits
from tasks.report.headline import planned_by
from tasks.report.links import Link, links_end, make_link
from tasks.report.page import (
    ReportData,
    ReportImage,
    ReportSetAside,
    ReportStage,
    ReportSubtree,
    small_copy,
    thumbnail_side,
)
from tasks.settings import Settings
from tasks.states import Stage
from tasks.stores import Stores

log = logging.getLogger(__name__)

Key = TypeVar("Key")

_READERS = 16
_UNNAMEABLE = re.compile(r"[^\w.-]+")  # in the name of a file
_READS = 2  # attempts at an object; what fails in passing is read by the second
_PAID = (Stage.LOAD, Stage.PROBE, Stage.DENOISE, Stage.DECODE)  # stages that hold the device
_BEFORE = (Stage.READ, Stage.EMBED, Stage.PLAN)  # stages before the run was stored


def gather_report(
    stores: Stores, settings: Settings, run: uuid.UUID, link: Link | None = None
) -> ReportData:
    """Return the content of the run's report, as of now; raises UnknownRun.

    Its pictures are opened by `link`, or from anywhere.
    """
    with stores.session() as session:
        facts, night = summarise(session, run), load_plan(session, run)
        prompts, images = load_run_prompts(session, run), load_images(session, run)
        done = set(stored_segments(session, run))
    splits = [each for each in choose_splits(night.plan) if each in done]
    previews = {each: preview_key(night.keys[each]) for each in splits}
    return ReportData(
        run=str(run),
        catalogue=facts.catalogue,
        business_date=facts.business_date,
        state=facts.state.value,
        plan=night.plan,
        images=_images(stores, night, prompts, images, link or make_link(stores, settings)),
        links_end=None if link else links_end(settings),
        subtrees=tuple(_subtree(each, night, images) for each in facts.subtrees),
        rejected=facts.rejected,
        set_aside=tuple(
            ReportSetAside(each.row, each.reference, each.failures, each.reason)
            for each in facts.set_aside
        ),
        stages=tuple(
            ReportStage(name, seconds, facts.devices[name])
            for name, seconds in facts.seconds.items()
            if seconds  # slots that are set take no time to find
        ),
        parameters=_parameters(facts),
        previews=_fetch(stores, previews) if settings.previews else {},
        seconds=_seconds(facts),
        gpu_seconds=sum(facts.seconds.get(stage, 0.0) for stage in _PAID),
        price_per_hour=settings.gpu_price_per_hour,
        currency=settings.currency,
    )


def _images(
    stores: Stores,
    night: NightPlan,
    prompts: Iterable[Prompt],
    images: Mapping[int, StoredImage],
    link: Link,
) -> tuple[ReportImage, ...]:
    asked: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        asked[content_key(prompt)].append(prompt)
    bodies = _fetch(stores, {leaf: image.key for leaf, image in images.items()})
    side = thumbnail_side(night.plan.size)
    small = {leaf: small_copy(body, side) for leaf, body in bodies.items()}
    return tuple(
        ReportImage(
            leaf=leaf,
            references=tuple(each.reference for each in asked[facts.content_key]),
            prompt=asked[facts.content_key][0].text,
            # What is made is what the ledger says; what cannot be read just now has no thumbnail.
            made=leaf in images,
            thumbnail=small[leaf][0] if leaf in bodies else b"",
            flat=leaf in bodies and small[leaf][1],
            link=link(images[leaf].key, _file_name(asked[facts.content_key][0]))
            if leaf in images
            else "",
        )
        for leaf, facts in enumerate(night.leaves)
    )


def _file_name(prompt: Prompt) -> str:
    """Return the name under which people save a picture: its reference."""
    name = _UNNAMEABLE.sub("-", prompt.reference).strip("-.")[:80]
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


def _seconds(facts: RunSummary) -> float | None:
    """Return the night's time from its first stage to its end, or None before that."""
    if facts.finished_at is None:
        return None
    since_plan = (facts.finished_at - facts.created_at).total_seconds()
    return since_plan + sum(facts.seconds.get(stage, 0.0) for stage in _BEFORE)


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


def _fetch(stores: Stores, keys: Mapping[Key, str]) -> dict[Key, bytes]:
    """Return the objects that can be fetched; a report without a picture beats no report."""

    def get(key: str) -> bytes | None:
        for _ in range(_READS):
            try:
                return stores.bucket.get(key)
            except HierdiffError as error:
                log.warning("%s", error)
        return None

    with ThreadPoolExecutor(_READERS) as pool:
        bodies = pool.map(get, keys.values())
        return {name: body for name, body in zip(keys, bodies, strict=True) if body is not None}
