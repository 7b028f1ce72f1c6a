"""How near are pictures that share no step to those of the stock pipelines, in every family?

Small models with random weights, as the tests have them: guided and not, two shapes, sets of 1, 3
and 8 prompts of unequal length, each family's own solver and others that its pipeline can be given.
In half precision ours is compared with the stock pipeline's, both with what that makes in float32,
and the stock pipeline with itself in a call of three pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.lab import Lab
from benchmarks.machine import commit
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from hierdiff_core.models.family import load_family
from tests.core.tiny.model import redraw
from tests.core.tiny.parity import (
    Pair,
    compare,
    distance,
    equal_noise,
    load_pair,
    stock_latents,
)
from tests.core.tiny.pipelines import MODELS

TITLE = "Pictures without sharing beside those of the stock pipelines"
TEXTS = (
    "a red cup", "two pots, a hat", "a cup", "a", "a blue hat on a chair", "pots", "two cups",
    "a pot and a hat",
)  # fmt: skip
COUNTS = (1, 3, 8)
HALVES = (
    "ours from float32", "stock from float32", "ours from stock", "stock from itself in company",
)  # fmt: skip
BESIDE = 3  # pictures of a call of the stock pipeline that is compared with a call of one


@dataclass
class Worst:
    """The largest differences of one family."""

    cases: int = 0
    latents: float = 0.0
    pictures: float = 0.0
    stray: float = 0.0  # largest share of a picture's numbers beyond the family's bound
    half: Sequence[float] = ()  # distances of latents in bfloat16, in the order of HALVES


def measure(lab: Lab) -> Outcome:
    """Measure every family's grid in float32, and one picture of it in bfloat16."""
    torch.set_num_threads(1)
    names = ["flux"] if lab.quick else list(MODELS)
    return _outcome({name: _measured(lab, name) for name in names})


def _measured(lab: Lab, name: str) -> Worst:
    """Return what one family differs by; what was found at this commit is not repeated."""
    kept = lab.folder("quick-parity" if lab.quick else "parity") / f"{name}-{commit()}.json"
    if kept.exists() and not commit().endswith("+"):
        return Worst(**json.loads(kept.read_text()))
    torch.manual_seed(0)
    folder = lab.folder("tiny") / name
    redraw(MODELS[name].make()).save_pretrained(folder)
    pair = load_pair(MODELS[name], folder)
    worst = _grid(pair, quick=lab.quick)
    if not load_family(MODELS[name].family).TEXT_DRAWS:
        worst.half = _in_half(pair, folder)
    kept.write_text(json.dumps(asdict(worst)))
    lab.say(f"{name}: {kept.read_text()}")
    return worst


def _grid(pair: Pair, *, quick: bool) -> Worst:
    worst, model = Worst(), pair.model
    for count, fields in _cases(pair, quick=quick):
        with equal_noise() as draws:
            for each in compare(pair, draws, TEXTS[:count], **fields):
                worst.cases += 1
                worst.latents = max(worst.latents, each.latents)
                worst.pictures = max(worst.pictures, each.largest)
                worst.stray = max(worst.stray, float((each.pictures > model.near).mean()))
    return worst


def _cases(pair: Pair, *, quick: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
    model = pair.model
    widths = (model.side,) if model.fixed or quick else (model.side, 2 * model.side)
    counts = COUNTS[:1] if quick else COUNTS
    scales = (model.guidance, model.unguided)
    for solver, width, guidance, count in product((None, *model.others), widths, scales, counts):
        yield count, {"solver": solver, "width": width, "guidance": guidance}


def _in_half(pair: Pair, folder: Path) -> tuple[float, float, float, float]:
    """Return how far latents in bfloat16 are from each other and from float32, as HALVES says."""
    stock = type(pair.stock).from_pretrained(folder, dtype=torch.bfloat16)
    stock.set_progress_bar_config(disable=True)
    other = replace(pair, stock=stock, own=stock.scheduler)
    pair.set_scheduler(None)
    with equal_noise() as draws:
        (one,) = compare(other, draws, TEXTS[:1], dtype="bfloat16")
        whole = stock_latents(pair, draws, TEXTS[0], 1)
        alone, beside = (stock_latents(other, draws, TEXTS[0], each) for each in (1, BESIDE))
    from_float = distance(one.ours, whole), distance(alone, whole)
    return *from_float, one.latents, distance(beside, alone)


def _outcome(found: Mapping[str, Worst]) -> Outcome:
    rows = [
        (name, each.cases, each.latents, max(0.0, each.pictures), 100 * each.stray)
        for name, each in found.items()
    ]
    columns = (
        Column("model"),
        Column("pictures", "d"),
        Column("latents", ".1e"),
        Column("pixels", ".1e"),
        Column("numbers beyond the bound, %", ".3f"),
    )
    whole = Table("Greatest differences in float32, of the largest number", columns, rows)
    halves = tuple(Column(each, ".1e") for each in HALVES)
    title = "Distances of latents in bfloat16, of the largest number"
    in_half: list[tuple[Cell, ...]] = [
        (name, *each.half) for name, each in found.items() if each.half
    ]
    other = Table(title, (Column("model"), *halves), in_half)
    good = [name for name, each in found.items() if _is_near(name, each)]
    figure = Figure(
        "models within their bound of stock", len(good) / len(found), goal=Goal(least=1.0)
    )
    note = "Bounds are 1e-5, and 5e-4 for Karlo, of whose numbers one in 1,000 may be beyond it"
    return Outcome((figure,), (whole, other), notes=(note,))


def _is_near(name: str, worst: Worst) -> bool:
    model = MODELS[name]
    return worst.latents <= model.near and worst.stray <= model.stray
