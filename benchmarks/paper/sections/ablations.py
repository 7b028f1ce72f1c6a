"""Ablations on development sets: linkage, phi, initial noise and tau, for the defaults."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.sections.table1 import win_rate
from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import PAPER_METHOD
from hierdiff_core.evaluation.page import SectionReport, Table, number, percent, score, share
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label, standard
from hierdiff_core.evaluation.unit import Trial

OUR_METHOD, OUR_SOLVER = "average", "ddim"  # the package's defaults, chosen from the first table


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    found: list[Trial] = []
    for prompts in study.development:
        for base in _bases(study):
            settings = [base, *_variants(study, base).values()]
            found += [study.unit(prompts, each) for each in settings]
        found += [study.unit(prompts, each) for each in [_alone(study), *_budgets(study)]]
    return found


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    rows, figures = [], dict[str, object]()
    for prompts in study.development:
        for base in _bases(study):
            ours = results.measured(study, prompts, base)
            if ours is None:
                continue
            told = [_row(study, results, prompts, name, each, ours)
                    for name, each in _variants(study, base).items()]  # fmt: skip
            mean = estimate_mean(ours.scores)
            head = [prompts.name, label(base), number(ours.per_image, 2)]
            rows.append([*head, score(mean), "–", "–"])
            rows += [row for row, _ in told]
            figures[f"{prompts.name}: {label(base)}"] = {
                "score": mean.to_json(), "variants": [facts for _, facts in told],
            }  # fmt: skip
    caption = (
        f"Each variant beside {PAPER_METHOD} with a straight phi and one initial noise for each "
        "root, at the same saving: mean score, paired difference with its 95 % interval, win %."
    )
    columns = ("set", "setting", "evaluations per image", "mean score", "difference", "win %")
    said = [] if rows else ["Not measured yet, or no development set was chosen."]
    if rows:
        said = _advice(figures)
    tables = [Table(columns, rows, caption), *_tell_budgets(study, results, figures)]
    return SectionReport("Ablations", said, tables, figures=figures)


def _tell_budgets(study: PaperStudy, results: Results, figures: dict[str, object]) -> list[Table]:
    """Return what the default method's taus cost and lose, from which the default is chosen."""
    rows = []
    for prompts in study.development:
        alone = results.measured(study, prompts, _alone(study))
        if alone is None:
            continue
        for ours in results.all_measured(study, prompts, _budgets(study)):
            gap = estimate_mean(ours.scores - alone.scores)
            rows.append([prompts.name, f"{ours.setting.tau:g}", number(ours.per_image, 2),
                         percent(1 - ours.per_image / alone.per_image),
                         score(estimate_mean(ours.scores)), _signed(gap)])  # fmt: skip
            figures[f"{prompts.name}: {label(ours.setting)}"] = {"difference": gap.to_json()}
    columns = ("set", "tau", "evaluations per image", "saving", "mean score", "difference")
    caption = (
        f"{OUR_METHOD} linkage under {label(_alone(study))} at several tau, beside the same steps "
        "alone: mean score, paired difference with its 95 % interval."
    )
    return [Table(columns, rows, caption)] if rows else []


def _alone(study: PaperStudy) -> Setting:
    return standard(OUR_SOLVER, study.most_fast_steps(OUR_SOLVER))


def _budgets(study: PaperStudy) -> list[Setting]:
    steps = study.most_fast_steps(OUR_SOLVER)
    return [Setting(OUR_METHOD, OUR_SOLVER, steps, tau=each) for each in study.grid.taus
            if each <= 1]  # fmt: skip


def _bases(study: PaperStudy) -> list[Setting]:
    """Return two savings in the middle, under the paper's solver and those of few steps."""
    grid = study.grid
    paper = [Setting(PAPER_METHOD, study.paper_solver, grid.paper_steps, saving=each)
             for each in _middle(grid.paper_savings)]  # fmt: skip
    solvers = [each for each in study.solvers if each in grid.fast_steps] or [study.fast]
    fast = [Setting(PAPER_METHOD, solver, study.most_fast_steps(solver), saving=each)
            for solver in solvers for each in _middle(grid.fast_savings)]  # fmt: skip
    return list(dict.fromkeys([*paper, *fast]))


def _middle(savings: tuple[float, ...]) -> tuple[float, ...]:
    at = len(savings) // 2
    return savings[at - 1 : at + 1] if len(savings) > 1 else savings


def _variants(study: PaperStudy, base: Setting) -> dict[str, Setting]:
    linkages = {f"linkage: {each}": replace(base, method=each) for each in study.grid.linkages}
    others = {
        "phi: logarithmic": replace(base, method="ward-log"),
        "noise: one for all roots": replace(base, initial_noise="shared"),
    }
    return {name: each for name, each in (linkages | others).items() if each != base}


def _row(
    study: PaperStudy,
    results: Results,
    prompts: PromptSet,
    name: str,
    variant: Setting,
    base: Measured,
) -> tuple[list[str], dict[str, object]]:
    unit = study.unit(prompts, variant)
    found = results.measured_unit(unit)
    if found is None:
        lack = results.lack(unit)
        return [prompts.name, f"– {name}", lack, "–", "–", "–"], {"name": name, "lack": lack}
    gap = estimate_mean(found.scores - base.scores)
    wins, _ = win_rate(found.scores, base.scores)
    row = [prompts.name, f"– {name}", number(found.per_image, 2),
           score(estimate_mean(found.scores)), _signed(gap), share(wins)]  # fmt: skip
    return row, {"name": name, "difference": gap.to_json(), "win": wins.to_json()}


def _signed(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _advice(figures: dict[str, object]) -> list[str]:
    """Say of each variant how often it is better or worse beyond its interval."""
    counted: dict[str, list[int]] = {}
    for found in figures.values():
        for facts in found["variants"]:  # type: ignore[index]
            if "difference" in facts:
                better, worse, all_ = counted.setdefault(facts["name"], [0, 0, 0])
                gap = facts["difference"]
                counted[facts["name"]] = [
                    better + (gap["low"] > 0), worse + (gap["high"] < 0), all_ + 1
                ]  # fmt: skip
    return [
        f"{name}: better beyond its interval in {better} of {all_} comparisons, worse in {worse}."
        for name, (better, worse, all_) in counted.items()
    ]
