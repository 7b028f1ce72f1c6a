"""Remaking: pictures are made although they exist, or others in place of rejected ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hierdiff_core.prompt import Prompt
from tasks.errors import UnknownReference

ALL = "all"
REJECTED = "rejected"
TIMES = 3  # that a rejected picture is replaced by another one, unless the settings say otherwise
_NAMED = 8  # references that an error names


@dataclass(frozen=True, slots=True)
class Remake:
    """Which pictures of a night are remade.

    Without a seed they are made anew: planned as new rows, by tonight's settings, though their
    pictures exist. With one they are other pictures: what they share is kept, and their own steps
    draw their noise by that seed.
    """

    names: tuple[str, ...] = ()  # of pictures, such as #2, or `all`, or `rejected`
    seed: int | None = None

    @property
    def rejected(self) -> bool:
        """Whether the rejected pictures are asked for, whichever these are."""
        return REJECTED in self.names

    def with_rejected(self, rejected: Sequence[str]) -> Remake:
        """Return the same with the rejected pictures by their names.

        Without a seed it names none of them: each then gets a seed by itself.
        """
        if not self.rejected:
            return self
        others = tuple(name for name in self.names if name != REJECTED)
        return replace(self, names=others if self.seed is None else (*others, *rejected))

    def apply(self, prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
        """Return a night's pictures, with those marked that are remade.

        Raises UnknownReference for a name that no picture has.
        """
        unknown = sorted(set(self.names) - {each.name for each in prompts} - {ALL})
        if unknown:
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            raise UnknownReference(names=", ".join(unknown[:_NAMED]) + more)
        return tuple(self._mark(each) if self.covers(each) else each for each in prompts)

    def covers(self, prompt: Prompt) -> bool:
        """Whether a picture is remade."""
        return ALL in self.names or prompt.name in self.names

    def gives_seed(self, prompt: Prompt) -> bool:
        """Whether a picture is remade as another one."""
        return self.seed is not None and self.covers(prompt)

    def _mark(self, prompt: Prompt) -> Prompt:
        if self.seed is None:
            return replace(prompt, anew=True)
        return replace(prompt, remade_seed=self.seed)


NO_REMAKE = Remake()


def read_remake(names: str, seed: int | None) -> Remake:
    """Return what is asked for in words such as `A-17,B-2#3`."""
    return Remake(tuple(filter(None, map(str.strip, names.split(",")))), seed)
