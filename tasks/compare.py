"""Comparing: each picture of the sample beside the one that was made without sharing.

Where pictures and prompts share a space, a pair's loss is measured as it is predicted: by how much
further the picture that shared misses its prompt, as a share of what plain pictures miss.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.errors import HierdiffError
from hierdiff_core.judges.choose import load_judge
from hierdiff_core.judges.judge import Judge
from hierdiff_core.judges.pictures import load_picture_encoder
from hierdiff_core.models.family import EmbedPictures
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import content_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.isolate import reason_of, try_call
from tasks.embed import LedgerCache
from tasks.errors import CorruptObject, MissingObject, StillAway
from tasks.ledger import (
    NightPlan,
    StoredPair,
    carry_pairs,
    forget_pairs,
    load_pairs,
    load_plan,
    load_run_prompts,
    record_pairs,
)
from tasks.models import open_models
from tasks.object_keys import picture_key, plain_key
from tasks.settings import Settings
from tasks.stores import Stores

log = logging.getLogger(__name__)

_AT_ONCE = 8  # pairs that are held and looked at together
_OWN = "the model's own encoder"

Pictures = npt.NDArray[np.uint8]  # (B, height, width, 3)
Vectors = npt.NDArray[np.float64]  # (B, E)


@dataclass(frozen=True)
class _Space:
    """A space in which pictures are compared."""

    name: str
    embed: EmbedPictures
    of_prompts: bool  # whether the vectors of prompts lie in it, too
    missed: float | None  # what a plain picture is expected to miss; None: as these do


@dataclass(frozen=True)
class _Loaded:
    """Some pairs with their pictures."""

    pairs: Sequence[StoredPair]
    shared: Pictures
    plain: Pictures


@dataclass(frozen=True)
class _Seen:
    """A pair, and how far the one that shared and the plain one miss their prompt."""

    pair: StoredPair
    misfits: tuple[float, float] | None  # None where nothing says so


def compare_pairs(stores: Stores, settings: Settings, run: uuid.UUID) -> None:
    """Compare the pairs of a run that are not yet; a warning where that fails.

    A pair whose plain picture is damaged or gone is taken back. Raises StillAway.
    """
    if not settings.sample:
        return
    fault: BaseException | None
    try:
        fault = try_call(lambda: _compare(stores, settings, run))
    except StillAway:
        raise
    except HierdiffError as error:
        fault = error
    if fault is not None:
        log.warning("The sample is not compared: %s", reason_of(fault))


def _compare(stores: Stores, settings: Settings, run: uuid.UUID) -> None:
    with stores.session() as session:
        carry_pairs(session, run)
        pairs, night = load_pairs(session, run), load_plan(session, run)
        prompts = {content_key(each): each for each in load_run_prompts(session, run)}
    models, judge = open_models(settings), _load_judge(settings) if pairs else None
    load_encoder = cache(lambda name: load_picture_encoder(name, settings.device))
    for tree in night.trees:
        leaves = range(tree.first_leaf, tree.first_leaf + tree.leaves)
        mine = [pairs[leaf] for leaf in leaves if leaf in pairs]
        space = _open_space(settings, models, load_encoder, tree.recipe) if mine else None
        if space is not None:
            by = ", ".join(each for each in (space.name, settings.sample_judge) if each)
            fresh = [each for each in mine if each.compared_by != by]
            targets = _targets(stores, night, fresh) if space.of_prompts else {}
            texts = {each.leaf: prompts[night.leaves[each.leaf].content_key].text for each in fresh}
            judged = [
                pair
                for first in range(0, len(fresh), _AT_ONCE)
                for pair in _look(
                    _load(stores, run, fresh[first : first + _AT_ONCE]),
                    space,
                    targets,
                    texts,
                    judge,
                )
            ]
            with stores.session() as session:
                record_pairs(session, run, _with_losses(judged, space.missed, by))


def _load_judge(settings: Settings) -> Judge | None:
    return load_judge(settings.sample_judge, settings.device) if settings.sample_judge else None


def _open_space(
    settings: Settings,
    models: Models,
    load_encoder: Callable[[str], EmbedPictures],
    recipe: Recipe,
) -> _Space | None:
    """Return the space that pictures of a recipe are compared in, None where nothing names one."""
    calibration = find_calibration(recipe)
    facts = {} if calibration is None else calibration.facts
    named = settings.sample_encoder or str(facts.get("picture_encoder", ""))
    if named:
        return _Space(named, load_encoder(named), False, None)
    embed = models.encoder(recipe).embed_pictures
    if embed is None:
        log.warning(
            "Nothing compares the pictures of %s; name an encoder in HIERDIFF_SAMPLE_ENCODER",
            recipe.model,
        )
        return None
    missed = None if calibration is None else calibration.misfit(recipe.evaluations)
    return _Space(_OWN, embed, True, missed)


def _look(
    loaded: _Loaded,
    space: _Space,
    targets: Mapping[int, Vectors],
    texts: Mapping[int, str],
    judge: Judge | None,
) -> list[_Seen]:
    """Return how far pairs are apart, and how far both of each miss their prompt."""
    if not loaded.pairs:
        return []
    both = (loaded.shared, loaded.plain)
    shared, plain = (np.asarray(space.embed(each), np.float64) for each in both)
    asked = [texts[each.leaf] for each in loaded.pairs]
    scores = [None if judge is None else judge.scores(each, asked) for each in both]
    distances = 1 - _cosines(shared, plain)
    found = []
    for row, pair in enumerate(loaded.pairs):
        score, plain_score = (None if each is None else float(each[row]) for each in scores)
        target = targets.get(pair.leaf)
        misfits = (
            None
            if target is None
            else (_squared(shared[row] - target), _squared(plain[row] - target))
        )
        apart = replace(pair, distance=float(distances[row]), score=score, plain_score=plain_score)
        found.append(_Seen(apart, misfits))
    return found


def _with_losses(seen: Sequence[_Seen], missed: float | None, by: str) -> list[StoredPair]:
    """Return pairs with their losses: shares of what plain pictures miss, or else these do."""
    known = [each.misfits[1] for each in seen if each.misfits is not None]
    missed = missed or (float(np.mean(known)) if known else None)
    found = []
    for each in seen:
        loss = None
        if each.misfits is not None and missed:
            loss = (each.misfits[0] - each.misfits[1]) / missed
        found.append(replace(each.pair, loss=loss, compared_by=by))
    return found


def _squared(gap: Vectors) -> float:
    return float((gap**2).sum())


def _targets(stores: Stores, night: NightPlan, pairs: Sequence[StoredPair]) -> dict[int, Vectors]:
    """Return the vectors of the pairs' prompts by leaf; those that are lost are left out."""
    keys = {each.leaf: night.leaves[each.leaf].embedding_key for each in pairs}
    known = LedgerCache(stores).vectors(set(keys.values()))
    return {leaf: known[key].astype(np.float64) for leaf, key in keys.items() if key in known}


def _load(stores: Stores, run: uuid.UUID, pairs: Sequence[StoredPair]) -> _Loaded:
    """Return pairs with their pictures; those whose plain picture is no longer whole go."""
    whole, shared, plain, gone = list[StoredPair](), list[Pictures](), list[Pictures](), list[int]()
    for each in pairs:
        try:
            body = stores.bucket.get(plain_key(each.plain), each.plain)
        except (MissingObject, CorruptObject) as damage:
            log.warning("%s", damage)
            gone.append(each.leaf)
            continue
        whole.append(each)
        plain.append(_pixels(body))
        shared.append(_pixels(stores.bucket.get(picture_key(each.picture), each.picture)))
    if gone:
        with stores.session() as session:
            forget_pairs(session, run, gone)
    empty = np.zeros((0, 1, 1, 3), np.uint8)
    return _Loaded(whole, *(np.stack(each) if each else empty for each in (shared, plain)))


def _pixels(body: bytes) -> Pictures:
    with Image.open(io.BytesIO(body), formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


def _cosines(one: Vectors, other: Vectors) -> Vectors:
    sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(1) / np.maximum(sizes, 1e-12))
