"""The sections of the paper's page, one file each, in the order of the page.

Four of them are the product's, with what the paper reports and our goals beside.
"""

from __future__ import annotations

from benchmarks.paper.sections import (
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
    prompt_sets,
    strips,
    table1,
    table2,
)
from hierdiff_core.evaluation.page import Sections

SECTIONS: Sections = {
    "prompt-sets": prompt_sets,
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
