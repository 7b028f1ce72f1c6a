"""The page: the reports of all sections, as markdown and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import label
from hierdiff_core.evaluation.unit import Trial


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False  # collapsed until the reader opens it

    def markdown(self) -> str:
        """Return the table as markdown; the first column is text, the others are figures."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, rule, *self.rows]
        text = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        if self.folded:
            summary = f"<summary>{self.caption} ({len(self.rows):,} rows)</summary>"
            return f"<details>{summary}\n\n{text}\n\n</details>"
        return f"{self.caption}\n\n{text}" if self.caption else text


@dataclass(frozen=True)
class SectionReport:
    """One section of the page; its pictures, by file name, are drawn on demand."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    figures: Mapping[str, object] = field(default_factory=dict)


AnyStudy = TypeVar("AnyStudy", bound=Study, contravariant=True)


class Section(Protocol[AnyStudy]):
    """One part of an evaluation: its trials, and the report on them."""

    def jobs(self, study: AnyStudy) -> Sequence[Trial]:
        """Return the trials whose outcomes the section reports on."""
        ...

    def report(self, study: AnyStudy, results: Results) -> SectionReport:
        """Return the report on the outcomes so far; it names what is not measured yet."""
        ...


Sections = Mapping[str, Section[Any]]  # by name, in the order of the page


@dataclass(frozen=True)
class Circumstances:
    """Everything else that the figures depend on."""

    command: str  # repeats them
    machine: Mapping[str, str]
    model: Mapping[str, str]
    judges: tuple[str, ...]
    detail: str  # the pictures that others are compared with


def report_all(sections: Sections, study: Study, results: Results) -> dict[str, SectionReport]:
    """Return the report of every section, by name."""
    return {name: section.report(study, results) for name, section in sections.items()}


def write_markdown(
    study: Study, sections: Mapping[str, SectionReport], about: Circumstances, pictures: str
) -> str:
    """Return the page; `pictures` is the folder of the plots, as links name it (empty: none)."""
    parts = ["# Evaluation", _about(study, about), _sets(study).markdown()]
    for report in sections.values():
        parts.append(f"## {report.title}")
        parts += ["\n".join(f"- {each}" for each in report.sentences)] if report.sentences else []
        if pictures:
            parts += [f"![{report.title}]({pictures}/{name})" for name in report.pictures]
        parts += [table.markdown() for table in report.tables if table.rows]
    return "\n\n".join(parts) + "\n"


def write_json(
    study: Study, sections: Mapping[str, SectionReport], about: Circumstances
) -> dict[str, Any]:
    """Return all reports as JSON values."""
    found: dict[str, Any] = {
        "command": about.command,
        "machine": dict(about.machine),
        "model": dict(about.model),
        "judges": list(about.judges),
        "grid": study.grid.name,
        "solvers": list(study.solvers),
        "sets": {
            each.name: {
                "title": each.title,
                "prompts": len(each),
                "scored": len(study.sample(each)),
                "held_out": sum(bool(entry.held_out) for entry in each.entries),
            }
            for each in study.sets
        },
    }
    for name, report in sections.items():
        found[name] = {"sentences": list(report.sentences), **report.figures}
    return _finite(found)


def _about(study: Study, about: Circumstances) -> str:
    model = ", ".join(f"{name} {value}" for name, value in about.model.items())
    machine = ", ".join(f"{name} {value}" for name, value in about.machine.items())
    return "\n".join(
        [
            "Written by the command below, sentences included; every figure is repeated by it.",
            "",
            f"    {about.command}",
            "",
            f"- Model: {model}.",
            f"- Judged by {', '.join(about.judges)}; score is the first one's, higher is better.",
            f"- Machine: {machine}.",
            f"- Reference: {label(study.reference)} for every prompt alone, as in the paper. The "
            "same seeds everywhere; intervals are 95 %, by bootstrap over prompts.",
            f"- Detail is the Fréchet distance, in the judge's features, to {about.detail}; "
            "compare it inside a set only.",
            "- A sharing run plans its whole set; a random sample of it, half of it held-out "
            "prompts where there are enough, is denoised and judged.",
            "- A failed picture makes its setting incomplete: it is left out and named, and never "
            "counts as a draw.",
        ]
    )


def _sets(study: Study) -> Table:
    rows = [
        [
            each.name,
            each.title,
            f"{len(each):,}",
            f"{len(study.sample(each)):,}",
            f"{sum(bool(entry.held_out) for entry in each.entries):,}",
        ]
        for each in study.sets
    ]
    columns = ("set", "what", "prompts", "judged", "held out")
    return Table(columns, rows, "Prompt sets.")


def _finite(value: Any) -> Any:
    """Return JSON values with null for infinite numbers and NaN."""
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage."""
    if value is None or math.isnan(value):
        return "–"
    return "never" if math.isinf(value) else f"{100 * value:.{digits}f} %"


def share(found: Estimate | None, digits: int = 0) -> str:
    """Return a share with its interval, in per cent."""
    if found is None:
        return "–"
    if math.isinf(found.value):
        return "never"
    low, high = (
        "never" if math.isinf(each) else f"{100 * each:.{digits}f}"
        for each in (found.low, found.high)
    )
    return f"{100 * found.value:.{digits}f} % [{low}, {high}]"


def score(found: Estimate | None) -> str:
    """Return a score with its interval."""
    return "–" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def number(value: float | None, digits: int = 1) -> str:
    """Return a number, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
