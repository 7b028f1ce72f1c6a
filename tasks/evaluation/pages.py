"""The pages of an evaluation: JSON, markdown and plots, rewritten whenever more is known."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import (
    Circumstances,
    Sections,
    report_all,
    write_json,
    write_markdown,
)
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.unit import Outcome, Trial
from hierdiff_core.whole_file import write_whole
from tasks.evaluation.work_folder import Vectors, WorkFolder

NAME = "evaluation"


@dataclass(frozen=True)
class Written:
    """Where the pages are."""

    json: Path
    markdown: Path
    pictures: tuple[Path, ...]


def gather(
    folder: WorkFolder,
    keys: Mapping[Trial, str],
    known: dict[Trial, Outcome],
    drawings: Mapping[str, Vectors],
    distances: dict[tuple[str, Setting], float],
) -> Results:
    """Return the results that the work folder holds by now.

    Outcomes are read once and added to `known`; `distances` are kept between pages likewise.
    """
    impossible = {}
    for job, key in keys.items():
        if job in known:
            continue
        outcome = folder.load(key)
        if outcome is not None:
            known[job] = outcome
        elif reason := folder.refusal(key):
            impossible[job] = reason
    return Results(known, drawings, impossible, distances)


def write_pages(
    out: Path,
    sections: Sections,
    study: Study,
    results: Results,
    about: Circumstances,
    plots: bool = True,
    redrawn: Collection[str] | None = None,
) -> Written:
    """Write the pages of the results so far.

    Of the plots those of the sections `redrawn` are drawn, for None all; the page names every plot
    that is there.
    """
    reports = report_all(sections, study, results)
    found = write_json(study, reports, about)
    written = Written(out / f"{NAME}.json", out / f"{NAME}.md", ())
    pictures: list[Path] = []
    for section, each in reports.items() if plots else ():
        for name, draw in each.pictures.items():
            pictures.append(out / NAME / name)
            if redrawn is None or section in redrawn or not pictures[-1].is_file():
                write_whole(pictures[-1], draw())
    write_whole(written.json, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    page = write_markdown(study, reports, about, NAME if plots else "")
    write_whole(written.markdown, page.encode())
    return Written(written.json, written.markdown, tuple(pictures))
