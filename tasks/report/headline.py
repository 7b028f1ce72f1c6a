"""The figures that come first: what a night made, what it paid and what it saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hierdiff_core.plan import CALIBRATED
from tasks.losses import apart_text
from tasks.report.data import ReportData
from tasks.report.expense import kwh, not_measured


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with what it counts."""

    label: str
    value: str
    note: str = ""


def planned_by(planner: str, linkage: str | None, tau: float | None, price: float | None) -> str:
    """Return a plan's planner and threshold, for people."""
    if planner == CALIBRATED:
        if price is not None and price < 0:  # the evaluations suffice for every picture alone
            return "the model's calibration, nothing is shared"
        return f"the model's calibration, price {price or 0:.4g} (excess per saved evaluation)"
    return f"the paper's tree, {linkage} linkage, tau {tau or 0:.4g}"


def headline(data: ReportData) -> tuple[Figure, ...]:
    """Return the figures of a night, most important first; unknown ones are left out."""
    return (*_work(data), *_quality(data), *_effort(data))


def claim(data: ReportData) -> str:
    """Return the night in one line, a saving never without what it is predicted to cost."""
    plan, size = data.plan, len(data.images)
    images = f"{size:,} image{'s' if size != 1 else ''}"
    if data.missing:
        return f"{len(data.made):,} of {images}"
    if plan.evaluations == plan.evaluations_standard:
        return f"{images}, nothing shared"
    worth = max(plan.evaluations, data.spent) / plan.steps
    work = f"{worth:,.{0 if worth >= 10 else 1}f}"
    return f"{images} for the work of {work}, {apart_text(data.losses)}"


def _work(data: ReportData) -> Iterator[Figure]:
    plan, made, size = data.plan, len(data.made), len(data.images)
    share = f"for {data.asked:,} prompts" if data.asked > size else "all made"
    share = f"{data.kept:,} kept from earlier nights" if data.kept else share
    yield Figure("Images", f"{made:,}", share if made == size else f"of {size:,}")
    instead = f"instead of {plan.evaluations_standard:,}"
    note = instead if data.complete else f"planned, {instead}"
    if data.reused:
        tonight = max(0, data.spent - data.reused)
        yield Figure("Tonight", f"{tonight:,}", "evaluations, for what was new")
        note = f"of all nights, {note}"
    yield Figure("Evaluations", f"{plan.evaluations:,}", note)
    spending = data.spending
    if spending.repeated:
        again = f"{spending.repeated:,} evaluations repeated; {plan.saving:.0%} was planned"
        yield Figure("Saved", f"{max(0.0, spending.saving):.0%}", again)
        return
    spared = plan.evaluations_standard - plan.evaluations
    note = data.nothing_shared or f"{spared:,} evaluations"
    yield Figure("Saved", f"{plan.saving:.0%}", note)


def _quality(data: ReportData) -> Iterator[Figure]:
    losses = data.losses
    if data.plan.evaluations == data.plan.evaluations_standard:
        return
    if losses is None:
        yield Figure("Lost", "unknown", "quality is not predicted; look at the pictures")
        return
    bound = f"; the bound is {losses.bound:.1%}" if losses.bound is not None else ""
    yield Figure("Lost", f"{losses.mean:.1%}", f"of what plain pictures miss, predicted{bound}")


def _effort(data: ReportData) -> Iterator[Figure]:
    made = len(data.made)
    if data.seconds:
        yield Figure("Time", duration(data.seconds), f"{rate(made / data.seconds)} images/s")
    if data.cost is not None:
        note = f"{1000 * data.cost / made:.2f} per 1,000 images" if made else ""
        yield Figure("Cost", f"{data.cost:.2f} {data.currency}", note)
    if data.energy:
        yield _energy(data)
    if data.resumed:
        yield Figure("Resumed", f"{data.resumed:,}", "evaluations not repeated")


def _energy(data: ReportData) -> Figure:
    used, missing = kwh(data.energy), not_measured(data.energy)
    if used is None:
        return Figure("Energy", "not measured", "; ".join(missing))
    found, notes = data.expense(used), list[str]()
    if found.for_each is not None:
        notes.append(f"{energy_text(found.for_each)} per image")
    if found.for_each_accepted is not None:
        notes.append(f"{energy_text(found.for_each_accepted)} per accepted one")
    if found.saved:
        notes.append(f"{energy_text(found.saved)} saved")
    notes += [f"not measured: {each}" for each in missing]
    return Figure("Energy", energy_text(used), ", ".join(notes))


def energy_text(kilowatt_hours: float) -> str:
    """Return an amount of energy in kWh, Wh or mWh."""
    for scale, unit in ((1.0, "kWh"), (1e3, "Wh")):
        if kilowatt_hours * scale >= 1:
            return f"{kilowatt_hours * scale:,.3g} {unit}"
    return f"{kilowatt_hours * 1e6:.3g} mWh"


def duration(seconds: float) -> str:
    """Return a time as people say it: 12.3 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def rate(number: float) -> str:
    """Return a rate with two or three significant digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"
