"""The pictures of a night as they are handed over: each row's, with all its files."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from hierdiff_core.prompt import Prompt, content_key
from tasks.ledger import (
    NightPlan,
    StoredImage,
    StoredRendition,
    find_verdicts,
    load_images,
    load_plan,
    load_renditions,
    load_run_prompts,
    reused_segments,
    summarise,
)
from tasks.renditions import rendition_key
from tasks.report.links import Link, public_link
from tasks.settings import Settings
from tasks.states import VerdictState
from tasks.stores import Stores

MADE, KEPT = "made", "kept"
ACCEPTED, UNREJECTED = "accepted", "unrejected"


@dataclass(frozen=True, slots=True)
class File:
    """An object that shows a picture."""

    rendition: str  # such as webp-1200; empty: the picture itself, a PNG
    object: str
    url: str  # empty where the bucket has no public address
    sha256: str
    bytes: int
    width: int  # pixels
    height: int


@dataclass(frozen=True, slots=True)
class HandedPicture:
    """A row's picture."""

    run: str
    row: int
    reference: str
    number: int  # of the row's pictures
    name: str
    made: str  # tonight, or kept from an earlier night
    seed: int
    revision: str  # of the model
    verdict: str  # empty where nobody has looked at it
    files: tuple[File, ...]  # the picture itself, then its renditions

    @property
    def shown(self) -> tuple[File, ...]:
        """The files for a shop: renditions where there are any, else the picture itself."""
        return self.files[1:] or self.files


@dataclass(frozen=True)
class Gathered:
    """What is known of a run's pictures."""

    catalogue: str
    prompts: Sequence[Prompt]
    night: NightPlan
    images: Mapping[int, StoredImage]  # by leaf
    renditions: Mapping[int, Sequence[StoredRendition]]  # by leaf
    kept: frozenset[int]  # leaves
    verdicts: Mapping[str, str]  # by sha256


def gather(stores: Stores, settings: Settings, run: uuid.UUID) -> tuple[HandedPicture, ...]:
    """Return the pictures of a run's rows that exist, in the order of the rows."""
    known = _read(stores, run)
    link = public_link(stores, settings)
    leaf_of = {leaf.content_key: number for number, leaf in enumerate(known.night.leaves)}
    leaves = [(prompt, leaf_of.get(content_key(prompt))) for prompt in known.prompts]
    return tuple(
        _picture(str(run), known, prompt, leaf, link)
        for prompt, leaf in leaves
        if leaf is not None and leaf in known.images
    )


def wanted(pictures: Sequence[HandedPicture], settings: Settings) -> tuple[HandedPicture, ...]:
    """Return the pictures that are handed over: accepted ones, or all that nobody has rejected."""
    if settings.hand_over == ACCEPTED:
        return tuple(each for each in pictures if each.verdict == VerdictState.ACCEPTED)
    return tuple(each for each in pictures if each.verdict != VerdictState.REJECTED)


def _read(stores: Stores, run: uuid.UUID) -> Gathered:
    with stores.snapshot() as session:
        catalogue, night = summarise(session, run).catalogue, load_plan(session, run)
        prompts, images = load_run_prompts(session, run), load_images(session, run)
        files, kept = load_renditions(session, run), reused_segments(session, run)
        said = find_verdicts(session, catalogue, [each.sha256 for each in images.values()])
    plan = night.plan
    return Gathered(
        catalogue,
        prompts,
        night,
        images,
        {leaf: tuple(some) for leaf, some in groupby(files, lambda each: each.leaf)},
        frozenset(leaf for leaf in images if plan.leaf_segment(leaf).id in kept),
        {sha256: each.verdict.value for sha256, each in said.items()},
    )


def _picture(run: str, known: Gathered, prompt: Prompt, leaf: int, link: Link) -> HandedPicture:
    image = known.images[leaf]
    seed = prompt.recipe.seed if prompt.drawn_seed is None else prompt.drawn_seed
    made = KEPT if leaf in known.kept else MADE
    verdict = known.verdicts.get(image.sha256, "")
    itself = ("", image.key, link(image.key, ""), image.sha256, image.bytes)
    return HandedPicture(
        *(run, prompt.row, prompt.reference, prompt.number, prompt.name),
        *(made, seed, prompt.recipe.revision, verdict),
        (
            File(*itself, image.width, image.height),
            *(_file(each, link) for each in known.renditions.get(leaf, ())),
        ),
    )


def _file(stored: StoredRendition, link: Link) -> File:
    key = rendition_key(stored)
    facts = (stored.sha256, stored.bytes, stored.width, stored.height)
    return File(stored.name, key, link(key, ""), *facts)
