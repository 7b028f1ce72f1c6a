"""The colours of a plan's picture, as one stylesheet for light and dark.

All class names and custom properties begin with `hd`, so that a page around the picture can set
other colours.
"""

from __future__ import annotations

from hierdiff_core.flame.tiles import LEVELS

# From a leaf's own steps to the most widely shared ones; in dark mode, shared steps are brighter.
LIGHT = ("#e8e3da", "#f7dcb9", "#f3c188", "#ea9f58", "#d97b33", "#b7561d", "#873a15")
DARK = ("#33302c", "#4b3a2b", "#6a472a", "#8a5728", "#c27a33", "#e6984b", "#ffbd7c")


def stylesheet() -> str:
    """Return the rules for everything that `draw_plan` draws."""
    # A label's outline has its tile's colour, so that the lines between steps stop beside it.
    fills = "\n".join(
        f".hd-{level} {{ fill: {colour} }} .hd-over-{level} {{ stroke: {colour} }}"
        for level, colour in ((each, f"var(--hd-{each})") for each in range(LEVELS))
    )
    return _RULES.format(light=_variables(LIGHT), dark=_variables(DARK), fills=fills)


def _variables(colours: tuple[str, ...]) -> str:
    return " ".join(f"--hd-{level}: {colour};" for level, colour in enumerate(colours))


_RULES = """
.hd {{
  {light}
  --hd-ink: #1f1b16; --hd-quiet: #6f675c; --hd-line: #fffdfa;
  --hd-on-pale: #3a2a1a; --hd-on-middle: #2b1a0b; --hd-on-deep: #fffaf3;
  max-width: 100%; height: auto;
  font: 12px/1 Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', sans-serif;
}}
@media (prefers-color-scheme: dark) {{ .hd {{
  {dark}
  --hd-ink: #f3eee6; --hd-quiet: #a79e91; --hd-line: #171512;
  --hd-on-pale: #f0e2d1; --hd-on-middle: #231407; --hd-on-deep: #231407;
}} }}
{fills}
.hd text {{ fill: var(--hd-quiet); font-variant-numeric: tabular-nums }}
.hd .hd-heading {{ fill: var(--hd-ink); font-size: 17px; font-weight: 650 }}
.hd .hd-mark {{ font-size: 11px }}
.hd .hd-label {{ text-anchor: middle; pointer-events: none; stroke-width: 4; paint-order: stroke }}
.hd .hd-on-pale {{ fill: var(--hd-on-pale) }}
.hd .hd-on-middle {{ fill: var(--hd-on-middle) }}
.hd .hd-on-deep {{ fill: var(--hd-on-deep) }}
.hd-profile {{ fill: var(--hd-0) }}
.hd-tile:hover rect {{ filter: brightness(1.08) }}
.hd-cells {{
  stroke: var(--hd-line); stroke-opacity: .5; stroke-width: .75; fill: none; pointer-events: none;
}}
"""
