"""The command that erases a row everywhere, for requests to delete it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from flows.commands.client import ledger
from flows.commands.options import json_option
from hierdiff_core.printable import brief
from tasks.forget import Asked, Rewritten, find_traces, forget_rows
from tasks.ledger.erasure import Erasure

_LISTED = 8  # rows that a line names
_OUTSIDE = (
    "not reached from here: your source (a row that is still there is drawn again), backups, "
    "copies of pictures and reports, and Prefect's own logs and artifacts"
)


@click.command()
@click.argument("reference", required=False)
@click.option("--prompt", help="forget all rows with this prompt, whatever their reference")
@click.option("--catalogue", help="only in this catalogue; in all unless given")
@click.option("--yes", is_flag=True, help="erase it; without, it is only shown")
@json_option
def forget(
    reference: str | None, prompt: str | None, catalogue: str | None, yes: bool, as_json: bool
) -> None:
    """Erase the rows with a REFERENCE, or a prompt: rows, pictures, embeddings, reports."""
    if (reference is None) == (prompt is None):
        raise click.UsageError("Give a reference or --prompt")
    asked = Asked(reference, prompt, catalogue)
    with ledger() as (stores, settings):
        if yes:
            erasure, results = forget_rows(stores, settings, asked)
        else:
            erasure, results = find_traces(stores, asked), None
    if as_json:
        click.echo(json.dumps(_figures(erasure, results)))
        return
    for line in _lines(erasure, results):
        click.echo(line)


def _figures(erasure: Erasure, results: Rewritten | None) -> dict[str, object]:
    return {
        "erased": results is not None,
        "rows": len(erasure.rows),
        "rejected": len(erasure.rejected),
        "pictures": len(erasure.pictures),
        "embeddings": len(erasure.embeddings),
        "checkpoints": len(erasure.splits),
        "previews": len(erasure.previews),
        "unfinished_nights": len(erasure.open_runs),
        "others": list(erasure.others),
        "nights_with_digest": len(erasure.founded - erasure.open_runs),
    }


def _lines(erasure: Erasure, results: Rewritten | None) -> Iterator[str]:
    yield "erased:" if results else "would be erased:"
    nights = [f"{row.reference} of {row.catalogue} {row.business_date}" for row in erasure.rows]
    yield f"  rows          {len(nights)}: {_some(nights)}"
    if erasure.rejected:
        yield f"  rejected      {len(erasure.rejected)} rows whose reason names it"
    yield f"  pictures      {len(erasure.pictures)}"
    yield f"  embeddings    {len(erasure.embeddings)}"
    if erasure.splits:
        yield (
            f"  checkpoints   {len(erasure.splits)} with splits that it helped to steer; later "
            "nights cannot go on from these"
        )
    if erasure.previews:
        yield f"  previews      {len(erasure.previews)} of those splits"
    yield from _nights(erasure, results)
    yield "what remains:"
    yield from _remains(erasure)
    if results is None:
        yield "say --yes to erase it; nothing brings it back"


def _nights(erasure: Erasure, results: Rewritten | None) -> Iterator[str]:
    if results is None:
        yield "  reports       of its nights; that of a catalogue's last night is written anew"
    else:
        yield (
            f"  reports       {results.removed} removed, {results.reports} written anew; "
            f"{results.manifests} manifests written anew"
        )
    if erasure.open_runs:
        yield f"  plans         {len(erasure.open_runs)} of unfinished nights; start these again"


def _remains(erasure: Erasure) -> Iterator[str]:
    if erasure.others:
        yield (
            f"  its picture, embedding and splits, for {len(erasure.others)} other rows with the "
            f"same prompt (--prompt erases them, too): {_some(erasure.others)}"
        )
    if kept := len(erasure.founded - erasure.open_runs):
        yield (
            f"  digests (SHA-256) of its prompt in the plans of {kept} nights: keys of other "
            "pictures follow from them"
        )
        yield (
            "  pictures of other rows that shared steps with it: a mean of several prompts, it "
            "among them, steered their first steps"
        )
    yield f"  {_OUTSIDE}"


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    shown = ", ".join(str(brief(name)) for name in names[:_LISTED])
    return shown + (f" and {more:,} more" if more > 0 else "")
