"""The sections of an evaluation's page, one file each, in the order of the page."""

from __future__ import annotations

from hierdiff_core.evaluation.page import Sections
from hierdiff_core.evaluation.sections import attributes, diversity, frontier, plans

SECTIONS: Sections = {
    "attributes": attributes,
    "frontier": frontier,
    "plans": plans,
    "diversity": diversity,
}
