"""Results: the outcomes so far, looked up by trial.

A unit that was not run, or of which a picture failed, has no figures: a failed picture is never
counted as a draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.unit import Outcome, Trial, Unit
from hierdiff_core.judges.frechet import frechet_distance

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Results:
    """Outcomes by trial; features of drawings by the name of their set."""

    outcomes: Mapping[Trial, Outcome]
    drawings: Mapping[str, Features] = field(default_factory=dict)
    impossible: Mapping[Trial, str] = field(default_factory=dict)  # budgets that cannot be met
    distances: dict[tuple[str, Setting], float] = field(default_factory=dict)  # known already

    def whole(self, job: Trial) -> Outcome | None:
        """Return the outcome of a trial where every picture was made and judged."""
        outcome = self.outcomes.get(job)
        return outcome if outcome is not None and not outcome.missing else None

    def lack(self, job: Trial) -> str:
        """Return the reason why a trial has no figures; empty where it has."""
        if job in self.impossible:
            return "not possible"
        found = self.outcomes.get(job)
        if found is None:
            return "not run"
        count = len(found.main)
        return f"incomplete: {found.missing} of {count} failed" if found.missing else ""

    def measured(self, study: Study, prompts: PromptSet, setting: Setting) -> Measured | None:
        """Return cost and scores of a setting on a set's sample, where it is complete."""
        return self.measured_unit(study.unit(prompts, setting))

    def measured_unit(self, unit: Unit) -> Measured | None:
        """Return cost and scores of a unit, where it is complete."""
        found = self.whole(unit)
        return None if found is None else Measured(unit.setting, found.per_image, found.main)

    def all_measured(
        self, study: Study, prompts: PromptSet, settings: list[Setting]
    ) -> list[Measured]:
        """Return those of the settings that are complete."""
        found = [self.measured(study, prompts, each) for each in settings]
        return [each for each in found if each is not None]

    def detail(self, study: Study, prompts: PromptSet, setting: Setting) -> float | None:
        """Return the Frechet distance to drawings of the same prompts, where there are some.

        Without drawings the pictures of the reference run take their place.
        """
        known = self.distances.get((prompts.name, setting))
        if known is not None:
            return known
        found = self.whole(study.unit(prompts, setting))
        target = self._target(study, prompts, setting)
        if found is None or found.features is None or target is None:
            return None
        distance = _distance(found.features, target)
        if distance is not None:
            self.distances[prompts.name, setting] = distance
        return distance

    def floor(self, prompts: PromptSet) -> float | None:
        """Return the distance between two halves of the drawings, a floor for every model."""
        drawn = self.drawings.get(prompts.name)
        return None if drawn is None else _distance(drawn[::2], drawn[1::2])

    def _target(self, study: Study, prompts: PromptSet, setting: Setting) -> Features | None:
        if prompts.name in self.drawings:
            return self.drawings[prompts.name][::2]
        found = self.whole(study.unit(prompts, study.reference))
        return None if found is None or setting == study.reference else found.features


def _distance(ours: Features, theirs: Features) -> float | None:
    # With fewer rows the covariances are poor estimates and the distance is mostly bias.
    few = min(len(ours), len(theirs)) < 50
    return None if few else frechet_distance(ours, theirs)
