"""What `tune` with --evaluations tells: the settings by predicted misfit, and the choice.

Knows tables and sentences; knows nothing of how a misfit is predicted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from flows.commands.progress import shown
from hierdiff_core.calibrated.choice import Foreseen
from hierdiff_core.evaluation.setting import label, standard
from hierdiff_core.evaluation.tune_words import words
from tasks.ledger import keep_tuned
from tasks.tuning.predict import Outlook, record_foreseen, setting_of

SAID = "predicted, not measured: no picture was made and no judge asked"


def foretell(outlook: Outlook, catalogue: str, write: bool, as_json: bool) -> int:
    """Choose by predicted misfit, tell it, and write it into the catalogue's settings."""
    with shown(as_json) as report:
        found = outlook.look(report)
    tuned = record_foreseen(outlook.rows, found[0])
    if write:
        with outlook.stores.session() as session:
            keep_tuned(session, catalogue, tuned.to_json())
    if as_json:
        facts = _facts(outlook, catalogue) | {"foreseen": list(map(_row, found))}
        facts |= {"chosen": tuned.to_json(), "sentences": [words(tuned.setting), SAID]}
        click.echo(json.dumps(facts | {"written": write}))
        return 0
    click.echo(f"{words(tuned.setting)}\n{SAID}")
    _show(found)
    if write:
        click.echo(say_written(catalogue))
    return 0


def tell_outlook(outlook: Outlook, catalogue: str, as_json: bool) -> int:
    """Tell what a choice would weigh and take; nothing is embedded."""
    absent = outlook.unembedded()
    if as_json:
        tried = [label(standard(*each)) for each in outlook.ways]
        price = {"evaluations": 0, "embeddings": absent, "settings": tried}
        click.echo(json.dumps(_facts(outlook, catalogue) | price))
        return 0
    for name, count in (("settings", len(outlook.ways)), ("embeddings to make", absent)):
        click.echo(f"{name:<22} {count:>9,}")
    click.echo(f"{'in all':<22} {0:>9,} evaluations")
    return 0


def say_written(catalogue: str) -> str:
    """Return what becomes of a choice that was written."""
    kept = f"written into the settings of catalogue {catalogue!r}; its nights are planned by that"
    return f"{kept}, until `hierdiff tune` with --forget"


def _facts(outlook: Outlook, catalogue: str) -> dict[str, object]:
    return {
        "catalogue": catalogue,
        "recipe": outlook.rows.recipe.to_json(),
        "prompts": len(outlook.rows.prompts),
        "rows_with_recipes_of_their_own": outlook.rows.left_out,
        "evaluations_asked": outlook.evaluations,
    }


def _row(foreseen: Foreseen) -> dict[str, object]:
    setting = setting_of(foreseen)
    return {
        "setting": setting.to_json(),
        "words": words(setting),
        "evaluations_per_image": foreseen.evaluations,
        "predicted_misfit": foreseen.misfit,
    }


def _show(found: Sequence[Foreseen]) -> None:
    said = {words(setting_of(each)): each for each in found}
    width = max(map(len, said))  # so that a line stays one, in a log too
    click.echo(f"{'setting':<{width}}  evaluations  predicted misfit")
    for setting, each in said.items():
        click.echo(f"{setting:<{width}}  {each.evaluations:11.2f}  {each.misfit:16.2f}")
