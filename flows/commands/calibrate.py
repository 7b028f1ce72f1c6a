"""The command `calibrate`: measure once which steps a model lets prompts share."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.commands.options import family_options, json_option, reading_options
from flows.quiet import quiet_libraries
from hierdiff_core.calibrated.readings import Design
from hierdiff_core.models.recipes import pin_recipe
from tasks.settings import read_settings
from tasks.tuning.calibrate import Calibrated
from tasks.tuning.calibrate import calibrate as measure

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("model", required=False)
@family_options
@click.option("--file", type=_FILE, help="a file of rows: a sample of the model's prompts")
@reading_options
@click.option("--solver", help="HIERDIFF_SOLVER unless given")
@click.option("--guidance", type=float, help="HIERDIFF_GUIDANCE unless given")
@click.option("--height", type=int, help="pixels; HIERDIFF_HEIGHT unless given")
@click.option("--width", type=int, help="pixels; HIERDIFF_WIDTH unless given")
@click.option("--levels", default=8, show_default=True, help="steps of a measuring run (K)")
@click.option("--evaluations", default=4000, show_default=True, help="to spend, at most")
@click.option(
    "--picture-encoder",
    help="what compares pictures, where a model's prompts and pictures share no space: "
    "clip:FOLDER_OR_NAME, siglip:FOLDER_OR_NAME or attributes",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="file to write; beside the model unless given"
)
@json_option
def calibrate(
    file: Path | None,
    levels: int,
    evaluations: int,
    picture_encoder: str | None,
    out: Path | None,
    as_json: bool,
    reading: dict[str, object],
    **given: object,
) -> None:
    """Measure which steps a model lets prompts share; a stopped run continues where it was."""
    quiet_libraries()
    asked = {name: each for name, each in given.items() if each is not None}
    settings = read_settings(**reading, **asked)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=as_json) as bar:
        task = bar.add_task("loading", total=None)
        made = measure(
            settings,
            pin_recipe(settings.recipe),
            file=file,
            evaluations=evaluations,
            design=Design(steps=levels),
            out=out,
            picture_encoder=picture_encoder,
            report=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
    facts = dict(made.calibration.facts)
    click.echo(json.dumps({"file": str(made.path)} | facts) if as_json else _summary(made))


def _summary(made: Calibrated) -> str:
    """Return the fit of a calibration as a few lines, one for each fork."""
    facts, calibration = made.calibration.facts, made.calibration
    lines = [
        f"{facts['prompts']} prompts, {facts['evaluations']:,} evaluations, "
        f"model {facts['revision']}",
        "noise level  settled   explained (R2)   ranking (Spearman), both on held-out prompts",
    ]
    rows = zip(calibration.levels[1:], facts["shares"], facts["r2"], facts["spearman"], strict=True)
    for sigma, share, r2, rank in rows:
        lines.append(f"{sigma:11.3f}   {100 * share:5.1f} %   {r2:14.3f}   {rank:.3f}")
    if "explained" in facts:
        share = f"{facts['explained']:.0%}"
        lines.append(f"prompts' vectors explain {share} of how held-out prompts' pictures differ")
    return "\n".join([*lines, f"written to {made.path}"])
