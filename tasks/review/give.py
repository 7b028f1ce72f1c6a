"""Giving verdicts: what is said of a picture is checked against the night that it was seen in."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from hierdiff_core.printable import printable_line
from hierdiff_core.prompt import Prompt
from tasks.errors import ChangedPicture, UnknownPicture
from tasks.ledger import NewVerdict, load_run_prompts, named_pictures
from tasks.states import VerdictState

_LONGEST = 500  # characters of a reason
_NAME = 80  # of a reviewer, and of a picture as an error names it


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of a picture that he names."""

    name: str  # such as #2
    verdict: VerdictState
    reason: str = ""
    reviewer: str = ""
    sha256: str = ""  # of the picture that was seen; empty: the one that the night has


@dataclass(frozen=True)
class NamedPictures:
    """The pictures of a night by the names that people know."""

    prompts: Mapping[str, Prompt]
    digests: Mapping[str, str]  # of those that are made, sha256

    def check(self, said: Said) -> NewVerdict:
        """Return a verdict as it is kept; raises UnknownPicture, ChangedPicture."""
        name = printable_line(said.name, _NAME)
        if said.name not in self.digests:
            missing = "is not made yet" if said.name in self.prompts else "is none of this night"
            raise UnknownPicture(name=name, missing=missing)
        prompt, sha256 = self.prompts[said.name], self.digests[said.name]
        if said.sha256 not in ("", sha256):
            raise ChangedPicture(name=name)
        reason = printable_line(said.reason, _LONGEST)
        reviewer = printable_line(said.reviewer, _NAME)
        return NewVerdict(prompt.reference, prompt.number, sha256, said.verdict, reason, reviewer)


def read_pictures_of(session: Session, run: uuid.UUID) -> NamedPictures:
    """Return the pictures of a run; raises UnknownRun."""
    prompts = {each.name: each for each in load_run_prompts(session, run)}
    return NamedPictures(prompts, named_pictures(session, run))
