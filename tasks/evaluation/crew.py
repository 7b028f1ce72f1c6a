"""The crew: processes that carry out jobs and put their outcomes into the work folder."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hierdiff_core.calibrated.calibration_file import calibration_digest
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.unit import Outcome, Trial, Unit
from hierdiff_core.models.device import choose_device
from hierdiff_core.models.folder import SHIPPED
from hierdiff_core.plan import CALIBRATED
from hierdiff_core.recipe import Recipe
from tasks.evaluation.carry_out import Report, carry_out
from tasks.evaluation.panel import Panel, load_panel
from tasks.evaluation.subject import Subject, context, load_subject, text_model
from tasks.evaluation.work_folder import WorkFolder

CarryOut = Callable[[Any, Subject, Panel, Report], Outcome]  # a job comes first


@dataclass(frozen=True)
class Bench:
    """All that a process needs to carry out jobs; loaded when it is first asked for."""

    recipe: Recipe  # pinned
    judges: tuple[str, ...]
    device: str
    folder: WorkFolder
    carry_out: CarryOut = carry_out  # every process finds it by its module

    @cached_property
    def subject(self) -> Subject:
        """The model and the embeddings that are known."""
        return load_subject(self.recipe, self.device, self.folder)

    @cached_property
    def panel(self) -> Panel:
        """The judges."""
        return load_panel(self.judges, text_model(self.recipe), self.device)

    def fingerprint(self, prompt: str) -> str:
        """Return a digest that distinguishes the panel from others."""
        return self.panel.fingerprint(prompt, (self.recipe.height, self.recipe.width))

    def keys(self, jobs: Sequence[Trial], fingerprint: str) -> dict[Trial, str]:
        """Return each job's content key."""
        facts = context(self.recipe, fingerprint)
        # Another calibration makes other plans, but of its own method alone.
        calibrated = [*facts, *calibration_digest(self.recipe)]
        return {
            job: job.key(calibrated if _by_calibration(job) else facts)
            for job in dict.fromkeys(jobs)
        }


def _by_calibration(job: Trial) -> bool:
    return isinstance(job, Unit) and job.setting.method == CALIBRATED


def find_missing(folder: WorkFolder, keys: dict[Trial, str]) -> list[Trial]:
    """Return the jobs without a result; one of which pictures failed is tried again."""
    return [job for job, key in keys.items() if folder.refusal(key) is None and _lacks(folder, key)]


def make_one(bench: Bench, job: Trial, key: str, report: Report = lambda _: None) -> str:
    """Carry out one job and keep its outcome, or the reason why there can be none."""
    try:
        outcome = bench.carry_out(job, bench.subject, bench.panel, report)
    except InvalidSetting as error:
        if error.facts.get("setting") not in ("saving", "steps_per_image", "steps"):
            raise
        bench.folder.refuse(key, str(error))
        return key
    bench.folder.save(key, outcome)
    return key


def make_all(bench: Bench, jobs: dict[Trial, str], workers: int) -> Iterator[Trial]:
    """Yield each job when it is done; one worker is this process."""
    if workers <= 1 or len(jobs) <= 1:
        for job, key in jobs.items():
            make_one(bench, job, key)
            yield job
        return
    # A forked process would inherit torch's locks in any state; a spawned one gets the bench's
    # fields alone and loads its own networks.
    bare = (replace(bench),)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, bare)
    try:
        waiting: dict[Future[str], Trial] = {
            pool.submit(_work, job, key): job for job, key in jobs.items()
        }
        for done in as_completed(waiting):
            done.result()
            yield waiting[done]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def count_workers(bench: Bench) -> int:
    """Return a process for each core where the model is small, one for a GPU or a large model."""
    small = bench.recipe.model in SHIPPED and choose_device(bench.device).type == "cpu"
    return min(4, os.cpu_count() or 1) if small else 1


_bench: list[Bench] = []  # of a worker process


def _begin(bench: Bench) -> None:
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _bench[:] = [bench]


def _end_with_parent() -> None:
    # A parent that is killed cannot stop its pool, whose processes would work on for hours.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Trial, key: str) -> str:
    return make_one(_bench[0], job, key)


def _lacks(folder: WorkFolder, key: str) -> bool:
    found = folder.load(key)
    return found is None or found.missing > 0
