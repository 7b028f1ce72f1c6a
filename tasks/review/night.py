"""A night as it is reviewed: its pictures in the plan's order, with what holds of each."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from hierdiff_core.prompt import Prompt, content_key
from tasks.ledger import (
    NightPlan,
    RunSummary,
    StoredImage,
    StoredPair,
    StoredVerdict,
    find_verdicts,
    latest_run,
    list_verdicts,
    load_images,
    load_pairs,
    load_plan,
    load_previews,
    load_run_prompts,
    named_pictures,
    reused_segments,
    summarise,
)
from tasks.report.gallery import group_spans
from tasks.review.give import NamedPictures
from tasks.stores import Stores

_SHORT = 16  # hex digits that name a picture in the page
_SIBLINGS = 24  # that are shown of a picture


@dataclass(frozen=True, slots=True)
class ReviewPicture:
    """One distinct picture of the night."""

    at: int  # its place in the plan's order
    names: tuple[str, ...]  # of all rows that ask for it
    prompt: str
    sha256: str
    group: int
    kept: bool
    loss: float | None  # predicted
    own: int  # steps for it alone
    pair: StoredPair | None  # of the sample: measured against the plain one

    @property
    def id(self) -> str:
        """Its name in the page."""
        return self.sha256[:_SHORT]


@dataclass(frozen=True)
class ReviewNight:
    """All of a night that does not change while it is reviewed."""

    facts: RunSummary
    plan: NightPlan
    pictures: Mapping[str, ReviewPicture]  # by id, in the plan's order
    groups: tuple[str, ...]  # titles
    named: NamedPictures
    previews: Mapping[int, str]  # sha256 by segment
    before: Mapping[str, str]  # sha256 of the catalogue's night before, by name

    @property
    def digests(self) -> set[str]:
        """All pictures that the page may ask for, by sha256, but for plain ones."""
        return {each.sha256 for each in self.pictures.values()} | set(self.before.values())

    @property
    def plain(self) -> set[str]:
        """The pictures without sharing that the page may ask for, by sha256."""
        pairs = (each.pair for each in self.pictures.values())
        return {each.plain for each in pairs if each is not None}


def read_night(stores: Stores, run: uuid.UUID) -> ReviewNight:
    """Return a night as it is reviewed; raises UnknownRun."""
    with stores.session() as session:
        facts, plan = summarise(session, run), load_plan(session, run)
        prompts, images = load_run_prompts(session, run), load_images(session, run)
        pairs = load_pairs(session, run)
        previews, reused = load_previews(session, run), reused_segments(session, run)
        earlier = latest_run(session, facts.catalogue, before=facts.business_date)
        before = {} if earlier is None else named_pictures(session, earlier)
    asked: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        asked[content_key(prompt)].append(prompt)
    pictures = _pictures(plan, asked, images, pairs, reused)
    digests = {name: each.sha256 for each in pictures for name in each.names}
    return ReviewNight(
        facts=facts,
        plan=plan,
        pictures={each.id: each for each in pictures},
        groups=tuple(title for _, _, title in group_spans(plan.plan)),
        named=NamedPictures({each.name: each for each in prompts}, digests),
        previews=previews,
        before=before,
    )


def list_pictures(stores: Stores, night: ReviewNight) -> dict[str, object]:
    """Return what the page shows of all pictures, as JSON values."""
    pictures = night.pictures.values()
    with stores.session() as session:
        known = find_verdicts(session, night.facts.catalogue, {each.sha256 for each in pictures})
    return {
        "catalogue": night.facts.catalogue,
        "date": night.facts.business_date.isoformat(),
        "steps": night.plan.plan.steps,
        "groups": night.groups,
        "pictures": [_line(each, known.get(each.sha256)) for each in pictures],
    }


def describe(stores: Stores, night: ReviewNight, picture: ReviewPicture) -> dict[str, object]:
    """Return what the page shows of one picture that is opened, as JSON values."""
    plan = night.plan.plan
    end = plan.leaf_segment(plan.order[picture.at])
    path = [*plan.path(end)]
    with stores.session() as session:
        said = {
            each
            for name in picture.names
            for each in list_verdicts(
                session, night.facts.catalogue, night.named.prompts[name].reference
            )
        }
    shared = path[-2] if len(path) > 1 else end
    at = {each.at: each.id for each in night.pictures.values()}
    near = sorted(
        (place for place in range(shared.first, shared.last) if place != picture.at),
        key=lambda place: abs(place - picture.at),
    )
    before = night.before.get(picture.names[0], "")
    return {
        "path": [
            {
                "stop": each.stop,
                "pictures": each.size,
                "preview": each.id if each.id in night.previews else None,
            }
            for each in path
        ],
        "siblings": [at[place] for place in near if place in at][:_SIBLINGS],
        "shared": 0 if shared is end else shared.stop,
        "plain": "" if picture.pair is None else picture.pair.plain[:_SHORT],
        "before": before[:_SHORT] if before != picture.sha256 else "same",
        "history": [_said(each) for each in sorted(said, key=lambda each: each.created_at)],
    }


def _pictures(
    night: NightPlan,
    asked: Mapping[str, list[Prompt]],
    images: Mapping[int, StoredImage],
    pairs: Mapping[int, StoredPair],
    reused: set[int],
) -> list[ReviewPicture]:
    plan = night.plan
    spans = enumerate(group_spans(plan))
    group_of = {at: group for group, (first, last, _) in spans for at in range(first, last)}
    found = []
    for at, leaf in enumerate(plan.order):
        prompts = asked.get(night.leaves[leaf].content_key)
        if leaf not in images or not prompts:  # not made, or forgotten
            continue
        end = plan.leaf_segment(leaf)
        loss, pair = night.leaves[leaf].loss, pairs.get(leaf)
        facts = (group_of[at], end.id in reused, loss, end.steps, pair)
        names = tuple(each.name for each in prompts)
        found.append(ReviewPicture(at, names, prompts[0].text, images[leaf].sha256, *facts))
    return found


def _line(picture: ReviewPicture, said: StoredVerdict | None) -> list[object]:
    verdict = ("", "", "") if said is None else (said.verdict, said.reason, said.reviewer)
    pair = picture.pair
    measured = (None, None) if pair is None else (pair.loss, pair.distance)
    facts = (picture.group, int(picture.kept), picture.loss, picture.own, *measured)
    return [picture.id, picture.names, picture.prompt, *facts, *verdict]


def _said(verdict: StoredVerdict) -> dict[str, object]:
    return {
        "picture": verdict.sha256[:_SHORT],
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "reviewer": verdict.reviewer,
        "at": verdict.created_at.isoformat(timespec="minutes"),
    }
