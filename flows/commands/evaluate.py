"""The command `evaluate`: what sharing costs and saves on one's own prompts, measured.

The order of the work is in `flows.evaluation`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from flows.commands.options import family_options, json_option
from flows.evaluation import Evaluation
from flows.quiet import quiet_libraries
from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.grid import GRIDS, Study, make_study
from hierdiff_core.evaluation.page import Sections
from hierdiff_core.evaluation.prompt_sets import PromptSet, choose_sets, read_sets
from hierdiff_core.evaluation.sections import SECTIONS
from hierdiff_core.evaluation.unit import Trial
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.prompt import missing_column
from hierdiff_core.solvers import SOLVERS
from tasks.errors import BadRow, RepeatedColumn
from tasks.evaluation.crew import Bench, count_workers
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import read_settings
from tasks.source.columns import find_column
from tasks.source.file import read_file

OUT, WORK = Path("out/evaluation"), Path(".hierdiff/evaluation")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--model", help="folder or hub name; HIERDIFF_MODEL unless given")
@family_options
@click.option("--prompts", type=_FILE, required=True,
              help="file with a column `prompt` and an optional column `set`")  # fmt: skip
@click.option("--sets", help="only these sets of the file, such as shoes,hats")
@click.option("--solvers", help="only these solvers, such as ddim,dpmsolver++")
@click.option("--judge", "judges", multiple=True, default=("attributes",), show_default=True,
              help="attributes, clip[:MODEL] or vqascore:MODEL; the first one counts")  # fmt: skip
@click.option("--grid", type=click.Choice(list(GRIDS)), default="default", show_default=True,
              help="how much to measure")  # fmt: skip
@click.option("--only", help=f"only these sections: {', '.join(SECTIONS)}")
@click.option("--sample", type=click.IntRange(min=2), help="prompts to judge per set")
@click.option(
    "--workers", type=click.IntRange(min=1), help="processes; chosen automatically unless given"
)
@click.option("--out", type=_FOLDER, default=OUT, show_default=True, help="folder for the pages")
@click.option("--work", type=_FOLDER, default=WORK, show_default=True, help="folder for results")
@click.option("--plots/--no-plots", default=True, help="draw PNGs (needs matplotlib)")
@click.option("--dry-run", is_flag=True, help="show what is left to measure, and measure nothing")
@json_option
def evaluate(
    model: str | None, options: dict[str, str], prompts: Path, sets: str | None,
    solvers: str | None, judges: tuple[str, ...], grid: str, only: str | None,
    sample: int | None, workers: int | None, out: Path, work: Path, plots: bool,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure what sharing saves on your prompts, and at what quality.

    Runs with and without sharing take the same seeds and are scored by the judges; the results are
    written as JSON, Markdown and plots. Nothing is measured twice, so a stopped run continues where
    it was.
    """
    quiet_libraries()
    chosen = choose_sets(read_sets(_rows(prompts), prompts.stem), names_of(sets))
    study = _study(grid, chosen, check_solvers(names_of(solvers)), sample)
    names = choose_sections(SECTIONS, names_of(only))
    given = {"model": model, "options": options}
    settings = read_settings(**{name: value for name, value in given.items() if value})
    recipe = pin_recipe(settings.recipe)
    study = replace(study, calibrated=find_calibration(recipe) is not None)
    bench = Bench(recipe, judges, settings.device, WorkFolder(work))
    command = shlex.join(["hierdiff", *sys.argv[1:]])
    runner = Evaluation(bench, study, SECTIONS, command, out, plots, as_json)
    if dry_run:
        return report_plan(runner, names, as_json)
    runner.run(names, workers or count_workers(bench))
    return report_end(runner, as_json)


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield the rows of a file; raises BadRow, since what is measured leaves out none of them."""
    for row in read_file(file):
        if row.fault:
            raise BadRow(row=row.number, reason=row.fault)
        found = {ours: find_column(ours, row.columns) for ours in ("prompt", "set", "held_out")}
        for ours, theirs in found.items():
            if theirs in row.repeated:
                raise RepeatedColumn(column=ours, names=theirs)
        if found["prompt"] is None:
            raise missing_column("prompt", row.columns)
        yield row.number, {ours: row.columns[theirs] for ours, theirs in found.items() if theirs}


def names_of(given: str | None) -> list[str]:
    """Return the names of an option such as `a,b`."""
    return [each.strip() for each in given.split(",") if each.strip()] if given else []


def _study(
    grid: str, sets: tuple[PromptSet, ...], solvers: Sequence[str], sample: int | None
) -> Study:
    chosen = GRIDS[grid]
    if sample is not None:
        chosen = replace(chosen, sample=sample, plan_sample=sample)
    return make_study(chosen, sets, solvers)


def check_solvers(names: Sequence[str]) -> Sequence[str]:
    """Return the names; raises InvalidSetting for one that no solver has."""
    for name in names:
        if name not in SOLVERS:
            hint = f"choose from {', '.join(SOLVERS)}"
            raise InvalidSetting(setting="--solvers", value=name, hint=hint)
    return names


def choose_sections(sections: Sections, names: Sequence[str]) -> list[str]:
    """Return the names of the sections in their order, all for none; raises InvalidSetting."""
    for name in names:
        if name not in sections:
            hint = f"choose from {', '.join(sections)}"
            raise InvalidSetting(setting="--only", value=name, hint=hint)
    return [name for name in sections if not names or name in names]


def report_plan(runner: Evaluation, sections: Sequence[str], as_json: bool) -> int:
    """Print what is left to measure, by section; a trial that two of them need counts once."""
    seen: set[Trial] = set()
    rows = []
    for name in sections:
        jobs = [job for job in runner.missing(name) if job not in seen]
        seen |= set(jobs)
        rows.append((name, len(jobs), sum(job.weight for job in jobs)))
    if as_json:
        found = [{"section": name, "jobs": n, "evaluations": cost} for name, n, cost in rows]
        click.echo(json.dumps(found))
        return 0
    total = sum(job.weight for job in seen)
    for name, count, cost in rows:
        click.echo(f"{name:<12} {count:>5} runs  about {cost:>9,} evaluations")
    click.echo(f"{'total':<12} {len(seen):>5} runs  about {total:>9,} evaluations")
    return 0


def report_end(runner: Evaluation, as_json: bool) -> int:
    """Print where the pages are; return 1 where pictures failed, else 0."""
    failed = [job for job, outcome in runner.known.items() if outcome.missing]
    written = runner.written
    if written is None:
        return 1
    if as_json:
        found = {
            "json": str(written.json),
            "markdown": str(written.markdown),
            "plots": [str(each) for each in written.pictures],
            "incomplete": len(failed),
        }
        click.echo(json.dumps(found))
    else:
        click.echo(f"page     {written.markdown}\nfigures  {written.json}")
    if failed:
        click.echo(f"hierdiff: {len(failed)} runs are incomplete; the page names them, and the "
                   "same command tries them again", err=True)  # fmt: skip
    return 1 if failed else 0
