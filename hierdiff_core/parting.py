"""Parting: where variants leave the steps that they share with each other and with other prompts.

Planners plan texts, each once. The pictures of a text then part: its first one keeps the text's
path, and every variant leaves it after m steps, to take the others with noise of its own. What they
share is steered by the text once, however many variants it has, so it is found again when there are
more of them tomorrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hierdiff_core.drafts import Draft, number_drafts
from hierdiff_core.plan import Plan, Segment


@dataclass(frozen=True, slots=True)
class Siblings:
    """The leaves of one text."""

    first: int | None  # its first picture, where that is wanted
    variants: tuple[int, ...] = ()

    @property
    def steering(self) -> int:
        """The leaf whose embedding steers what they share."""
        return self.variants[0] if self.first is None else self.first


def find_siblings(
    leaves: Sequence[int], content_keys: Sequence[str], text_keys: Sequence[str]
) -> tuple[Siblings, ...]:
    """Return the siblings of some leaves, ascending by the key of their text."""
    found: dict[str, tuple[int | None, list[int]]] = {}
    for leaf in leaves:
        key = text_keys[leaf]
        first, variants = found.get(key, (None, []))
        if content_keys[leaf] == key:
            found[key] = leaf, variants
        else:
            found[key] = first, [*variants, leaf]
    return tuple(Siblings(first, tuple(variants)) for _, (first, variants) in sorted(found.items()))


def steps_shared(share: float, steps: int) -> int:
    """Return m: how many of K steps a variant may share, always less than K."""
    return min(int(share * steps + 1e-9), steps - 1)


def part(plan: Plan, siblings: Sequence[Siblings], most: int) -> Plan:
    """Return the plan of all pictures of texts that are the leaves of a plan.

    Variants leave after `most` steps, which is less than K; a segment that goes on is cut there.
    """
    if not any(each.variants for each in siblings):
        leaves = [each.steering for each in siblings]
        if leaves == list(range(plan.size)):
            return plan
    drafts: list[Draft] = []
    places: dict[int | None, int | None] = {None: None}
    for segment in plan.segments:
        members = [siblings[each] for each in plan.members(segment)]
        places[segment.id] = _draft(segment, members, most, plan.steps, places, drafts)
    return number_drafts(drafts, plan)[0]


def _draft(
    segment: Segment,
    members: Sequence[Siblings],
    most: int,
    steps: int,
    places: dict[int | None, int | None],
    drafts: list[Draft],
) -> int | None:
    """Add the drafts of a segment, and of variants that leave in it; return the last one's place.

    None where all who would take it have left before.
    """
    above, start = places[segment.parent], segment.start
    leaving = [leaf for each in members for leaf in each.variants]
    if start == 0 and most == 0:
        _leave(drafts, None, leaving, most, steps)
    if start < most <= segment.stop and leaving:
        drafts.append(Draft(start, most, above, None, _steering(members)))
        above, start = len(drafts) - 1, most
        _leave(drafts, above, leaving, most, steps)
    if start >= most:
        members = [each for each in members if each.first is not None]
    if start == segment.stop or not members:
        return above
    leaf = members[0].first if segment.stop == steps else None
    drafts.append(Draft(start, segment.stop, above, leaf, _steering(members)))
    return len(drafts) - 1


def _leave(
    drafts: list[Draft], above: int | None, leaves: Sequence[int], start: int, steps: int
) -> None:
    drafts += [Draft(start, steps, above, leaf, (leaf,)) for leaf in leaves]


def _steering(members: Sequence[Siblings]) -> tuple[int, ...]:
    return tuple(sorted(each.steering for each in members))
