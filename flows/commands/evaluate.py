"""The command `evaluate`: what sharing costs and saves on a model, measured.

Knows options and what is told at the end; the work's order is in `flows.evaluation`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from flows.evaluation import Evaluation
from flows.quiet import quiet_libraries
from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.grid import GRIDS, Study, make_study
from hierdiff_core.evaluation.looks import Job
from hierdiff_core.evaluation.prompt_sets import PromptSet, built_in_sets, choose_sets, read_sets
from hierdiff_core.evaluation.sections import SECTIONS
from hierdiff_core.solver import SOLVERS
from tasks.evaluation.crew import Bench, count_workers, weight
from tasks.evaluation.work_folder import WorkFolder
from tasks.plan import pin_recipe
from tasks.settings import read_settings

OUT, WORK = Path("benchmarks/results"), Path(".hierdiff/evaluation")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--model", help="folder or hub name of a decoder; HIERDIFF_MODEL unless given")
@click.option("--prior", help="folder or hub name of a prior; HIERDIFF_PRIOR unless given")
@click.option("--prompts", type=_FILE, help="CSV with a column `prompt` and, if you like, `set`")
@click.option("--sets", help="some of the sets, such as diverse,tryon")
@click.option("--solvers", help="some of ddpm,ddim,dpmsolver++")
@click.option("--judge", "judges", multiple=True, default=("attributes",), show_default=True,
              help="attributes, clip[:MODEL] or vqascore:MODEL; the first one counts")  # fmt: skip
@click.option("--grid", type=click.Choice(list(GRIDS)), default="default", show_default=True,
              help="how much is measured")  # fmt: skip
@click.option("--only", help=f"some of {', '.join(SECTIONS)}")
@click.option("--sample", type=click.IntRange(min=2), help="prompts of a set that are judged")
@click.option("--workers", type=click.IntRange(min=1), help="processes; chosen unless given")
@click.option("--out", type=_FOLDER, default=OUT, show_default=True, help="where the pages go")
@click.option("--work", type=_FOLDER, default=WORK, show_default=True, help="what is kept of runs")
@click.option("--plots/--no-plots", default=True, help="draw PNGs (needs matplotlib)")
@click.option("--dry-run", is_flag=True, help="tell what is left to measure, and measure nothing")
@click.option("--json", "as_json", is_flag=True, help="machine-readable output")
def evaluate(
    model: str | None, prior: str | None, prompts: Path | None, sets: str | None,
    solvers: str | None, judges: tuple[str, ...], grid: str, only: str | None,
    sample: int | None, workers: int | None, out: Path, work: Path, plots: bool,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure what sharing saves on a model, and at what quality.

    Standard and shared runs on the same seeds, scored by the judges; written as JSON, markdown and
    plots. What was measured before is not measured again, so a stopped run goes on where it was.
    """
    quiet_libraries()
    found = read_sets(prompts) if prompts else built_in_sets()
    chosen = choose_sets(found, _names(sets))
    study = _study(grid, chosen, _names(solvers), sample)
    sections = _choose_sections(_names(only))
    given = {"model": model, "prior": prior}
    settings = read_settings(**{name: value for name, value in given.items() if value})
    recipe = pin_recipe(settings.recipe)
    study = replace(study, calibrated=find_calibration(recipe) is not None)
    bench = Bench(recipe, judges, settings.device, WorkFolder(work))
    runner = Evaluation(bench, study, out, plots, as_json)
    if dry_run:
        return _tell_plan(runner, sections, as_json)
    runner.run(sections, workers or count_workers(bench))
    return _tell_end(runner, as_json)


def _names(given: str | None) -> list[str]:
    return [each.strip() for each in given.split(",") if each.strip()] if given else []


def _study(
    grid: str, sets: tuple[PromptSet, ...], solvers: Sequence[str], sample: int | None
) -> Study:
    for solver in solvers:
        if solver not in SOLVERS:
            hint = f"use some of {', '.join(SOLVERS)}"
            raise InvalidSetting(setting="--solvers", value=solver, hint=hint)
    chosen = GRIDS[grid]
    if sample is not None:
        chosen = replace(chosen, sample=sample, development_sample=sample, plan_sample=sample)
    return make_study(chosen, sets, solvers)


def _choose_sections(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in SECTIONS:
            hint = f"use some of {', '.join(SECTIONS)}"
            raise InvalidSetting(setting="--only", value=name, hint=hint)
    return [name for name in SECTIONS if not names or name in names]


def _tell_plan(runner: Evaluation, sections: Sequence[str], as_json: bool) -> int:
    seen: set[Job] = set()
    rows = []
    for name in sections:
        jobs = [job for job in runner.missing(name) if job not in seen]
        seen |= set(jobs)
        rows.append((name, len(jobs), sum(map(weight, jobs))))
    if as_json:
        found = [{"section": name, "jobs": n, "evaluations": cost} for name, n, cost in rows]
        click.echo(json.dumps(found))
        return 0
    for name, count, cost in rows:
        click.echo(f"{name:<12} {count:>5} runs  about {cost:>9,} evaluations")
    click.echo(
        f"{'in all':<12} {len(seen):>5} runs  about {sum(map(weight, seen)):>9,} evaluations"
    )
    return 0


def _tell_end(runner: Evaluation, as_json: bool) -> int:
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
