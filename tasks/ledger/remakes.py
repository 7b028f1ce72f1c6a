"""Remakes: which rejected pictures are made with another seed, and how often that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Text, any_, func, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from hierdiff_core.prompt import Prompt, text_key
from tasks.records import Batch, Catalogue, RemakeRow

Picture = tuple[str, int, str]  # reference, number, key of its text


def recall_remakes(
    session: Session, catalogue: str, prompts: Sequence[Prompt]
) -> tuple[Prompt, ...]:
    """Return a catalogue's pictures with the seeds by which they were last remade.

    A row whose text or recipe has changed since has another picture anyway.
    """
    known = _last_seeds(session, catalogue, {text_key(each) for each in prompts})
    return tuple(replace(each, remade_seed=known.get(_picture(each))) for each in prompts)


def note_remakes(session: Session, batch: int, prompts: Iterable[Prompt]) -> None:
    """Keep the seeds by which a night remakes pictures, one row for each attempt."""
    catalogue = session.execute(select(Batch.catalogue_id).where(Batch.id == batch)).scalar_one()
    rows = [
        {
            "catalogue_id": catalogue,
            "reference": each.reference,
            "number": each.number,
            "text_key": text_key(each),
            "seed": each.remade_seed,
        }
        for each in prompts
        if each.remade_seed is not None
    ]
    if rows:
        session.execute(insert(RemakeRow), rows)


def count_remakes(session: Session, catalogue: str, prompts: Sequence[Prompt]) -> dict[str, int]:
    """Return how many other pictures were asked for of each row, by the picture's name."""
    picture = (RemakeRow.reference, RemakeRow.number, RemakeRow.text_key)
    rows = session.execute(
        select(*picture, func.count(RemakeRow.seed.distinct()))
        .join(Catalogue, Catalogue.id == RemakeRow.catalogue_id)
        .where(Catalogue.name == catalogue, _of_texts({text_key(each) for each in prompts}))
        .group_by(*picture)
    )
    known = {(reference, number, key): count for reference, number, key, count in rows}
    return {each.name: known.get(_picture(each), 0) for each in prompts}


def _last_seeds(session: Session, catalogue: str, text_keys: Collection[str]) -> dict[Picture, int]:
    picture = (RemakeRow.reference, RemakeRow.number, RemakeRow.text_key)
    rows = session.execute(
        select(*picture, RemakeRow.seed)
        .join(Catalogue, Catalogue.id == RemakeRow.catalogue_id)
        .where(Catalogue.name == catalogue)
        .where(_of_texts(text_keys))
        .distinct(*picture)
        .order_by(*picture, RemakeRow.id.desc())
    )
    return {(reference, number, key): seed for reference, number, key, seed in rows}


def _of_texts(text_keys: Collection[str]) -> ColumnElement[bool]:
    return RemakeRow.text_key == any_(literal(list(text_keys), ARRAY(Text)))


def _picture(prompt: Prompt) -> Picture:
    return prompt.reference, prompt.number, text_key(prompt)
