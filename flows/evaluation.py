"""An evaluation on its way: embed, then section by section, pages after each.

Knows the order of the work and its progress bar. A run that is stopped leaves pages of what was
measured; the next one goes on from there.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.looks import Job
from hierdiff_core.evaluation.page import Circumstances
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.sections import SECTIONS
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.unit import Outcome
from hierdiff_core.models.place import SHIPPED
from tasks.evaluation.crew import Bench, find_missing, make_all, weight
from tasks.evaluation.drawings import drawn_features
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
    out: Path
    plots: bool
    quiet: bool
    known: dict[Job, Outcome] = field(default_factory=dict)
    drawings: dict[str, Vectors] = field(default_factory=dict)
    distances: dict[tuple[str, Setting], float] = field(default_factory=dict)
    written: Written | None = None
    _pages: float = 0.0  # when they were last written

    def __post_init__(self) -> None:
        first = self.study.sets[0].entries[0].text
        self.fingerprint = self.bench.fingerprint(first)
        jobs = [job for section in SECTIONS.values() for job in section.jobs(self.study)]
        self.keys = self.bench.keys(jobs, self.fingerprint)

    def missing(self, section: str) -> dict[Job, str]:
        """Return the section's jobs that have no result yet, with their keys."""
        jobs = SECTIONS[section].jobs(self.study)
        keys = {job: self.keys[job] for job in jobs}
        return {job: keys[job] for job in find_missing(self.bench.folder, keys)}

    def run(self, sections: Sequence[str], workers: int) -> None:
        """Measure the sections one after another, writing pages as they come."""
        console = Console(file=sys.stderr)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
        )
        with Progress(*columns, TimeElapsedColumn(), Remaining(), console=console,
                      disable=self.quiet) as bar:  # fmt: skip
            waiting = {name: self.missing(name) for name in sections}
            self._embed(bar, waiting)
            self._draw(bar)
            total = {job: None for jobs in waiting.values() for job in jobs}
            task = bar.add_task("measuring", total=sum(map(weight, total)))
            try:
                for name in sections:
                    # A job that an earlier section shares is done by now.
                    jobs = {job: key for job, key in waiting[name].items() if job in total}
                    bar.update(task, description=name)
                    self._section(name, bar, task, jobs, total, workers)
            finally:
                self._write(redrawn=None)
                bar.update(task, description="done")

    def _section(
        self, name: str, bar: Progress, task: TaskID, jobs: dict[Job, str], total: dict[Job, None],
        workers: int,
    ) -> None:  # fmt: skip
        for job in make_all(self.bench, jobs, workers):
            total.pop(job, None)
            bar.advance(task, weight(job))
            if time.monotonic() - self._pages > _PAGES_EVERY:
                self._write(redrawn=())
        if jobs:
            self._write(redrawn=(name,))

    def _embed(self, bar: Progress, waiting: dict[str, dict[Job, str]]) -> None:
        texts = [text for jobs in waiting.values() for job in jobs for text in job.texts]
        if not texts:
            return
        task = bar.add_task("embedding", total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        embed_texts(self.bench.subject, texts, self.bench.device, self.bench.folder, report)
        bar.update(task, total=1, completed=1)

    def _draw(self, bar: Progress) -> None:
        task = bar.add_task("drawing", total=len(self.study.sets))
        for prompts in self.study.sets:
            features = self._drawn(prompts)
            if features is not None:
                self.drawings[prompts.name] = features
            bar.advance(task)

    def _drawn(self, prompts: PromptSet) -> Vectors | None:
        # Other models were not trained on these drawings.
        if self.bench.recipe.model not in SHIPPED:
            return None
        entries = [prompts.entries[place] for place in self.study.sample(prompts)]
        return drawn_features(entries, self.bench.panel, self.fingerprint, self.bench.folder)

    def _write(self, redrawn: Collection[str] | None) -> None:
        results = gather(self.bench.folder, self.keys, self.known, self.drawings, self.distances)
        recipe = self.bench.recipe
        model = {
            "decoder": f"{recipe.model} ({recipe.revision})",
            "prior": f"{recipe.prior} ({recipe.prior_revision})",
            "guidance": f"{recipe.guidance:g}",
            "size": f"{recipe.width} x {recipe.height}",
            "seed": str(recipe.seed),
        }
        judges = (*self.bench.judges, f"fingerprint {self.fingerprint}")
        about = Circumstances(_command(), describe_machine(), model, judges)
        self.written = write_pages(self.out, self.study, results, about, self.plots, redrawn)
        self._pages = time.monotonic()


def _command() -> str:
    return shlex.join(["hierdiff", *sys.argv[1:]])
