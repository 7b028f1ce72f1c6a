"""The report of a night: one HTML file that needs nothing but itself.

`render_report` is a pure function of its data.
"""

from __future__ import annotations

from markupsafe import Markup

from hierdiff_core.flame.figure import draw_plan
from tasks.losses import loss_text
from tasks.measured import measured_text
from tasks.report.artifacts import subtree_table, summary_markdown
from tasks.report.data import (
    ReportData,
    ReportImage,
    ReportPair,
    ReportSetAside,
    ReportStage,
    ReportSubtree,
)
from tasks.report.gallery import gallery_groups, names, pair_cards, worst_cards
from tasks.report.headline import claim, duration, headline
from tasks.report.template import policy_hash, render, source
from tasks.report.thumbnail import data_uri, small_copy, thumbnail, thumbnail_side

__all__ = [
    "ReportData",
    "ReportImage",
    "ReportPair",
    "ReportSetAside",
    "ReportStage",
    "ReportSubtree",
    "render_report",
    "small_copy",
    "subtree_table",
    "summary_markdown",
    "thumbnail",
    "thumbnail_side",
]

WIDE, NARROW = 1120, 440  # pixels of the two drawings; the page shows the one that fits
STRIP = 72  # leaves up to which finished pictures stand below the plan
STRIP_SIDE = 96  # pixels


def render_report(data: ReportData) -> str:
    """Return the report as one HTML document with all it needs inside.

    Prompts, references and errors are data: they are escaped, and the page's policy allows no
    script but its own, no form and no connection. Works without scripts, in light and dark.
    """
    script = source("report.js")
    return render(
        "report.html.j2",
        data=data,
        claim=claim(data),
        figures=headline(data),
        gallery_groups=gallery_groups(data),
        worst=worst_cards(data),
        lost=loss_text(data.losses),
        pairs=pair_cards(data),
        measured=measured_text(data.measured) if data.measured else "",
        subtrees=subtree_table(data),
        stages=_shares(data),
        wide=Markup(draw_plan(data.plan, width=WIDE, names=names(data), pictures=_strip(data))),
        narrow=Markup(draw_plan(data.plan, width=NARROW, names=names(data))),
        previews={str(each): data_uri(body) for each, body in data.previews.items()},
        parameters=[(key.replace("_", " "), value) for key, value in data.parameters.items()],
        style=source("report.css"),
        script=script,
        script_hash=policy_hash(script),
    )


def _strip(data: ReportData) -> dict[int, str]:
    if data.plan.size > STRIP:
        return {}
    small = {i.leaf: thumbnail(i.thumbnail, STRIP_SIDE) for i in data.made if i.thumbnail}
    return {leaf: data_uri(body) for leaf, body in small.items()}


def _shares(data: ReportData) -> list[dict[str, object]]:
    longest = max((stage.seconds for stage in data.stages), default=0) or 1
    return [
        {
            "name": stage.name,
            "device": stage.device,
            "time": duration(stage.seconds),
            "share": round(100 * stage.seconds / longest, 1),
        }
        for stage in data.stages
    ]
