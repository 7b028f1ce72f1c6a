"""The frontier: score and detail against evaluations, and what sharing saves at equal score."""

from __future__ import annotations

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
from hierdiff_core.evaluation.looks import Job
from hierdiff_core.evaluation.prompt_sets import REPORT, PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import label
from hierdiff_core.evaluation.told import Table, Told, number, percent, score, share
from hierdiff_core.evaluation.verdicts import over_best, over_reference

QUALITIES = (0.9, 0.95, 0.98, 1.0)


def jobs(study: Study) -> list[Job]:
    """See Section."""
    return [
        study.unit(prompts, each)
        for prompts in _sets(study)
        for each in study.standards() + study.sharing(prompts) + study.papers_own(prompts)
    ]


def tell(study: Study, results: Results) -> Told:
    """See Section."""
    sentences, rows, cheapest, pictures = [], [], [], {}
    figures: dict[str, object] = {}
    for prompts in _sets(study):
        told = _tell_set(study, results, prompts)
        if told is None:
            sentences.append(f"`{prompts.name}`: the reference run has no figures yet.")
            continue
        said, row, cheap, figures[prompts.name] = told
        sentences += said
        rows.append(row)
        cheapest += cheap
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
    return Told("What quality costs", sentences, tables, pictures, figures)


_CAPTION = (
    "Evaluations saved at equal mean score, with 95 % intervals: (a) over the reference, by "
    "sharing with the reference's solver and K, by any sharing, and by fewer steps alone; (b) by "
    "any sharing over the cheapest standard setting that cannot be told from the best one; not "
    "told apart: by the cheapest sharing whose score cannot be told from that setting's. At equal "
    "detail: over the cheapest standard setting whose distance is within 5 % of the least."
)


def _sets(study: Study) -> list[PromptSet]:
    # Development sets come last: defaults are chosen from them, nothing is claimed of them.
    return [*study.report, *study.development]


def _tell_set(
    study: Study, results: Results, prompts: PromptSet
) -> tuple[list[str], list[str], list[list[str]], dict[str, object]] | None:
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
    rival = best_standard(standards)
    own = results.all_measured(study, prompts, study.papers_own(prompts))
    points = _points(study, results, prompts, shared, standards)
    row = [
        _name(prompts), f"{len(prompts):,}", score(estimate_mean(reference.scores)),
        *(share(savings[each]) for each in ("paper", "sharing", "fewer_steps")),
        f"{label(rival.setting)}: {rival.mean:.3f}", share(savings["over_best"]),
        *map(percent, points.values()),
    ]  # fmt: skip
    said = [
        over_reference(prompts, savings["paper"], reference, next(iter(own), None)),
        over_best(prompts, savings["over_best"], rival, shared),
    ]
    figures = _figures(study, results, prompts, [*standards, *shared], savings, rival)
    return said, row, _cheapest(prompts, standards, shared), figures | points


def _points(
    study: Study,
    results: Results,
    prompts: PromptSet,
    shared: list[Measured],
    standards: list[Measured],
) -> dict[str, float | None]:
    """Return savings over the best standard setting that have no interval."""
    rival = best_standard(standards)
    alike = largest_within(shared, rival)
    details = [_details(study, results, prompts, each) for each in (shared, standards)]
    return {
        "saving_not_told_apart": None if alike is None else 1 - alike.per_image / rival.per_image,
        "saving_at_equal_detail": saving_at_equal_detail(*details),
    }


def _details(
    study: Study, results: Results, prompts: PromptSet, measured: list[Measured]
) -> list[tuple[float, float]]:
    found = [(each.per_image, results.detail(study, prompts, each.setting)) for each in measured]
    return [(cost, distance) for cost, distance in found if distance is not None]


def _name(prompts: PromptSet) -> str:
    return prompts.name if prompts.purpose == REPORT else f"{prompts.name} (development)"


def _cheapest(
    prompts: PromptSet, standards: list[Measured], shared: list[Measured]
) -> list[list[str]]:
    best = max(each.mean for each in standards)
    rows = []
    for quality in QUALITIES:
        wanted = quality * best
        row = [_name(prompts), f"{wanted:.3f} ({percent(quality)})"]
        for family in (standards + shared, standards):
            able = [each for each in family if each.mean >= wanted]
            first = min(able, key=lambda each: (each.per_image, -each.mean))
            row += [label(first.setting), number(first.per_image)]
        rows.append(row)
    return rows


def _figures(
    study: Study,
    results: Results,
    prompts: PromptSet,
    measured: list[Measured],
    savings: dict[str, Estimate | None],
    rival: Measured,
) -> dict[str, object]:
    settings = study.standards() + study.sharing(prompts)
    lacking = {label(each): results.lack(study.unit(prompts, each)) for each in settings}
    return {
        "prompts": len(prompts),
        "purpose": prompts.purpose,
        "scored": len(study.sample(prompts)),
        "savings": {name: each and each.to_json() for name, each in savings.items()},
        "best_standard": label(rival.setting),
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
            for each in measured
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
