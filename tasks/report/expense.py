"""What a night took of energy and money, and what that is for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.ledger import PartEnergy, RunSummary
from tasks.saving import Spending

_JOULES = 3.6e6  # of a kWh


@dataclass(frozen=True, slots=True)
class Expense:
    """An amount that a night took, in kWh or money."""

    total: float
    for_each: float | None  # picture that was made tonight; None where none was
    for_each_accepted: float | None
    saved: float | None  # against plain runs, at what an evaluation of tonight took


def share_out(
    total: float, *, spending: Spending, evaluations: int, pictures: int, accepted: int
) -> Expense:
    """Return an amount by picture; `evaluations` and `pictures` are those of tonight."""
    spared = spending.standard - max(spending.planned, spending.spent)
    return Expense(
        total=total,
        for_each=total / pictures if pictures else None,
        for_each_accepted=total / accepted if accepted else None,
        saved=total / evaluations * spared if evaluations else None,
    )


def expense_of(facts: RunSummary, total: float, accepted: int) -> Expense:
    """Return an amount that a run took, by picture."""
    pictures, evaluations = facts.images - facts.images_kept, facts.evaluations_done
    return share_out(
        total,
        spending=facts.spending,
        evaluations=evaluations,
        pictures=pictures,
        accepted=accepted,
    )


def kwh(parts: Sequence[PartEnergy]) -> float | None:
    """Return the energy that was measured; None where none was."""
    known = [each.joules for each in parts if each.joules is not None]
    return sum(known) / _JOULES if known else None


def not_measured(parts: Sequence[PartEnergy]) -> tuple[str, ...]:
    """Return what is missing from the energy, with the reasons."""
    return tuple(f"{each.part}: {each.reason}" for each in parts if each.reason)


def cost_of(
    seconds: float | None, used: float | None, hour: float | None, kwh_price: float | None
) -> float | None:
    """Return the price of seconds of devices and of kWh; None where neither has a price.

    Energy that was not measured has none.
    """
    of_time = None if hour is None or seconds is None else hour * seconds / 3600
    of_energy = None if kwh_price is None or used is None else kwh_price * used
    known = [each for each in (of_time, of_energy) if each is not None]
    return sum(known) if known else None
