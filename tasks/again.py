"""Again: a rejected picture is replaced by another one, as often as the settings allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from hierdiff_core.digest import digest
from hierdiff_core.prompt import Prompt, content_key, text_key
from tasks.errors import NoneRejected
from tasks.ledger import count_remakes, recall_remakes, rejected_keys
from tasks.remake import Remake

_DIGITS = 15  # of a digest, in hex: below 2^63


@dataclass(frozen=True, slots=True)
class Recalled:
    """A night's pictures, as they are made tonight."""

    prompts: tuple[Prompt, ...]
    noted: tuple[Prompt, ...] = ()  # of these, those whose seed later nights are to keep
    again: int = 0  # others in place of rejected ones
    waiting: int = 0  # rejected too often: they wait for a person


def recall(
    session: Session, catalogue: str, prompts: Sequence[Prompt], remake: Remake, most: int
) -> Recalled:
    """Return pictures as they were last remade, or are remade now.

    A row whose picture is rejected gets another one by a seed of its own, `most` times; what is
    remade by name is remade as asked. Raises UnknownReference, and NoneRejected where `rejected`
    ones are asked for and there are none to remake.
    """
    known = recall_remakes(session, catalogue, prompts)
    refused = rejected_keys(session, catalogue)
    rejected = [each for each in known if content_key(each) in refused]
    asked = remake.with_rejected([each.name for each in rejected])
    times = count_remakes(session, catalogue, rejected)
    again = {name for name, count in times.items() if count < most and name not in asked.names}
    if remake.rejected and not (again or set(times) & set(asked.names)):
        raise NoneRejected(catalogue=catalogue)
    tonight = asked.apply([_another(each, times) if each.name in again else each for each in known])
    noted = [each for each in tonight if each.name in again or asked.gives_seed(each)]
    waiting = sum(not asked.covers(each) and each.name not in again for each in rejected)
    return Recalled(tonight, tuple(noted), len(again), waiting)


def _another(prompt: Prompt, times: Mapping[str, int]) -> Prompt:
    """Return a row's next picture: its seed is equal for equal rows, so that they share it."""
    facts = (text_key(prompt), prompt.number, times[prompt.name])
    return replace(prompt, remade_seed=int(digest("again", *facts)[:_DIGITS], 16))
