"""The sections of the evaluation's page, one file each, in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping

from hierdiff_core.evaluation.sections import (
    ablations,
    attributes,
    diversity,
    emergence,
    families,
    figure5,
    frontier,
    growth,
    plan_growth,
    plans,
    strips,
    table1,
    table2,
)
from hierdiff_core.evaluation.told import Section

SECTIONS: Mapping[str, Section] = {
    "attributes": attributes,
    "frontier": frontier,
    "table1": table1,
    "table2": table2,
    "figure5": figure5,
    "emergence": emergence,
    "growth": growth,
    "plans": plans,
    "plan-growth": plan_growth,
    "ablations": ablations,
    "diversity": diversity,
    "strips": strips,
    "families": families,
}
