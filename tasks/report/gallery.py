"""The pictures of a night in the plan's order, in groups that share their first steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hierdiff_core.flame.tiles import rows_at_each_step
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.quality import TOLD_APART
from tasks.report.data import ReportData, ReportImage
from tasks.report.thumbnail import data_uri

GROUP_SIZE = 10  # pictures that a group should have, roughly
LISTED = 100  # pictures that are listed by their loss
SHOWN = 12  # pairs of the sample


@dataclass(frozen=True, slots=True)
class Card:
    """A picture and its caption."""

    at: int  # its place in the plan's order
    reference: str
    others: tuple[str, ...]  # further references with an equal prompt
    prompt: str
    made: bool
    source: str  # of the small picture; empty where there is none
    link: str  # of the full picture; empty where there is none
    own: int  # steps for it alone
    shared: int  # and in common with others
    loss: str = ""  # predicted, in percent; empty where it is not known
    apart: bool = False  # whether it is predicted to be told apart


@dataclass(frozen=True, slots=True)
class GalleryGroup:
    """Neighbours in the plan."""

    title: str
    cards: tuple[Card, ...]


def gallery_groups(data: ReportData) -> tuple[GalleryGroup, ...]:
    """Return all pictures, group by group; those that share with nobody there stand together."""
    cards = _cards(data)
    found: list[GalleryGroup] = []
    for first, last, title in group_spans(data.plan):
        found.append(
            GalleryGroup(title, tuple(cards[at] for at in range(first, last) if at in cards))
        )
    return tuple(found)


def group_spans(plan: Plan) -> Iterator[tuple[int, int, str]]:
    """Yield the first and last place of each group in the plan's order, and its title."""
    for first, last, steps in _runs(plan):
        shared = f"{last - first:,} share {steps:,} of {plan.steps:,} steps"
        yield first, last, shared if steps else "On their own"


def worst_cards(data: ReportData) -> tuple[Card, ...]:
    """Return the pictures that are predicted to lose most, the worst first."""
    place = {leaf: at for at, leaf in enumerate(data.plan.order)}
    return tuple(_card(data.plan, place[each.leaf], each) for each in data.worst[:LISTED])


@dataclass(frozen=True, slots=True)
class PairCard:
    """A picture of the sample and the plain one, side by side."""

    at: int  # its place in the plan's order
    reference: str
    prompt: str
    shared: str  # sources of the small pictures
    plain: str
    facts: str


def pair_cards(data: ReportData) -> tuple[PairCard, ...]:
    """Return the pairs that sharing hurt most, the worst first."""
    place = {leaf: at for at, leaf in enumerate(data.plan.order)}
    return tuple(
        PairCard(
            place[each.leaf],
            each.reference,
            each.prompt,
            data_uri(each.shared),
            data_uri(each.plain),
            pair_facts(each.loss, each.predicted, each.distance),
        )
        for each in data.pairs[:SHOWN]
    )


def pair_facts(loss: float | None, predicted: float | None, distance: float | None) -> str:
    """Return what was measured of a pair, in a few words."""
    facts = (
        "" if loss is None else f"loses {loss:.0%}",
        "" if predicted is None else f"{predicted:.0%} predicted",
        "" if distance is None else f"{distance:.2f} apart",
    )
    return " · ".join(each for each in facts if each)


def _runs(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Yield (first, last, steps in common) of each group from left to right."""
    alone: list[Segment] = []
    for segment in sorted(_cut(plan), key=lambda each: each.first):
        if segment.size == 1:
            alone.append(segment)
            continue
        if alone:
            yield alone[0].first, segment.first, 0
            alone = []
        yield segment.first, segment.last, segment.stop
    if alone:
        yield alone[0].first, plan.size, 0


def _cut(plan: Plan) -> tuple[Segment, ...]:
    """Return the active segments of the step whose clusters come closest to GROUP_SIZE pictures."""
    rows = rows_at_each_step(plan.segments, plan.steps)
    wanted = max(1.0, plan.size / GROUP_SIZE)
    best = min(range(plan.steps), key=lambda step: (abs(rows[step] - wanted), step))
    return plan.active(best + 1)


def _cards(data: ReportData) -> dict[int, Card]:
    images = {image.leaf: image for image in data.images}
    order = enumerate(data.plan.order)
    return {at: _card(data.plan, at, images[leaf]) for at, leaf in order if leaf in images}


def _card(plan: Plan, at: int, image: ReportImage) -> Card:
    own = plan.leaf_segment(image.leaf).steps
    link = safe_link(image.link)
    return Card(
        at=at,
        reference=image.references[0] if image.references else f"#{image.leaf}",
        others=image.references[1:],
        prompt=image.prompt,
        made=image.made,
        source=(data_uri(image.thumbnail) or link) if image.made else "",
        link=link if image.made else "",
        own=own,
        shared=plan.steps - own,
        loss="" if image.loss is None else f"{image.loss:.0%}",
        apart=image.loss is not None and image.loss > TOLD_APART,
    )


def names(data: ReportData) -> Mapping[int, str]:
    """Return the first reference of each leaf, for hover texts."""
    return {image.leaf: image.references[0] for image in data.images if image.references}


def safe_link(link: str) -> str:
    """Return a web address or a relative one unchanged, and nothing for any other."""
    try:
        return link if urlsplit(link).scheme in ("", "http", "https") else ""
    except ValueError:
        return ""
