"""Calibrated plans: their scores at each budget, beside the paper's trees and fewer steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from hierdiff_core.evaluation.bootstrap import estimate_mean
from hierdiff_core.evaluation.budgets import Ladder, Rung, rank_misfits, rank_scores
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import SectionReport, Table, number, percent, score, share
from hierdiff_core.evaluation.plan_ladder import (
    plan_sets,
    plan_settings,
    plan_study,
    read_ladder,
)
from hierdiff_core.evaluation.plan_plot import draw_plans
from hierdiff_core.evaluation.plan_words import sentences, signed
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import label, solver_label
from hierdiff_core.evaluation.unit import Trial

TITLE = "The plan that spends best"
UNCALIBRATED = "The model is not calibrated: `hierdiff calibrate` does it, once per model."


def jobs(study: Study) -> list[Trial]:
    """See Section."""
    if not study.calibrated:
        return []
    study = plan_study(study)
    settings = plan_settings(study)
    return [study.unit(prompts, each) for prompts in plan_sets(study) for each in settings]


def report(
    study: Study, results: Results, write: Callable[[Sequence[Ladder]], list[str]] = sentences
) -> SectionReport:
    """See Section; `write` returns the sentences on the measured ladders."""
    if not study.calibrated:
        return SectionReport(TITLE, [UNCALIBRATED])
    study = plan_study(study)
    found = {each.name: read_ladder(study, results, each) for each in plan_sets(study)}
    ladders = [each for each in found.values() if each is not None and each.rungs]
    if not ladders:
        return SectionReport(TITLE, ["Not measured yet."])
    measured = {each.prompts.name: each for each in ladders}
    lacking = [f"`{name}`: not measured yet." for name in found if name not in measured]
    return SectionReport(
        TITLE,
        [*write(ladders), *lacking],
        [_bought(ladders), _predictions(ladders), _all_rungs(ladders)],
        {f"plans-{name}.png": partial(draw_plans, each) for name, each in measured.items()},
        {name: _figures(study, results, each) for name, each in measured.items()},
    )


_COLUMNS = ("set", "budget", "spent", "calibrated, chosen", "its solver and K",
            "best in hindsight", "ward", "average", "centroid", "best standard",
            "gain over trees", "gain over standard")  # fmt: skip
_CAPTION = (
    "Mean scores of what a budget buys. Budget: a share of the evaluations of the cheapest "
    "standard setting that cannot be told from the best one; spent: the dearest measured number of "
    "evaluations per image within it. The calibrated plan is the one of least predicted misfit, "
    "chosen without a score; trees are shown under the better of their solvers. Gains are over the "
    "best of the trees and over the best standard setting that is no dearer, paired by prompt."
)


def _bought(ladders: Sequence[Ladder]) -> Table:
    rows = []
    for ladder in ladders:
        for budget, rung in ladder.spent().items():
            wanted = f"{percent(budget)}: {number(budget * ladder.rival.per_image, 2)}"
            head = [ladder.prompts.name, wanted]
            cells = ["none measured", *["–"] * 9] if rung is None else _cells(rung)
            rows.append([*head, *cells])
    return Table(_COLUMNS, rows, _CAPTION)


def _all_rungs(ladders: Sequence[Ladder]) -> Table:
    rows = [[each.prompts.name, *_cells(rung)] for each in ladders for rung in each.rungs]
    columns = (_COLUMNS[0], *_COLUMNS[2:])
    return Table(columns, rows, "Every measured number of evaluations", folded=True)


def _cells(rung: Rung) -> list[str]:
    dearer = " (none is as cheap)" if rung.outbid else ""
    trees = [rung.trees.get(each) for each in ("ward", "average", "centroid")]
    return [
        number(rung.evaluations),
        score(estimate_mean(rung.chosen.scores)),
        _by(rung.chosen),
        _scored(rung.hindsight),
        *("–" if tree is None else _scored(tree) for tree in trees),
        _scored(rung.standard) + dearer,
        signed(rung.over_trees),
        signed(rung.over_standard),
    ]


def _scored(found: Measured) -> str:
    return f"{found.mean:.3f} ({_by(found)})"


def _by(found: Measured) -> str:
    solver = found.setting.solver
    return f"{solver_label(solver)} {found.setting.steps}"


def _predictions(ladders: Sequence[Ladder]) -> Table:
    rows = []
    for ladder in ladders:
        ranks = (rank_misfits(ladder.predictions), rank_scores(ladder.predictions))
        rows.append([
            ladder.prompts.name, str(len(ladder.predictions)), *(number(rank, 2) for rank in ranks),
            label(ladder.rival.setting), share(ladder.saving()),
            _saved_alike(ladder),
        ])  # fmt: skip
    columns = ("set", "plans", "rank: misfit", "rank: score", "best standard",
               "saved at its score", "saved, not told apart")  # fmt: skip
    caption = (
        "Spearman's correlation over all plans of this section (calibrated, trees and plain steps) "
        "of predicted misfit with measured misfit, and with the score (negated); and what the "
        "chosen plans save at the best standard setting's score, and by the cheapest of them whose "
        "score is not told below it."
    )
    return Table(columns, rows, caption)


def _saved_alike(ladder: Ladder) -> str:
    alike = ladder.alike
    return "none" if alike is None else percent(1 - alike.per_image / ladder.rival.per_image)


def _figures(study: Study, results: Results, ladder: Ladder) -> dict[str, object]:
    units = {label(each): study.unit(ladder.prompts, each) for each in plan_settings(study)}
    lacking = {name: results.lack(unit) for name, unit in units.items()}
    saving = ladder.saving()
    return {
        "best_standard": label(ladder.rival.setting),
        "saving": saving and saving.to_json(),
        "not_told_apart": ladder.alike and _fact(ladder.alike),
        "rank_misfit": rank_misfits(ladder.predictions),
        "rank_score": rank_scores(ladder.predictions),
        "budgets": {
            f"{budget:g}": rung and rung.evaluations for budget, rung in ladder.spent().items()
        },
        "rungs": {f"{rung.evaluations:g}": _facts(rung) for rung in ladder.rungs},
        "plans": [
            {
                "label": label(each.measured.setting),
                "evaluations_per_image": each.measured.per_image,
                "predicted": each.predicted,
                "misfit": each.misfit,
                "score": each.measured.mean,
            }
            for each in ladder.predictions
        ],
        "missing": {name: lack for name, lack in lacking.items() if lack},
    }


def _facts(rung: Rung) -> dict[str, object]:
    ways = {"calibrated": rung.chosen, "hindsight": rung.hindsight, **rung.trees,
            "standard": rung.standard}  # fmt: skip
    return {
        **{name: _fact(each) for name, each in ways.items()},
        "over_trees": rung.over_trees.to_json(),
        "over_standard": rung.over_standard.to_json(),
    }


def _fact(found: Measured) -> dict[str, object]:
    return {"label": label(found.setting), "evaluations_per_image": found.per_image,
            "score": estimate_mean(found.scores).to_json()}  # fmt: skip
