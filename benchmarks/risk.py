"""What a saving risks: what the calibration predicts of each row, against what a judge sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from benchmarks.judged_nights import DEFAULT, PLAIN, Case, Row, judge
from benchmarks.lab import Lab
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.paper.prompt_sets import built_in_sets
from benchmarks.shops import mixed_shop, own_rows
from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.grid import cut
from hierdiff_core.evaluation.prompt_sets import PromptSet, choose_sets, sample
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.planners import LOSS
from hierdiff_core.quality import TOLD_APART
from tasks.evaluation.crew import Bench
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import read_settings

TITLE = "What a saving risks: predicted, and judged"
SAVINGS = (0.2, 0.4, 0.6, 0.8)
LARGEST = 150  # prompts of a built-in set
JUDGED = 32  # of them
DEVELOPMENT = ("diverse-dev", "templates-dev", "subjects-dev")
REPORT = ("diverse", "templates", "subjects", "words")
_RANK = Goal(least=0.8)


Nights = Mapping[str, Mapping[str, Row]]  # by set, then by night


def measure(lab: Lab) -> Outcome:
    """Judge every set plain, as the default night, and at each saving."""
    recipe = pin_recipe(read_settings(device=lab.device).recipe)
    bench = Bench(recipe, ("attributes",), lab.device, WorkFolder(lab.folder("risk")))
    nights, kinds = dict[str, Mapping[str, Row]](), dict[str, str]()
    for case in _cases(lab.quick):
        name = case.prompts.name
        nights[name] = judge(bench, case, (0.5,) if lab.quick else SAVINGS, workers=1)
        kinds[name] = case.kind
        night = nights[name][DEFAULT]
        lab.say(f"{name}: saves {night.saving:.1%} by default, score {night.score.mean():.3f}")
    return _tell(nights, kinds)


def _cases(quick: bool) -> tuple[Case, ...]:
    shops = [mixed_shop(), own_rows()]
    if quick:
        few = replace(shops[0], entries=shops[0].entries[:8])
        return (Case(few, "shop", (0, 3, 5)),)
    sets = cut(built_in_sets(), LARGEST)
    return (
        *(_case(each, "development") for each in choose_sets(sets, DEVELOPMENT)),
        *(Case(each, "shop", tuple(range(len(each)))) for each in shops),
        *(_case(each, "report") for each in choose_sets(sets, REPORT)),
    )


def _case(prompts: PromptSet, kind: str) -> Case:
    return Case(prompts, kind, sample(prompts, JUDGED))


def _tell(nights: Nights, kinds: Mapping[str, str]) -> Outcome:
    developed = [name for name, kind in kinds.items() if kind == "development"]
    others = [name for name in nights if name not in developed]
    figures = [
        *(_lost("all development sets", [nights[each] for each in developed]) if developed else []),
        *(figure for each in nights for figure in _lost(each, [nights[each]])),
        *_predicted([nights[each] for each in others]),
    ]
    if developed:
        figures.append(_threshold([nights[each] for each in developed]))
    tables = (_defaults(nights, kinds), _savings(nights, kinds))
    return Outcome(tuple(figures), tables, notes=_NOTES)


def _lost(name: str, sets: Sequence[Mapping[str, Row]]) -> list[Figure]:
    """Return by how much the default night scores higher than plain pictures, prompt by prompt."""
    gained = _gained(sets)
    shown = (gained.value, "+.3f", "", gained.low, gained.high)
    return [Figure(f"score of the default night less that of plain pictures, {name}", *shown)]


def _gained(sets: Sequence[Mapping[str, Row]], night: str = DEFAULT) -> Estimate:
    return estimate_mean(np.concatenate([each[night].score - each[PLAIN].score for each in sets]))


def _pairs(sets: Sequence[Mapping[str, Row]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the loss of each row at each saving, and whether the judge told it apart."""
    rows = [
        (night.loss, night.wrong & ~each[PLAIN].wrong)
        for each in sets
        for name, night in each.items()
        if name not in (PLAIN, DEFAULT)
    ]
    losses, told = zip(*rows, strict=True)
    return np.concatenate(losses), np.concatenate(told)


def _predicted(sets: Sequence[Mapping[str, Row]]) -> list[Figure]:
    losses, told = _pairs(sets)
    found = losses > TOLD_APART
    cells = [
        (float(night.loss.mean()), float((night.wrong & ~each[PLAIN].wrong).mean()))
        for each in sets
        for name, night in each.items()
        if name not in (PLAIN, DEFAULT)
    ]
    figures = [
        Figure("rows predicted to be told apart that are, precision", _share(told[found])),
        Figure("rows told apart that were predicted to be, recall", _share(found[told])),
    ]
    if 0 < told.sum() < len(told):
        rank = _order(losses, told)
        figures.append(Figure("a row told apart has the higher loss of two", rank, goal=_RANK))
    if len(cells) > 2:
        rank = float(spearmanr(*zip(*cells, strict=True)).statistic)
        name = "rank of nights by predicted loss and by the share told apart"
        figures.append(Figure(name, rank, goal=_RANK))
    return figures


def _share(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0


def _order(losses: NDArray[np.float64], told: NDArray[np.bool_]) -> float:
    """Return the chance that of two rows the one that is told apart has the higher loss."""
    ranks, count = rankdata(losses), int(told.sum())
    above = float(ranks[told].sum()) - count * (count + 1) / 2
    return above / (count * (len(told) - count))


def _threshold(sets: Sequence[Mapping[str, Row]]) -> Figure:
    """Return the loss above which as many rows lie as the judge told apart."""
    losses, told = _pairs(sets)
    above = float(np.sort(losses)[::-1][int(told.sum())]) if told.any() else 0.0
    name = f"loss above which as many rows lie as are told apart ({TOLD_APART:g} is used)"
    return Figure(f"{name}, development sets", above)


def _defaults(nights: Nights, kinds: Mapping[str, str]) -> Table:
    columns = (Column("set"), Column("kind"), Column("judged"), Column("saved", ".1%"),
               Column("predicted loss", ".1%"), Column("score", ".3f"), Column("plain", ".3f"),
               Column("difference", "+.3f"), Column("from", "+.3f"),
               Column("to", "+.3f"))  # fmt: skip
    rows: list[list[Cell]] = []
    for name, each in nights.items():
        night, gained = each[DEFAULT], _gained([each])
        rows.append([name, kinds[name], len(night.score), night.saving, float(night.loss.mean()),
                     float(night.score.mean()), float(each[PLAIN].score.mean()),
                     gained.value, gained.low, gained.high])  # fmt: skip
    return Table(f"The default night, a loss of at most {LOSS:.0%}", columns, rows)


def _savings(nights: Nights, kinds: Mapping[str, str]) -> Table:
    columns = (Column("set"), Column("saved", ".0%"), Column("predicted loss", ".1%"),
               Column("predicted to be told apart"), Column("told apart"), Column("both"),
               Column("the other way round"), Column("score", ".3f"))  # fmt: skip
    rows: list[list[Cell]] = []
    for name, each in nights.items():
        plain = each[PLAIN].wrong
        for night in (each[key] for key in each if key not in (PLAIN, DEFAULT)):
            told, found = night.wrong & ~plain, night.loss > TOLD_APART
            counts = [int(one.sum()) for one in (found, told, found & told, plain & ~night.wrong)]
            rows.append([name, night.saving, float(night.loss.mean()), *counts,
                         float(night.score.mean())])  # fmt: skip
    return Table("Rows that are told apart", columns, rows)


_NOTES = (
    f"The model's own solver and steps. Of a built-in set {LARGEST} prompts are planned together "
    f"and {JUDGED} of them judged; of the shops all rows. One picture of each row a night.",
    "A row is told apart where its picture lacks something that its prompt names and that is in "
    "the plain picture. The other way round: where only the plain picture lacks it, which chance "
    "does as often to either side.",
    "Intervals are 95 %, by bootstrap over prompts. Precision, recall and ranks are over the "
    "report sets and the shops at all savings; the development sets are there to choose the "
    "threshold.",
)
