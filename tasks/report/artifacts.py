"""A night in Markdown and as a table, for the artifacts of the workflow server.

Prompts and errors are escaped, so that none of their characters counts as Markdown.
"""

from __future__ import annotations

import re

from hierdiff_core.printable import printable
from tasks.losses import loss_text
from tasks.report.data import ReportData, ReportImage, ReportSubtree
from tasks.report.headline import claim, duration, headline

LISTED = 20  # missing pictures, worst ones and kinds of rejected rows that are named
_REASON = 400  # characters of a reason

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$:@-])")


def markdown_text(text: str, length: int = 200) -> str:
    """Return any text as one line of Markdown that shows it literally, cut at `length`."""
    line = printable(" ".join(text.split()))
    line = line if len(line) <= length else line[: length - 1] + "…"
    safe = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", safe)


def summary_markdown(data: ReportData, report_url: str = "") -> str:
    """Return the night as Markdown: headline figures, what is missing, how to go on."""
    title = f"{markdown_text(data.catalogue)} · {data.business_date:%Y\\-%m\\-%d}"
    parts = [f"# {title}", f"**{claim(data)}**"]
    if report_url:
        parts.append(f"[Open the report](<{report_url}>)")
    rows = [f"| {each.label} | {each.value} | {each.note} |" for each in headline(data)]
    parts.append("\n".join(["| | | |", "|---|--:|---|", *rows]))
    parts += _troubles(data)
    parts += _losses(data)
    if data.set_aside:
        lines = [
            f"- row {each.row}, {markdown_text(each.reference)}, failed {each.attempts} times: "
            f"{markdown_text(each.reason)}"
            for each in data.set_aside
        ]
        parts.append(f"## {len(data.set_aside):,} rows were set aside\n\n" + _listed(lines))
    if data.rejected_often:
        lines = [f"- {markdown_text(str(each), _REASON)}" for each in data.rejected_often]
        title = f"## {len(data.rejected_often):,} rows were rejected too often"
        parts.append(f"{title}\n\n{_listed(lines)}")
    if data.flat:
        lines = [f"- {markdown_text(image_name(image))}" for image in data.flat]
        parts.append(f"## {len(data.flat):,} images are of one flat colour\n\n" + _listed(lines))
    if data.rejected:
        lines = [f"- {markdown_text(kind.line(), _REASON)}" for kind in data.rejected_kinds]
        parts.append(f"## {len(data.rejected):,} rows were rejected\n\n" + _listed(lines))
    return "\n\n".join(parts) + "\n"


def _losses(data: ReportData) -> list[str]:
    if not data.worst:
        return []
    lines = [f"- {each.loss:.0%}: {markdown_text(image_name(each))}" for each in data.worst]
    title = (
        f"## Look at these first\n\nThe night is {markdown_text(loss_text(data.losses), _REASON)}."
    )
    return [f"{title}\n\n{_listed(lines)}"]


def _troubles(data: ReportData) -> list[str]:
    if data.complete:
        return []
    lines = [
        f"- {_name(subtree)}, attempt {subtree.attempts}: "
        f"{markdown_text(subtree.error or subtree.state)}"
        for subtree in data.troubled
    ]
    lines += [f"- missing: {markdown_text(image_name(image))}" for image in data.missing]
    heading = f"## {len(data.missing):,} images are missing"
    return [f"{heading}\n\n{_listed(lines)}", f"```\n{data.retry}\n```"]


def image_name(image: ReportImage) -> str:
    """Return the references of an image, or its leaf where it has none."""
    return ", ".join(image.references) or f"leaf {image.leaf}"


def _listed(lines: list[str]) -> str:
    more = [f"- and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return "\n".join(lines[:LISTED] + more)


def subtree_table(data: ReportData) -> list[dict[str, object]]:
    """Return one row for each subtree, for a table artifact."""
    return [
        {
            "subtree": _name(subtree),
            "state": subtree.state,
            "images": subtree.images,
            "planned": subtree.evaluations_planned,
            "done": subtree.evaluations_done,
            "resumed": subtree.evaluations_resumed,
            "attempts": subtree.attempts,
            "time": "" if subtree.seconds is None else duration(subtree.seconds),
            "error": subtree.error,
        }
        for subtree in data.subtrees
    ]


def _name(subtree: ReportSubtree) -> str:
    return "trunk" if subtree.shard == 0 else f"subtree {subtree.shard}"
