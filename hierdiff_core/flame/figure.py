"""The picture of a plan: a flame graph as one SVG string.

The caller may pass in names and thumbnails of the leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hierdiff_core.flame.axes import Frame, axes, cells, count, legend, place, profile
from hierdiff_core.flame.palette import stylesheet
from hierdiff_core.flame.tiles import Tile, tiles
from hierdiff_core.markup import xml_text
from hierdiff_core.plan import Plan

NARROWEST = 1.5  # pixels; thinner neighbours are drawn as one
THINNEST = 0.75  # pixels; a single thin tile between wide ones stays visible
NAMED = 4  # leaves that a hover text names


def draw_plan(
    plan: Plan,
    *,
    width: int = 1120,
    names: Mapping[int, str] | None = None,
    pictures: Mapping[int, str] | None = None,
) -> str:
    """Return the plan as an SVG of `width` pixels; prompts along x, steps down y.

    Each tile carries `data-segment`, `data-first`, `data-last`, `data-start`, `data-stop` and a
    hover text. `names` (leaf: name) are used in hover texts; `pictures` (leaf: URI) stand below
    their columns where these are wide enough. Colours follow the reader's light or dark mode.
    """
    names, pictures = names or {}, pictures or {}
    frame = place(plan, width, bool(pictures))
    heading, detail = _heading(plan)
    drawn = list(tiles(plan, NARROWEST / frame.column))
    parts = [
        f'<svg class="hd" xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" '
        f'viewBox="0 0 {width} {frame.height:.0f}" aria-label="{heading}. {detail}.">',
        f"<style>{stylesheet()}</style>",
        f'<text class="hd-heading" x="{frame.left:g}" y="20">{heading}</text>',
        f'<text class="hd-note" x="{frame.left:g}" y="40">{detail}</text>',
        *axes(plan, frame),
        *(_tile(plan, tile, frame, names) for tile in drawn),
        *cells(frame),
        *filter(None, (_label(tile, frame) for tile in drawn)),
        *(profile(plan, frame) if frame.wide else ()),
        *_thumbnails(plan, frame, pictures),
        *legend(plan, frame),
        "</svg>",
    ]
    return "\n".join(parts)


def _heading(plan: Plan) -> tuple[str, str]:
    asked = f"{count(plan.size, 'prompt')} × {count(plan.steps, 'step')}"
    if plan.evaluations == plan.evaluations_standard:
        return count(plan.evaluations, "evaluation"), f"{asked} · nothing is shared"
    heading = f"{plan.evaluations:,} evaluations instead of {plan.evaluations_standard:,}"
    return heading, f"{asked} · {plan.saving:.0%} saved by sharing early steps"


def _tile(plan: Plan, tile: Tile, frame: Frame, names: Mapping[int, str]) -> str:
    x, y = frame.x(tile.first), frame.y(tile.start)
    width, height = frame.x(tile.last) - x, frame.y(tile.stop) - y
    gap = 1.0 if width >= 6 else 0.5 if width >= 3 else 0.0
    rule = 1.0 if height >= 3 else 0.0
    drawn = max(width - gap, THINNEST)
    return (
        f'<g class="hd-tile" data-segment="{tile.segment}" data-first="{tile.first}" '
        f'data-last="{tile.last}" data-start="{tile.start}" data-stop="{tile.stop}">'
        f"<title>{xml_text(describe(plan, tile, names))}</title>"
        f'<rect class="hd-{tile.level}" x="{x:.2f}" y="{y:.2f}" width="{drawn:.2f}" '
        f'height="{height - rule:.2f}"/></g>'
    )


def _label(tile: Tile, frame: Frame) -> str:
    x, y = frame.x((tile.first + tile.last) / 2), frame.y((tile.start + tile.stop) / 2)
    width, height = frame.column * tile.size, frame.row * (tile.stop - tile.start)
    long, short = f"{tile.size:,} share {count(tile.stop - tile.start, 'step')}", f"{tile.size:,}"
    text = long if width >= 7 * len(long) + 12 else short if width >= 7 * len(short) + 6 else ""
    if not text or tile.size == 1 or tile.clusters > 1 or height < 15:
        return ""
    ink = ("pale", "pale", "pale", "pale", "middle", "deep", "deep")[tile.level]
    over = f" hd-over-{tile.level}" if tile.stop > tile.start + 1 else ""
    return f'<text class="hd-label hd-on-{ink}{over}" x="{x:.1f}" y="{y + 4:.1f}">{text}</text>'


def describe(plan: Plan, tile: Tile, names: Mapping[int, str]) -> str:
    """Return the hover text of a tile, up to three lines of plain text."""
    steps = f"Steps {tile.start + 1} to {tile.stop}"
    if tile.stop == tile.start + 1:
        steps = f"Step {tile.stop}"
    if tile.size == 1:
        sharing = "taken for one prompt alone"
    elif tile.clusters == 1:
        sharing = f"shared by {tile.size:,} prompts"
    else:
        sharing = f"{tile.size:,} prompts in up to {tile.clusters:,} clusters"
    paid = count(tile.evaluations, "evaluation")
    if tile.saved:
        paid += f" instead of {tile.evaluations + tile.saved:,}, {tile.saved:,} saved"
    leaves = plan.order[tile.first : tile.last]
    named = [shorten(names[leaf], 40) for leaf in leaves[:NAMED] if leaf in names]
    more = f" and {len(leaves) - len(named):,} more" if named and len(leaves) > len(named) else ""
    return "\n".join(
        line for line in (f"{steps}: {sharing}", paid, ", ".join(named) + more) if line
    )


def shorten(text: str, length: int) -> str:
    """Return text of at most `length` characters, with an ellipsis where it was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _thumbnails(plan: Plan, frame: Frame, pictures: Mapping[int, str]) -> Iterator[str]:
    if not frame.strip:
        return
    side = min(frame.column - 1, 72)
    for at, leaf in enumerate(plan.order):
        if leaf in pictures:
            x = frame.x(at + 0.5) - side / 2
            yield (
                f'<image data-at="{at}" href="{xml_text(pictures[leaf])}" x="{x:.2f}" '
                f'y="{frame.bottom + 3:g}" width="{side:.2f}" height="{side:.2f}"/>'
            )
