"""Templates: a prompt written over columns, `a photo of {title}, {color}`."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A doubled brace is a brace; a name may hold anything else.
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")


@dataclass(frozen=True, slots=True)
class Template:
    """Text with places for the cells of a row."""

    pieces: tuple[str, ...]  # texts and names of columns in turn, a text first and last

    @property
    def places(self) -> tuple[str, ...]:
        """The names of its columns, each once."""
        return tuple(dict.fromkeys(self.pieces[1::2]))


def read_template(text: str) -> Template:
    """Return a template; raises ValueError, saying what is wrong, in the form of a hint."""
    pieces, last = [""], 0
    for found in _PIECE.finditer(text):
        pieces[-1] += text[last : found.start()]
        last = found.end()
        if found[2]:
            raise ValueError(f"the brace at character {found.start() + 1} has no partner; write "
                             "{{ or }} for a brace itself")  # fmt: skip
        if found[1] is None:
            pieces[-1] += found[0][0]
        elif not found[1].strip():
            raise ValueError("a place is empty; write a column's name between the braces")
        else:
            pieces += [found[1].strip(), ""]
    pieces[-1] += text[last:]
    if len(pieces) == 1:
        raise ValueError("it names no column; write one between braces, such as {title}")
    return Template(tuple(pieces))


def check_template(text: str) -> str:
    """Return the text of a template; raises what `read_template` raises."""
    read_template(text)
    return text
