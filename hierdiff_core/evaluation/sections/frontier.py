"""The frontier: score and detail against evaluations, and what sharing saves at equal score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import (
    Measured,
    best_standard,
    largest_within,
    saving_at_equal_detail,
    saving_at_equal_score,
    saving_over_best,
)
from hierdiff_core.evaluation.frontier_plot import draw_frontier
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import SectionReport, Table, number, percent, score, share
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import label
from hierdiff_core.evaluation.unit import Trial

QUALITIES = (0.9, 0.95, 0.98, 1.0)


def jobs(study: Study) -> list[Trial]:
    """See Section."""
    return [
        study.unit(prompts, each)
        for prompts in study.sets
        for each in study.standards() + study.sharing(prompts)
    ]


@dataclass(frozen=True)
class Frontier:
    """The measurements of one set, and the savings that follow."""

    prompts: PromptSet
    reference: Measured
    standards: Sequence[Measured]
    shared: Sequence[Measured]
    rival: Measured  # the best standard setting
    savings: Mapping[str, Estimate | None]


def report(
    study: Study, results: Results, write: Callable[[Frontier], list[str]] | None = None
) -> SectionReport:
    """See Section; `write` returns the sentences on a set, by default `sentences`."""
    lines, rows, cheapest, pictures = [], [], [], {}
    figures: dict[str, object] = {}
    for prompts in study.sets:
        found = _measure(study, results, prompts)
        if found is None:
            lines.append(f"`{prompts.name}`: the reference run has no figures yet.")
            continue
        points = _points(study, results, found)
        lines += (write or sentences)(found)
        rows.append(_row(found, points))
        cheapest += _cheapest(found)
        figures[prompts.name] = _figures(study, results, found) | points
        name = f"frontier-{prompts.name}.png"
        pictures[name] = partial(draw_frontier, study, results, prompts)
    columns = ("set", "N", "reference", "(a) as the paper", "(a) any sharing", "(a) fewer steps",
               "best standard", "(b) sharing over it", "(b) not told apart",
               "at equal detail")  # fmt: skip
    reading = Table(
        ("set", "score wanted", "cheapest of all", "evaluations", "cheapest standard",
         "evaluations"), cheapest,
        "Cheapest measured setting whose mean score is not below a share of the best standard's.",
    )  # fmt: skip
    tables = [Table(columns, rows, _CAPTION), reading, _all_rows(figures)]
    return SectionReport("What quality costs", lines, tables, pictures, figures)


_CAPTION = (
    "Evaluations saved at equal mean score, with 95 % intervals: (a) over the reference, by "
    "sharing with the reference's solver and K, by any sharing, and by fewer steps alone; (b) by "
    "any sharing over the cheapest standard setting that cannot be told from the best one; not "
    "told apart: by the cheapest sharing whose score cannot be told from that setting's. At equal "
    "detail: over the cheapest standard setting whose distance is within 5 % of the least."
)


def _measure(study: Study, results: Results, prompts: PromptSet) -> Frontier | None:
    reference = results.measured(study, prompts, study.reference)
    if reference is None:
        return None
    standards = results.all_measured(study, prompts, study.standards())
    shared = results.all_measured(study, prompts, study.sharing(prompts))
    paper = [
        each for each in shared
        if (each.setting.solver, each.setting.steps)
        == (study.paper_solver, study.grid.paper_steps)
    ]  # fmt: skip
    savings = {
        "paper": saving_at_equal_score(paper, reference),
        "sharing": saving_at_equal_score(shared, reference),
        "fewer_steps": saving_at_equal_score(standards, reference),
        "over_best": saving_over_best(shared, standards) if shared else None,
    }
    return Frontier(prompts, reference, standards, shared, best_standard(standards), savings)


def sentences(found: Frontier) -> list[str]:
    """Return the answers to (a), over the reference, and (b), over the best standard setting."""
    name, reference = found.prompts.name, label(found.reference.setting)
    saving = share(found.savings["paper"])
    over_reference = f"`{name}` (a): sharing saves {saving} over {reference} at equal score."
    return [over_reference, _over_best(found)]


def _over_best(found: Frontier) -> str:
    """Return whether sharing pays; where not, with the best sharing setting that is no dearer."""
    rival, saving = found.rival, found.savings["over_best"]
    name = f"{label(rival.setting)} ({rival.per_image:g} evaluations, score {rival.mean:.3f})"
    if saving is None:
        return f"`{found.prompts.name}` (b): sharing is not measured yet against {name}."
    if math.isinf(saving.value):
        verdict = f"does not pay: no measured sharing reaches the score of {name}"
    elif saving.low > 0:
        verdict = f"pays: it saves {share(saving)} over {name}"
    elif saving.value > 0:
        verdict = f"may pay: it saves {share(saving)} over {name}, and the interval holds 0"
    else:
        more = f"{percent(-saving.value)} more than" if saving.value else "as many evaluations as"
        verdict = f"does not pay: at equal score it takes {more} {name}"
    affordable = [each for each in found.shared if each.per_image <= rival.per_image]
    cause = ""
    if saving.value <= 0 and affordable:
        best = max(affordable, key=lambda each: each.mean)
        cause = (
            f"; the best sharing that is no dearer, {label(best.setting)} "
            f"({best.per_image:.1f} evaluations), scores {against(best, rival)}"
        )
    return f"`{found.prompts.name}` (b): sharing {verdict}{cause}."


def against(ours: Measured, theirs: Measured) -> str:
    """Return two mean scores and their paired difference with its interval."""
    gap = estimate_mean(ours.scores - theirs.scores)
    interval = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
    return f"{ours.mean:.3f} against {theirs.mean:.3f} (difference {gap.value:+.3f} {interval})"


def _row(found: Frontier, points: Mapping[str, float | None]) -> list[str]:
    savings, rival = found.savings, found.rival
    return [
        found.prompts.name, f"{len(found.prompts):,}", score(estimate_mean(found.reference.scores)),
        *(share(savings[each]) for each in ("paper", "sharing", "fewer_steps")),
        f"{label(rival.setting)}: {rival.mean:.3f}", share(savings["over_best"]),
        *map(percent, points.values()),
    ]  # fmt: skip


def _points(study: Study, results: Results, found: Frontier) -> dict[str, float | None]:
    """Return the savings over the best standard setting, without intervals."""
    rival, alike = found.rival, largest_within(found.shared, found.rival)
    details = [
        _details(study, results, found.prompts, each) for each in (found.shared, found.standards)
    ]
    return {
        "saving_not_told_apart": None if alike is None else 1 - alike.per_image / rival.per_image,
        "saving_at_equal_detail": saving_at_equal_detail(*details),
    }


def _details(
    study: Study, results: Results, prompts: PromptSet, measured: Sequence[Measured]
) -> list[tuple[float, float]]:
    found = [(each.per_image, results.detail(study, prompts, each.setting)) for each in measured]
    return [(cost, distance) for cost, distance in found if distance is not None]


def _cheapest(found: Frontier) -> list[list[str]]:
    standards, shared = found.standards, found.shared
    best = max(each.mean for each in standards)
    rows = []
    for quality in QUALITIES:
        wanted = quality * best
        row = [found.prompts.name, f"{wanted:.3f} ({percent(quality)})"]
        for ladder in ([*standards, *shared], standards):
            able = [each for each in ladder if each.mean >= wanted]
            first = min(able, key=lambda each: (each.per_image, -each.mean))
            row += [label(first.setting), number(first.per_image)]
        rows.append(row)
    return rows


def _figures(study: Study, results: Results, found: Frontier) -> dict[str, object]:
    prompts = found.prompts
    settings = study.standards() + study.sharing(prompts)
    lacking = {label(each): results.lack(study.unit(prompts, each)) for each in settings}
    return {
        "prompts": len(prompts),
        "scored": len(study.sample(prompts)),
        "savings": {name: each and each.to_json() for name, each in found.savings.items()},
        "best_standard": label(found.rival.setting),
        "detail_floor": results.floor(prompts),
        "missing": {name: lack for name, lack in lacking.items() if lack},
        "settings": [
            {
                **each.setting.to_json(),
                "label": label(each.setting),
                "evaluations_per_image": each.per_image,
                "score": estimate_mean(each.scores).to_json(),
                "detail": results.detail(study, prompts, each.setting),
            }
            for each in (*found.standards, *found.shared)
        ],
    }


def _all_rows(figures: dict[str, object]) -> Table:
    rows = [
        [
            name,
            facts["label"],
            number(facts["evaluations_per_image"], 2),
            score(Estimate(**facts["score"])),
            number(facts["detail"], 2),
        ]
        for name, found in figures.items()
        for facts in found["settings"]  # type: ignore[index]
    ]
    columns = ("set", "setting", "evaluations per image", "mean score", "detail (Fréchet)")
    return Table(columns, rows, "Every setting", folded=True)
