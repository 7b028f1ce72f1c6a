"""The sections of an evaluation's page, one file each, in the order of the page."""

from __future__ import annotations

from hierdiff_core.evaluation.sections import attributes, diversity, frontier, plans
from hierdiff_core.evaluation.told import Sections

SECTIONS: Sections = {
    "attributes": attributes,
    "frontier": frontier,
    "plans": plans,
    "diversity": diversity,
}
