"""The output of `tune` with --evaluations: settings by predicted misfit, and the choice."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from flows.commands.progress import progress_bar
from hierdiff_core.calibrated.choice import Prediction
from hierdiff_core.evaluation.setting import label, standard
from hierdiff_core.evaluation.tune_words import words
from tasks.ledger import keep_tuned
from tasks.tuning.predict import BudgetSearch, record_prediction, setting_of

PREDICTED = "predicted, not measured: no picture was made, no judge was used"


def run_prediction(search: BudgetSearch, catalogue: str, write: bool, as_json: bool) -> int:
    """Choose by predicted misfit, print the choice, and write it to the catalogue's settings."""
    with progress_bar(as_json) as report:
        found = search.run(report)
    tuned = record_prediction(search.rows, found[0])
    if write:
        with search.stores.session() as session:
            keep_tuned(session, catalogue, tuned.to_json())
    if as_json:
        facts = _facts(search, catalogue) | {"predictions": list(map(_row, found))}
        facts |= {"chosen": tuned.to_json(), "sentences": [words(tuned.setting), PREDICTED]}
        click.echo(json.dumps(facts | {"written": write}))
        return 0
    click.echo(f"{words(tuned.setting)}\n{PREDICTED}")
    _show(found)
    if write:
        click.echo(written_text(catalogue))
    return 0


def show_budget(search: BudgetSearch, catalogue: str, as_json: bool) -> int:
    """Print the number of settings to compare and what that takes; nothing is embedded."""
    absent = search.unembedded()
    if as_json:
        tried = [label(standard(*each)) for each in search.ways]
        price = {"evaluations": 0, "embeddings": absent, "settings": tried}
        click.echo(json.dumps(_facts(search, catalogue) | price))
        return 0
    for name, count in (("settings to compare", len(search.ways)), ("embeddings to make", absent)):
        click.echo(f"{name:<22} {count:>9,}")
    click.echo(f"{'total':<22} {0:>9,} evaluations")
    return 0


def written_text(catalogue: str) -> str:
    """Return a line about a choice that was written."""
    kept = f"written to the settings of catalogue {catalogue!r}; its nights use them"
    return f"{kept} until `hierdiff tune {catalogue} --forget`"


def _facts(search: BudgetSearch, catalogue: str) -> dict[str, object]:
    return {
        "catalogue": catalogue,
        "recipe": search.rows.recipe.to_json(),
        "prompts": len(search.rows.prompts),
        "rows_with_recipes_of_their_own": search.rows.left_out,
        "evaluations_asked": search.evaluations,
    }


def _row(prediction: Prediction) -> dict[str, object]:
    setting = setting_of(prediction)
    return {
        "setting": setting.to_json(),
        "words": words(setting),
        "evaluations_per_image": prediction.evaluations,
        "predicted_misfit": prediction.misfit,
    }


def _show(found: Sequence[Prediction]) -> None:
    rows = {words(setting_of(each)): each for each in found}
    width = max(map(len, rows))  # so that a line stays one, in a log too
    click.echo(f"{'setting':<{width}}  evaluations  predicted misfit")
    for setting, row in rows.items():
        click.echo(f"{setting:<{width}}  {row.evaluations:11.2f}  {row.misfit:16.2f}")
