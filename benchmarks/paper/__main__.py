"""The command `python -m benchmarks.paper`: the miniature evaluated on the built-in sets."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.machine import ROOT
from benchmarks.paper.carry_out import carry_out
from benchmarks.paper.drawings import drawings_of
from benchmarks.paper.grid import GRIDS, PaperStudy, make_study
from benchmarks.paper.prompt_sets import built_in_sets
from benchmarks.paper.sections import SECTIONS
from flows.cli import exit_code
from flows.commands.evaluate import (
    check_solvers,
    choose_sections,
    names_of,
    report_end,
    report_plan,
)
from flows.commands.options import family_options
from flows.evaluation import Evaluation
from flows.quiet import quiet_libraries
from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.evaluation.prompt_sets import choose_sets
from hierdiff_core.models.recipes import pin_recipe
from tasks.evaluation.crew import Bench, count_workers
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import read_settings

COMMAND = "python -m benchmarks.paper"
OUT, WORK = ROOT / "benchmarks" / "results", ROOT / ".hierdiff" / "evaluation"
_DETAIL = "fresh drawings of the same prompts (to the reference's pictures where there are none)"
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--model", help="folder or hub name of a decoder; HIERDIFF_MODEL unless given")
@family_options
@click.option("--sets", help="some of the sets, such as diverse,tryon")
@click.option("--solvers", help="some of ddpm,ddim,dpmsolver++")
@click.option("--judge", "judges", multiple=True, default=("attributes",), show_default=True,
              help="attributes, clip[:MODEL] or vqascore:MODEL; the first one counts")  # fmt: skip
@click.option("--grid", type=click.Choice(list(GRIDS)), default="default", show_default=True,
              help="how much is measured")  # fmt: skip
@click.option("--only", help=f"some of {', '.join(SECTIONS)}")
@click.option("--sample", type=click.IntRange(min=2), help="prompts of a set that are judged")
@click.option("--workers", type=click.IntRange(min=1), help="processes; chosen unless given")
@click.option("--out", type=_FOLDER, default=OUT, help="where the pages go")
@click.option("--work", type=_FOLDER, default=WORK, help="what is kept of runs")
@click.option("--plots/--no-plots", default=True, help="draw PNGs (needs matplotlib)")
@click.option("--dry-run", is_flag=True, help="tell what is left to measure, and measure nothing")
@click.option("--json", "as_json", is_flag=True, help="machine-readable output")
def paper(
    model: str | None, options: dict[str, str], sets: str | None, solvers: str | None,
    judges: tuple[str, ...], grid: str, only: str | None, sample: int | None, workers: int | None,
    out: Path, work: Path, plots: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Repeat the paper's tables and figures, and tell whether our goals are reached.

    What was measured before is not measured again, so a stopped run goes on where it was.
    """
    quiet_libraries()
    study = _study(grid, names_of(sets), check_solvers(names_of(solvers)), sample)
    names = choose_sections(SECTIONS, names_of(only))
    given = {"model": model, "options": options}
    settings = read_settings(**{name: value for name, value in given.items() if value})
    recipe = pin_recipe(settings.recipe)
    study = replace(study, calibrated=find_calibration(recipe) is not None)
    bench = Bench(recipe, judges, settings.device, WorkFolder(work), carry_out)
    command = shlex.join([*COMMAND.split(), *sys.argv[1:]])
    runner = Evaluation(bench, study, SECTIONS, command, out, plots, as_json, detail=_DETAIL)
    if dry_run:
        return report_plan(runner, names, as_json)
    runner.drawings.update(drawings_of(study, bench, runner.fingerprint))
    runner.run(names, workers or count_workers(bench))
    return report_end(runner, as_json)


def _study(
    grid: str, sets: Sequence[str], solvers: Sequence[str], sample: int | None
) -> PaperStudy:
    chosen = GRIDS[grid]
    if sample is not None:
        chosen = replace(chosen, sample=sample, development_sample=sample, plan_sample=sample)
    return make_study(chosen, choose_sets(built_in_sets(), sets), solvers)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: paper(standalone_mode=False, prog_name=COMMAND)))
