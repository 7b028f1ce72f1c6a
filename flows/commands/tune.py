"""The command `tune`: the cheapest setting that holds a wanted quality on a catalogue."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from flows.commands.client import ledger
from flows.commands.options import catalogue_argument, json_option, reading_options
from flows.commands.predict import run_prediction, show_budget, written_text
from flows.commands.progress import progress_bar
from flows.quiet import quiet_libraries
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.tune_choice import Choice, Half, choose
from hierdiff_core.evaluation.tune_grid import TUNE_GRIDS
from hierdiff_core.evaluation.tune_words import line, sentences
from tasks.evaluation.crew import count_workers
from tasks.ledger import forget_tuned, keep_tuned
from tasks.report.expected import expect, time_text
from tasks.settings import Settings
from tasks.stages import Source
from tasks.stores import Stores
from tasks.tuning.pages import figures, record, write_figures, write_plot
from tasks.tuning.predict import open_budget_search
from tasks.tuning.tune import Tuning, Wanted, prepare

OUT = Path("out/tune")
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
# The names of a price's parts are keys of the JSON output, which stay; people read these.
_PARTS = {
    "sharing, at the most": "sharing, at most",
    "telling, at the most": "reporting, at most",
}


@dataclass(frozen=True)
class TuningReport:
    """Where and how a tuning is reported."""

    catalogue: str
    out: Path
    write: bool
    as_json: bool


@click.command()
@catalogue_argument
@click.option("--file", type=_FILE, help="CSV, TSV, JSON, JSONL or TXT; - for standard input")
@click.option("--query", help="SQL for HIERDIFF_SOURCE_URL that returns a column `prompt`")
@reading_options
@click.option("--judge", "judges", multiple=True, default=("attributes",), show_default=True,
              help="attributes, clip[:MODEL] or vqascore:MODEL; the first one counts")  # fmt: skip
@click.option("--quality", default=0.98, show_default=True,
              help="quality to hold: a share of the best standard setting's score")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=8), default=64, show_default=True,
              help="prompts to judge: half to choose on, half to report on")  # fmt: skip
@click.option("--evaluations", type=float,
              help="budget per image: the model's calibration chooses, no judge")  # fmt: skip
@click.option("--solvers", help="only these solvers, such as ddim,dpmsolver++")
@click.option("--grid", type=click.Choice(list(TUNE_GRIDS)), default="default", show_default=True,
              help="how much to try")  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), help="processes; chosen automatically unless given"
)
@click.option("--out", type=_FOLDER, default=OUT, show_default=True, help="folder for the figures")
@click.option(
    "--work", type=_FOLDER, help="folder for results; HIERDIFF_HOME/evaluation unless given"
)
@click.option("--dry-run", is_flag=True, help="show the price, and measure nothing")
@click.option("--yes/--no-write", "write", default=True,
              help="write the choice to the catalogue's settings, or only report it")  # fmt: skip
@click.option(
    "--forget", is_flag=True, help="remove the catalogue's stored choice, and measure nothing"
)
@json_option
def tune(
    catalogue: str, file: Path | None, query: str | None, reading: dict[str, object],
    judges: tuple[str, ...], quality: float, sample: int, evaluations: float | None,
    solvers: str | None, grid: str, workers: int | None, out: Path, work: Path | None,
    dry_run: bool, write: bool, forget: bool, as_json: bool,
) -> int:  # fmt: skip
    """Find the cheapest setting that holds a quality, for the nights of CATALOGUE.

    Runs with and without sharing on a sample of its rows are scored by the judges. The choice is
    written to the catalogue's settings, which its nights use. Nothing is measured twice, so a
    stopped tuning continues where it was. With --evaluations the model's calibration chooses
    instead: nothing is measured, and misfits are predicted.
    """
    quiet_libraries()
    with ledger(**reading) as (stores, settings):
        if forget:
            return _forget(stores, catalogue, as_json)
        names = tuple(each.strip() for each in (solvers or "").split(",") if each.strip())
        source = Source(query, file)
        if evaluations is not None:
            search = open_budget_search(stores, settings, source, evaluations, grid, names)
            if dry_run:
                return show_budget(search, catalogue, as_json)
            return run_prediction(search, catalogue, write, as_json)
        folder = work or settings.home / "evaluation"
        wanted = Wanted(judges, quality, sample, grid, names, folder)
        tuning = prepare(stores, settings, source, wanted)
        if dry_run:
            return _report_price(tuning, settings, as_json)
        choice = _run(tuning, quality, workers or count_workers(tuning.bench), as_json)
        return _report(tuning, choice, TuningReport(catalogue, out, write, as_json))


def _forget(stores: Stores, catalogue: str, as_json: bool) -> int:
    with stores.session() as session:
        gone = forget_tuned(session, catalogue)
    outcome = "forgotten" if gone else "nothing to forget"
    known = {"catalogue": catalogue, "forgotten": gone}
    click.echo(json.dumps(known) if as_json else f"{outcome}; the environment's settings apply")
    return 0


def _run(tuning: Tuning, quality: float, workers: int, as_json: bool) -> Choice:
    with progress_bar(as_json) as report:

        def measure(settings: Sequence[Setting], half: Half) -> Mapping[Setting, Measured]:
            return tuning.measure(settings, half, workers, report)

        return choose(tuning.candidates, quality, measure)


def _report_price(tuning: Tuning, settings: Settings, as_json: bool) -> int:
    """Print the most that a tuning may take; a sharing setting may be given up early."""
    parts = tuning.price()
    evaluations = sum(parts.values())
    recipe = tuning.bench.recipe
    pixels = evaluations * recipe.width * recipe.height
    seconds, cost = expect(tuning.stores, settings, recipe.revision, pixels)
    if as_json:
        found = {"prompts": len(tuning.prompts), "evaluations": evaluations, "parts": parts}
        click.echo(json.dumps(found | {"device_seconds": seconds, "cost": cost}))
        return 0
    for name, count in (*parts.items(), ("total, at most", evaluations)):
        click.echo(f"{_PARTS.get(name, name):<22} {count:>9,} evaluations")
    click.echo(
        f"{'device time':<22} {time_text(seconds)}" + ("" if cost is None else f", {cost:.2f}")
    )
    return 0


def _report(tuning: Tuning, choice: Choice, report: TuningReport) -> int:
    tuned = record(tuning, choice)
    command = shlex.join(["hierdiff", *sys.argv[1:]])
    found = figures(tuning, choice, tuned, report.catalogue, command)
    if report.write:
        with tuning.stores.session() as session:
            keep_tuned(session, report.catalogue, tuned.to_json())
    file = write_figures(report.out, found)
    plot = write_plot(report.out, choice, report.catalogue, len(tuning.prompts))
    if report.as_json:
        files = {"file": str(file), "plot": plot and str(plot), "written": report.write}
        click.echo(json.dumps(found | files))
        return 0
    for sentence in sentences(choice, len(tuning.prompts)):
        click.echo(sentence)
    _show(choice)
    click.echo(f"figures  {file}\nplot     {plot or 'none: matplotlib is not installed'}")
    if report.write:
        click.echo(written_text(report.catalogue))
    return 0


def _show(choice: Choice) -> None:
    """Print the ladder as far as it was climbed, the cheapest first."""
    table = Table("setting", "evaluations", "of the best", "", box=None, pad_edge=False)
    for judged in reversed(choice.climbed):
        table.add_row(*line(judged))
    Console().print(table, markup=False)
