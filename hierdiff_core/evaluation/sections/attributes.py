"""Standard runs on held-out prompts: is each attribute that a prompt names in the picture?"""

from __future__ import annotations

import numpy as np

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import SectionReport, Table, score, share
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label, standard
from hierdiff_core.evaluation.unit import Outcome, Trial, Unit, make_unit

_NO_SET = "no prompt of any set is marked as held out"


def jobs(study: Study) -> list[Trial]:
    """See Section."""
    return [each for _, each in _units(study)]


def report(study: Study, results: Results) -> SectionReport:
    """See Section."""
    title = "Standard runs on held-out prompts"
    found = [(setting, results.outcomes.get(unit)) for setting, unit in _units(study)]
    made = [(setting, outcome) for setting, outcome in found if outcome and not outcome.missing]
    lacking = [results.lack(unit) for _, unit in _units(study)]
    if not made:
        return SectionReport(
            title, [f"Nothing can be said yet ({lacking[0] if lacking else _NO_SET})."]
        )
    named = made[0][1].right
    names = [name for name, values in named.items() if not np.isnan(values).all()]
    rows = [_row(setting, outcome, names) for setting, outcome in made]
    count = len(made[0][1].main)
    caption = f"Share of {count} prompts on which an attribute is right, with 95 % intervals."
    table = Table(("setting", *names, "mean score"), rows, caption)
    figures = {
        label(setting): {
            "right": {name: _right(outcome, name).to_json() for name in names},
            "score": estimate_mean(outcome.main).to_json(),
        }
        for setting, outcome in made
    }
    return SectionReport(
        title, [_least(*made[0], names)] if names else [], [table], figures=figures
    )


def _units(study: Study) -> list[tuple[Setting, Unit]]:
    prompts = next((each for each in study.sets if _held_out(each)), None)
    if prompts is None:
        return []
    places = _held_out(prompts)[: study.grid.held_out]
    fast = standard(
        study.fast, max(study.grid.standards.get(study.fast, (study.grid.paper_steps,)))
    )
    settings = dict.fromkeys([study.reference, fast])
    return [(each, make_unit(prompts.texts, places, each)) for each in settings]


def _held_out(prompts: PromptSet) -> list[int]:
    return [place for place, entry in enumerate(prompts.entries) if entry.held_out]


def _right(outcome: Outcome, name: str) -> Estimate:
    values = outcome.right[name]
    return estimate_mean(values[~np.isnan(values)])


def _row(setting: Setting, outcome: Outcome, names: list[str]) -> list[str]:
    rights = [share(_right(outcome, name)) for name in names]
    return [label(setting), *rights, score(estimate_mean(outcome.main))]


def _least(setting: Setting, outcome: Outcome, names: list[str]) -> str:
    rates = {name: _right(outcome, name).value for name in names}
    name = min(rates, key=rates.__getitem__)
    return f"With {label(setting)}, {name} is right least often: {rates[name]:.0%} of the time."
