"""The setting that `hierdiff tune` chose for a catalogue, and what it was measured on.

It is chosen in `hierdiff_core.evaluation.tune_choice` or `hierdiff_core.calibrated.choice`, and
stored by `tasks.ledger`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.evaluation.setting import STANDARD, Setting
from hierdiff_core.evaluation.tune_words import words
from hierdiff_core.models.families import options_of
from hierdiff_core.plan import CALIBRATED
from hierdiff_core.recipe import Recipe
from hierdiff_core.solvers import SOLVERS
from tasks.errors import DamagedTuning

_KNOWN = {
    "solver": SOLVERS,
    "planner": ("paper", CALIBRATED),
    "linkage": tuple(LINKAGES),
}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "Mapping[str, Any]": Mapping,
}


@dataclass(frozen=True, slots=True)
class Tuned:
    """A chosen setting, what it was measured on, and what came out."""

    solver: str
    steps: int
    planner: str
    linkage: str
    saving: float  # 0: nothing is shared
    measured_on: Mapping[str, Any]  # the rest of the recipe that its quality depends on
    judge: str
    quality: float  # wanted: a share of the best standard setting's score
    score: float  # where told_on is 0: the predicted misfit
    share: float  # of that score, with its 95 % interval
    share_low: float
    share_high: float
    evaluations: float  # per image
    evaluations_best: float  # per image, of the best standard setting
    prompts: int  # of the catalogue
    told_on: int  # of them, those that were judged for the figures; 0: predicted
    tuned_at: str  # ISO 8601

    @property
    def setting(self) -> Setting:
        """The choice as a setting of the evaluation."""
        if not self.saving:
            return Setting(STANDARD, self.solver, self.steps)
        method = CALIBRATED if self.planner == CALIBRATED else self.linkage
        return Setting(method, self.solver, self.steps, saving=self.saving)

    def summary(self) -> str:
        """Return the choice in words: `tuned 2026-11-22: do not share: DDIM, 12 steps`."""
        return f"tuned {self.tuned_at[:10]}: {words(self.setting)}"

    def differs(self, recipe: Recipe) -> str:
        """Return the first difference of a pinned recipe from `measured_on`; empty for none."""
        here = _measured_on(recipe)
        for name in dict.fromkeys((*here, *self.measured_on)):
            then, now = self.measured_on.get(name), here.get(name)
            if then != now:
                return f"{name.replace('_', ' ')} {then}, not {now}"
        return ""

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {**asdict(self), "measured_on": dict(self.measured_on)}


def chosen_fields(setting: Setting, recipe: Recipe) -> dict[str, Any]:
    """Return the part of a record that a setting and the pinned recipe behind it decide."""
    calibrated = setting.method == CALIBRATED
    return {
        "solver": setting.solver,
        "steps": setting.steps,
        "planner": CALIBRATED if calibrated else "paper",
        "linkage": setting.method if setting.shares and not calibrated else "ward",
        "saving": setting.saving or 0.0,
        "measured_on": _measured_on(recipe),
    }


def _measured_on(recipe: Recipe) -> dict[str, Any]:
    names = ("revision", "text_revision", "guidance", "height", "width", "initial_noise")
    options = {
        option.name: recipe.option(option.name)
        for option in options_of(recipe.family)
        # One that a family was given later is in no earlier record.
        if not option.weights
        and not (option.added and recipe.option(option.name) == option.default)
    }
    return {name: getattr(recipe, name) for name in names} | options


def read_tuned(catalogue: str, found: Any) -> Tuned:
    """Return the record that `to_json` wrote; raises DamagedTuning, naming what is wrong."""
    if not isinstance(found, Mapping):
        raise DamagedTuning(catalogue=catalogue, reason="it is not a JSON object")
    given: dict[str, Any] = {}
    for field in fields(Tuned):
        value = found.get(field.name)
        if isinstance(value, bool) or not isinstance(value, _TYPES[str(field.type)]):
            raise DamagedTuning(catalogue=catalogue, reason=f"its {field.name} is {value!r}")
        given[field.name] = value
    tuned = Tuned(**given)
    reason = _fault(tuned)
    if reason:
        raise DamagedTuning(catalogue=catalogue, reason=reason)
    return tuned


def _fault(tuned: Tuned) -> str:
    for name, known in _KNOWN.items():
        if getattr(tuned, name) not in known:
            return f"its {name} is {getattr(tuned, name)!r}"
    if not 0 <= tuned.saving < 1:
        return f"its saving is {tuned.saving!r}"
    try:
        datetime.fromisoformat(tuned.tuned_at)
    except ValueError:
        return f"its tuned_at is {tuned.tuned_at!r}"
    return "" if tuned.steps >= 1 else f"its steps is {tuned.steps!r}"
