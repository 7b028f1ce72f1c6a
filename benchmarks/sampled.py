"""Did sharing hurt? What nights measure on their samples, against what was predicted of them."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.lab import Lab
from benchmarks.outcome import Column, Figure, Outcome, Table
from benchmarks.paper.prompt_sets import built_in_sets
from flows.stack.standalone import standalone
from hierdiff_core.evaluation.bootstrap import DRAWS, Estimate, estimate
from hierdiff_core.evaluation.prompt_sets import PromptSet, choose_sets
from tasks import stages
from tasks.compare import compare_pairs
from tasks.ledger import StoredPair, claim_night, load_pairs, load_plan
from tasks.measured import MeasuredPairs, measure_pairs
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard

TITLE = "Did sharing hurt? Measured by nights on their samples, and predicted"
SETS = ("diverse", "templates", "subjects", "words")
SAVINGS = (0.2, 0.35, 0.5, 0.65, 0.8)
PROMPTS = 40  # of a night
SAMPLE = 0.4  # of its pictures, 16
_DAY = date(2026, 11, 22)


@dataclass(frozen=True)
class Night:
    """A night and its pairs."""

    prompts: str  # the set that they are from
    saving: float
    measured: MeasuredPairs
    pairs: tuple[tuple[StoredPair, float], ...]  # with the predicted losses


def measure(lab: Lab) -> Outcome:
    """Run twenty nights of other prompts and seeds at five savings, each with its sample."""
    nights = []
    with (
        # Where PostgreSQL's own user may enter, and near enough for a Unix socket's path.
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lab.say) as stack,
        open_stores(read_settings(home=stack.home, device=lab.device)) as stores,
    ):
        for night in _nights(lab, stores, stack.home):
            nights.append(night)
            found = night.measured
            lab.say(f"{night.prompts}, {night.saving:.0%}: {found.loss:.1%}, {found.predicted:.1%}")
    return _outcome(nights)


def _nights(lab: Lab, stores: Stores, folder: Path) -> Iterator[Night]:
    sets = choose_sets(built_in_sets(), SETS[:1] if lab.quick else SETS)
    count = 8 if lab.quick else PROMPTS
    savings = SAVINGS[2:4] if lab.quick else SAVINGS
    for prompts in sets:
        for place, saving in enumerate(savings):
            texts = prompts.texts[place * count : (place + 1) * count]
            # Another seed, or a row would keep the picture that another night has made of it.
            asked = {"saving": saving, "seed": place, "sample": SAMPLE, "shards": 1}
            settings = read_settings(home=folder, device=lab.device, accept_loss=True, **asked)
            file = folder / f"{prompts.name}-{place}.csv"
            with file.open("w", newline="") as out:
                csv.writer(out).writerows([["prompt"], *([text] for text in texts)])
            yield _run(stores, settings, prompts, saving, file)


def _run(
    stores: Stores, settings: Settings, prompts: PromptSet, saving: float, file: Path
) -> Night:
    with stores.session() as session:
        claimed = claim_night(session, file.stem, _DAY)
    stages.ingest(stores, settings, claimed, stages.Source(file=file))
    stages.embed(stores, settings, claimed.batch, lambda done, total: None)
    run = stages.plan(stores, settings, claimed.batch)
    for shard in (0, 1):
        denoise_shard(stores, settings, run, shard, "benchmark")
    compare_pairs(stores, settings, run)
    with stores.session() as session:
        pairs, leaves = load_pairs(session, run).values(), load_plan(session, run).leaves
    predicted = {leaf: each.loss for leaf, each in enumerate(leaves)}
    measured = measure_pairs(pairs, predicted)
    if measured is None or measured.loss is None:
        raise LookupError(file.stem)
    known = tuple((each, predicted[each.leaf] or 0.0) for each in pairs)
    return Night(prompts.name, saving, measured, known)


def _outcome(nights: list[Night]) -> Outcome:
    predicted = _array([night.measured.predicted for night in nights])
    losses = _array([night.measured.loss for night in nights])
    distances = _array([night.measured.distance for night in nights])
    pairs = [each for night in nights for each in night.pairs]
    of_pairs = _array([loss for _, loss in pairs])
    figures = (
        _rank("nights by predicted and measured loss", predicted, losses),
        _rank("nights by predicted loss and distance", predicted, distances),
        _rank("pairs by predicted and measured loss", of_pairs, _array([p.loss for p, _ in pairs])),
        _rank("pairs by predicted loss and distance", of_pairs,
              _array([p.distance for p, _ in pairs])),
        Figure("nights whose interval holds what was predicted", _covered(nights), ".0%"),
        Figure("mean loss of all nights, measured", float(losses.mean()), ".1%"),
        Figure("mean loss of all nights, predicted", float(predicted.mean()), ".1%"),
    )  # fmt: skip
    columns = (Column("set"), Column("saving", ".0%"), Column("pairs"), Column("predicted", ".1%"),
               Column("measured", ".1%"), Column("from", ".1%"), Column("to", ".1%"),
               Column("distance", ".3f"))  # fmt: skip
    rows = [
        (night.prompts, night.saving, found.pairs, found.predicted, found.loss, found.low,
         found.high, found.distance)
        for night in nights for found in [night.measured]
    ]  # fmt: skip
    return Outcome(figures, (Table("The nights", columns, rows),), notes=_NOTES)


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def _rank(name: str, one: NDArray[np.float64], other: NDArray[np.float64]) -> Figure:
    """Return Spearman's rank correlation with its 95 % interval, by bootstrap."""
    found = _spearman(one, other)
    return Figure(f"rank correlation of {name}", found.value, "+.2f", "", found.low, found.high)


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> Estimate:
    rng = np.random.default_rng(0)
    draws = list[float]()
    while len(draws) < DRAWS:
        chosen = rng.integers(0, len(one), len(one))
        if np.ptp(one[chosen]) and np.ptp(other[chosen]):  # else there is no rank
            draws.append(float(spearmanr(one[chosen], other[chosen]).statistic))
    return estimate(float(spearmanr(one, other).statistic), np.array(draws))


def _covered(nights: list[Night]) -> float:
    held = [
        found.low <= found.predicted <= found.high
        for night in nights
        for found in [night.measured]
        if found.low is not None and found.high is not None and found.predicted is not None
    ]
    return float(np.mean(held)) if held else 0.0


_NOTES = (
    f"Each night has {PROMPTS} prompts of its own and a seed of its own, under the miniature's "
    f"defaults; {SAMPLE:.0%} of its pictures are also made without sharing, of those that share.",
    "Predicted is the mean over the same pictures. A night's interval is Student's over its pairs, "
    "95 %; those of ranks are by bootstrap over nights, or over all pairs.",
)
