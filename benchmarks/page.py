"""The page: every benchmark's figures, goals and tables as Markdown.

Knows outcomes as they lie in JSON files; measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import APART, ORDER
from benchmarks.outcome import Cell, Column, Figure, Outcome, Table
from benchmarks.plots import plot_name

_HEADING = """# Benchmarks

Written by `make bench` (`python -m benchmarks`), from the JSON files beside it. Seconds are
compared only inside one run, side by side with what they are compared to, and only where both
sides were found to do the same work. Figures are medians; brackets hold the least and the
greatest. A figure that misses its goal is reported as it is.
"""


def write_page(results: Path) -> Path:
    """Write README.md from the JSON files of a folder and return it."""
    stored = {name: json.loads(path.read_text()) for name, path in _files(results)}
    page = results / "README.md"
    page.write_text("\n".join(_lines(stored)) + "\n")
    return page


def _files(results: Path) -> Iterator[tuple[str, Path]]:
    for name in (*ORDER, *APART):
        path = results / f"{name}.json"
        if path.exists():
            yield name, path


def _lines(stored: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield _HEADING
    outcomes = {name: Outcome.from_json(each["outcome"]) for name, each in stored.items()}
    yield from _goals(outcomes)
    machines: list[Mapping[str, Any]] = []
    for name, outcome in outcomes.items():
        here = {key: stored[name]["machine"][key] for key in _LASTING}
        if here not in machines:
            machines.append(here)
        yield from _section(name, stored[name], outcome, machines.index(here) + 1)
    yield "## Machines\n"
    for number, machine in enumerate(machines, start=1):
        yield f"{number}. {_machine(machine)}"


def _goals(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    rows = [
        (f"[{name}](#{name})", figure.name, _value(figure), _goal(figure), _verdict(figure))
        for name, outcome in outcomes.items()
        for figure in outcome.figures
        if figure.goal is not None
    ]
    if not rows:
        return
    missed = sum(row[-1] != "hit" for row in rows)
    yield f"## Goals\n\n{len(rows) - missed} of {len(rows)} figures hit their goal.\n"
    yield from _grid(("benchmark", "figure", "value", "goal", ""), rows)


def _section(name: str, stored: Mapping[str, Any], outcome: Outcome, machine: int) -> Iterator[str]:
    yield f"## {name}\n\n{stored['title']}.\n"
    if stored["quick"]:
        yield "**A quick run: it shows that the code runs; its figures mean nothing.**\n"
    if outcome.skipped:
        yield f"Skipped: {outcome.skipped}.\n"
    figures = [(each.name, _value(each), _goal(each), _verdict(each)) for each in outcome.figures]
    if figures:
        yield from _grid(("figure", "value", "goal", ""), figures)
    for table in outcome.tables:
        yield from _table(table)
    for plot in outcome.plots:
        yield f"![{plot.title}]({plot_name(name, plot)})\n"
    for note in outcome.notes:
        yield f"- {note}"
    yield ("\n" if outcome.notes else "") + (
        f"Machine {machine}, {stored['machine']['threads']} threads, commit "
        f"{stored['machine']['commit'] or 'unknown'}, {stored['machine']['date']}, "
        f"{stored['seconds']:.0f} s; [JSON]({name}.json).\n"
    )


_LASTING = ("cpu", "cores", "memory_gib", "system", "gpu", "driver", "python", "versions")


def _machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {each}" for name, each in machine["versions"].items())
    gpu = f"{machine['gpu']}, driver {machine['driver']}" if machine["gpu"] else "no GPU"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {gpu}; "
        f"{machine['system']}; Python {machine['python']}, {versions}"
    )


def _value(figure: Figure) -> str:
    shown = format(figure.value, figure.form) + (f" {figure.unit}" if figure.unit else "")
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} ({figure.low:{figure.form}} to {figure.high:{figure.form}})"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    bounds = ((">=", figure.goal.least), ("<=", figure.goal.most))
    shown = (f"{sign} {bound:{figure.form}}" for sign, bound in bounds if bound is not None)
    return " and ".join(shown) + (f" {figure.unit}" if figure.unit else "")


def _verdict(figure: Figure) -> str:
    return {None: "", True: "hit", False: "**miss**"}[figure.hit]


def _table(table: Table) -> Iterator[str]:
    yield f"**{table.title}**\n"
    rows = [
        [_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    yield from _grid([column.name for column in table.columns], rows)


def _cell(cell: Cell, column: Column) -> str:
    if cell is None:
        return "-"
    return cell if isinstance(cell, str) else format(cell, column.form)


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
