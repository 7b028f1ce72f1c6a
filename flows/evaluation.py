"""An evaluation in progress: embed, then measure section by section, with pages after each.

A run that is stopped leaves pages of what was measured; the next one goes on from there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import Circumstances, Sections
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.unit import Outcome, Trial
from tasks.evaluation.crew import Bench, find_missing, make_all
from tasks.evaluation.machine import describe_machine
from tasks.evaluation.pages import Written, gather, write_pages
from tasks.evaluation.subject import embed_texts
from tasks.evaluation.work_folder import Vectors

_PAGES_EVERY = 180.0  # seconds between two pages of a long section


@dataclass
class Evaluation:
    """One evaluation on its way."""

    bench: Bench
    study: Study
    sections: Sections
    command: str  # that repeats it
    out: Path
    plots: bool
    quiet: bool
    known: dict[Trial, Outcome] = field(default_factory=dict)
    detail: str = "the reference's pictures"  # what pictures are compared with
    drawings: dict[str, Vectors] = field(default_factory=dict)  # or features of others, by set
    distances: dict[tuple[str, Setting], float] = field(default_factory=dict)
    written: Written | None = None
    _pages: float = 0.0  # when they were last written

    def __post_init__(self) -> None:
        first = self.study.sets[0].entries[0].text
        self.fingerprint = self.bench.fingerprint(first)
        jobs = [job for section in self.sections.values() for job in section.jobs(self.study)]
        self.keys = self.bench.keys(jobs, self.fingerprint)

    def missing(self, section: str) -> dict[Trial, str]:
        """Return the section's jobs that have no result yet, with their keys."""
        jobs = self.sections[section].jobs(self.study)
        keys = {job: self.keys[job] for job in jobs}
        return {job: keys[job] for job in find_missing(self.bench.folder, keys)}

    def run(self, names: Sequence[str], workers: int) -> None:
        """Measure the sections one after another, writing pages as they come."""
        console = Console(file=sys.stderr)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
        )
        with Progress(*columns, TimeElapsedColumn(), Remaining(), console=console,
                      disable=self.quiet) as bar:  # fmt: skip
            waiting = {name: self.missing(name) for name in names}
            self._embed(bar, waiting)
            total = {job: None for jobs in waiting.values() for job in jobs}
            task = bar.add_task("measuring", total=sum(job.weight for job in total))
            try:
                for name in names:
                    # A job that an earlier section shares is done by now.
                    jobs = {job: key for job, key in waiting[name].items() if job in total}
                    bar.update(task, description=name)
                    self._section(name, bar, task, jobs, total, workers)
            finally:
                self._write(redrawn=None)
                bar.update(task, description="done")

    def _section(
        self, name: str, bar: Progress, task: TaskID, jobs: dict[Trial, str],
        total: dict[Trial, None], workers: int,
    ) -> None:  # fmt: skip
        for job in make_all(self.bench, jobs, workers):
            total.pop(job, None)
            bar.advance(task, job.weight)
            if time.monotonic() - self._pages > _PAGES_EVERY:
                self._write(redrawn=())
        if jobs:
            self._write(redrawn=(name,))

    def _embed(self, bar: Progress, waiting: dict[str, dict[Trial, str]]) -> None:
        texts = [text for jobs in waiting.values() for job in jobs for text in job.texts]
        if not texts:
            return
        task = bar.add_task("embedding", total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        embed_texts(self.bench.subject, texts, report)
        bar.update(task, total=1, completed=1)

    def _write(self, redrawn: Collection[str] | None) -> None:
        results = gather(self.bench.folder, self.keys, self.known, self.drawings, self.distances)
        recipe = self.bench.recipe
        model = {
            "model": f"{recipe.model} ({recipe.revision}, {recipe.text_revision})",
            **{name: str(value) for name, value in recipe.options.items()},
            "guidance": f"{recipe.guidance:g}",
            "size": f"{recipe.width} x {recipe.height}",
            "seed": str(recipe.seed),
        }
        judges = (*self.bench.judges, f"fingerprint {self.fingerprint}")
        about = Circumstances(self.command, describe_machine(), model, judges, self.detail)

        self.written = write_pages(
            self.out, self.sections, self.study, results, about, self.plots, redrawn
        )
        self._pages = time.monotonic()
