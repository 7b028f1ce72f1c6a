"""Table 1: saving, win % and mean score of sharing as the paper does it, set by set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.prompt_sets import PaperSet
from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import Measured, largest_within
from hierdiff_core.evaluation.grid import PAPER_METHOD
from hierdiff_core.evaluation.page import SectionReport, Table, number, percent, score, share
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label
from hierdiff_core.evaluation.unit import Trial

_COLUMNS = ("set", "N", "setting", "evaluations per image", "saving", "win %", "ties",
            "mean score", "standard's", "held-out only")  # fmt: skip


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    return [
        study.unit(prompts, each)
        for prompts in study.report
        for each in [study.reference, *_settings(study, prompts), *study.paper_sharing()]
    ]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    rows, within, figures = [], [], dict[str, object]()
    sentences = []
    for prompts in study.report:
        reference = results.measured(study, prompts, study.reference)
        if reference is None:
            lack = results.lack(study.unit(prompts, study.reference))
            sentences.append(f"`{prompts.name}`: no figures ({lack}).")
            continue
        found = {}
        for setting in _settings(study, prompts):
            row, facts = _row(study, results, prompts, setting, reference)
            rows.append(row)
            found[label(setting)] = facts
        within.append(_within(study, results, prompts, reference))
        figures[prompts.name] = found
    reference_name = label(study.reference)
    caption = (
        f"Sharing with {PAPER_METHOD} linkage against {reference_name} for everybody, same seeds; "
        "a win is a higher score on a prompt, a tie (equal to the last bit) counts half."
    )
    largest = Table(
        ("set", "the paper's set", "paper", "largest measured saving", "win %", "mean score"),
        within,
        "Largest measured saving whose mean score cannot be told from the standard run's "
        "(the 95 % interval of the paired difference reaches 0).",
    )
    return SectionReport(
        "Table 1: sharing at the paper's setting",
        sentences,
        [Table(_COLUMNS, rows, caption), largest],
        figures=figures,
    )


def _settings(study: PaperStudy, prompts: PaperSet) -> list[Setting]:
    """Return tau = 1, as the paper recommends, and the paper's own saving for that kind of set."""
    solver, K = study.paper_solver, study.grid.paper_steps
    return [Setting(PAPER_METHOD, solver, K, tau=1.0), *study.papers_own(prompts)]


def _row(
    study: PaperStudy, results: Results, prompts: PaperSet, setting: Setting, reference: Measured
) -> tuple[list[str], dict[str, object]]:
    unit = study.unit(prompts, setting)
    ours = results.measured_unit(unit)
    head = [prompts.name, f"{len(prompts):,}", label(setting)]
    if ours is None:
        return [*head, results.lack(unit), *["–"] * 6], {"lack": results.lack(unit)}
    saving = 1 - ours.per_image / study.grid.paper_steps
    wins, ties = win_rate(ours.scores, reference.scores)
    mean, theirs = estimate_mean(ours.scores), estimate_mean(reference.scores)
    row = [
        *head, number(ours.per_image, 2), percent(saving, 1), share(wins),
        f"{ties} of {len(ours.scores)}", score(mean), score(theirs),
        _held_out(study, prompts, ours, reference),
    ]  # fmt: skip
    return row, {
        "evaluations_per_image": ours.per_image,
        "saving": saving,
        "win": wins.to_json(),
        "ties": ties,
        "score": mean.to_json(),
        "score_standard": theirs.to_json(),
    }


def _held_out(study: PaperStudy, prompts: PaperSet, ours: Measured, reference: Measured) -> str:
    sample = study.sample(prompts)
    held_out = np.array([bool(prompts.entries[place].held_out) for place in sample])
    if held_out.all() or held_out.sum() < 2:
        return "all" if held_out.all() and len(held_out) else "–"
    mine, theirs = ours.scores[held_out].mean(), reference.scores[held_out].mean()
    return f"{mine:.3f}, standard's {theirs:.3f} ({held_out.sum()})"


def _within(
    study: PaperStudy, results: Results, prompts: PaperSet, reference: Measured
) -> list[str]:
    family = results.all_measured(
        study, prompts, [*study.paper_sharing(), *_settings(study, prompts)]
    )
    found = largest_within(family, reference)
    head = [prompts.name, prompts.paper or "–", percent(prompts.paper_saving)]
    if found is None:
        return [*head, "none", "–", "–"]
    wins, _ = win_rate(found.scores, reference.scores)
    saving = 1 - found.per_image / study.grid.paper_steps
    return [*head, percent(saving, 1), share(wins), score(estimate_mean(found.scores))]


def win_rate(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[Estimate, int]:
    """Return the share of prompts on which we score higher, and the number of ties.

    A tie (equal to the last bit) counts half.
    """
    ties = int((ours == theirs).sum())
    return estimate_mean((ours > theirs) + 0.5 * (ours == theirs)), ties
