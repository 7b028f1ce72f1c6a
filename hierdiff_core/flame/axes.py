"""The surroundings of a plan's tiles: frame, steps, profile and legend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hierdiff_core.flame.tiles import rows_at_each_step, top_level, widest_sharing
from hierdiff_core.plan import Plan


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the tiles lie on the page, in pixels."""

    width: float  # of the whole figure
    left: float
    top: float
    right: float  # of the tiles' area
    bottom: float
    columns: int  # N
    rows: int  # K
    strip: float  # height of the row of thumbnails, 0 without

    def x(self, leaf: float) -> float:
        """Return the left edge of the leaf at this position of the order."""
        return self.left + (self.right - self.left) * leaf / self.columns

    def y(self, step: float) -> float:
        """Return the top edge of a step."""
        return self.top + (self.bottom - self.top) * step / self.rows

    @property
    def column(self) -> float:
        """Width of one leaf."""
        return (self.right - self.left) / self.columns

    @property
    def row(self) -> float:
        """Height of one step."""
        return (self.bottom - self.top) / self.rows

    @property
    def height(self) -> float:
        """Height of the whole figure."""
        return self.bottom + self.strip + (34 if self.wide else 52)

    @property
    def wide(self) -> bool:
        """Whether there is room for the profile and a legend beside the axis label."""
        return self.width >= 680


def place(plan: Plan, width: int, pictures: bool) -> Frame:
    """Return the frame of a plan on a page of `width` pixels, with room for pictures below."""
    left, right = (48.0, width - 84.0) if width >= 680 else (34.0, width - 6.0)
    column = (right - left) / plan.size
    return Frame(
        width=width,
        left=left,
        top=58,
        right=right,
        bottom=58 + min(480, max(300, 12 * plan.steps)),
        columns=plan.size,
        rows=plan.steps,
        strip=min(column, 72) + 6 if pictures and column >= 14 else 0,
    )


def axes(plan: Plan, frame: Frame) -> Iterator[str]:
    """Yield the step numbers and the labels of the axes."""
    strides = (each for each in (1, 5, 10, 20, 50, 100, 200, 500) if each * frame.row >= 18)
    stride = next(strides, 1000)
    marks = {1, plan.steps} | set(range(stride, plan.steps - stride // 2, stride))
    marks -= set(range(2, 1 + stride // 2 + 1))
    for step in sorted(marks):
        yield (
            f'<text class="hd-mark" x="{frame.left - 8:g}" y="{frame.y(step - 0.5) + 4:.1f}" '
            f'text-anchor="end">{step}</text>'
        )
    middle = (frame.top + frame.bottom) / 2
    if frame.wide:
        yield (
            f'<text class="hd-note" transform="translate(13 {middle:g}) rotate(-90)" '
            'text-anchor="middle">denoising step</text>'
        )
    side = "similar ones side by side" if plan.size > 1 else "nothing to share with"
    yield (
        f'<text class="hd-note" x="{frame.left:g}" y="{frame.bottom + frame.strip + 22:g}">'
        f"{count(plan.size, 'prompt')}, {side}</text>"
    )


def cells(frame: Frame) -> Iterator[str]:
    """Yield hairlines between steps, so that evaluations can be counted."""
    if frame.row < 5:
        return
    lines = "".join(
        f"M{frame.left:g} {frame.y(step) - 0.5:.2f}H{frame.right:g}"
        for step in range(1, frame.rows)
    )
    yield f'<path class="hd-cells" d="{lines}"/>'


def profile(plan: Plan, frame: Frame) -> Iterator[str]:
    """Yield the silhouette at the right: rows denoised at each step."""
    rows = rows_at_each_step(plan.segments, plan.steps)
    left, room = frame.right + 14, frame.width - frame.right - 50
    outline = "".join(
        f"V{frame.y(step):.1f}H{left + room * row / plan.size:.1f}" for step, row in enumerate(rows)
    )
    yield (
        f'<path class="hd-profile" d="M{left:g} {frame.top:g}{outline}V{frame.bottom:g}H{left:g}Z">'
        "<title>Evaluations at each step</title></path>"
    )
    for step, row in ((0, rows[0]), (plan.steps - 1, rows[-1])):
        x = left + room * row / plan.size + 5
        yield (
            f'<text class="hd-mark" x="{x:.1f}" y="{frame.y(step + 0.5) + 4:.1f}">{row:,}</text>'
        )
    yield f'<text class="hd-mark" x="{left:g}" y="{frame.top - 8:g}">per step</text>'


def legend(plan: Plan, frame: Frame) -> Iterator[str]:
    """Yield the colours from own steps to the widest sharing."""
    widest = widest_sharing(plan)
    if widest == 1:
        return
    x = frame.right - 160 - 14 * top_level(widest) if frame.wide else frame.left
    y = frame.bottom + frame.strip + (22 if frame.wide else 42)
    yield f'<text class="hd-note" x="{x:g}" y="{y:g}">own steps</text>'
    for level in range(top_level(widest) + 1):
        at = x + 66 + 14 * level + (4 if level else 0)
        yield f'<rect class="hd-{level}" x="{at:g}" y="{y - 9:g}" width="13" height="10"/>'
    yield f'<text class="hd-note" x="{at + 22:g}" y="{y:g}">shared by {widest:,}</text>'


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where needed."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
