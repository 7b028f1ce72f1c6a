"""Metrics: what a monitor such as Prometheus reads of the ledger, computed at each scrape.

Every name means what it means in `hierdiff status`, whose summary it is taken from. Labels are
catalogues, states and stages; never a run, a date or a prompt, of which there is no end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from tasks.errors import UnreachableDatabase
from tasks.ledger import (
    LatestNight,
    RunSummary,
    count_leases,
    count_objects,
    count_waiting,
    latest_nights,
    summarise,
)
from tasks.report.expense import cost_of, kwh
from tasks.report.gather import paid_seconds
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import Stores

PREFIX = "hierdiff_"
CLAIMED = "claimed"  # of a night without a plan yet


@dataclass(frozen=True)
class NightFigures:
    """A catalogue's latest night, with the summary of its run where it has one."""

    night: LatestNight
    run: RunSummary | None


Values = Callable[[NightFigures], Mapping[str, float]]  # by the value of a label


@dataclass(frozen=True, eq=False)  # a registry keeps it by identity
class LedgerCollector(Collector):
    """Reads the ledger whenever a monitor asks; `hierdiff_ledger_up` is 0 where it cannot."""

    stores: Stores
    settings: Settings

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they stand now."""
        try:
            with self.stores.session() as session:
                metrics = [*_of_nights(_figures(session), self.settings), *_of_ledger(session)]
        except UnreachableDatabase:
            metrics = []
        yield _gauge("ledger_up", "whether the ledger answers", {(): float(bool(metrics))})
        yield from metrics

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand, so that registering asks no database."""
        return iter(())


def _figures(session: Session) -> list[NightFigures]:
    return [
        NightFigures(night, None if night.run is None else summarise(session, night.run))
        for night in latest_nights(session)
    ]


def _of_nights(nights: list[NightFigures], settings: Settings) -> Iterator[Metric]:
    def gauge(name: str, meaning: str, values: Values, label: str = "") -> Metric:
        labels = ("catalogue", label) if label else ("catalogue",)
        found = {
            (each.night.catalogue, value)[: len(labels)]: number
            for each in nights
            for value, number in values(each).items()
            if not math.isnan(number)
        }
        return _gauge(name, f"{meaning}, of the latest night", found, labels)

    yield gauge("night_state", "1 for the state it is in", _states, "state")
    yield gauge("night_date_seconds", "midnight (UTC) of its date", _one(_date))
    yield gauge("night_started_seconds", "time at which it was started", _one(_started))
    yield gauge("night_finished_seconds", "time at which it ended, if it has", _one(_finished))
    yield gauge("night_images", "pictures", _images, "state")
    yield gauge("night_rows", "rows without a picture", _rows, "state")
    yield gauge("night_evaluations", "evaluations of the network", _evaluations, "kind")
    yield gauge("night_stage_seconds", "seconds, summed over workers", _stages, "stage")
    yield gauge("night_subtrees", "subtrees", _subtrees, "state")
    yield gauge("night_energy_joules", "energy that was measured", _energy, "part")
    if settings.gpu_price_per_hour is not None or settings.kwh_price is not None:
        yield gauge(
            "night_cost",
            f"price of its seconds on devices and of its energy, in {settings.currency}",
            partial(_cost, settings),
        )


def _of_ledger(session: Session) -> Iterator[Metric]:
    leases, objects = count_leases(session), count_objects(session)
    yield _gauge("queue_subtrees", "subtrees that wait for a worker", {(): count_waiting(session)})
    yield _by_kind("leases", "leases held", {each.kind: each.leases for each in leases})
    yield _by_kind(
        "leases_run_out", "leases that nobody renewed", {each.kind: each.run_out for each in leases}
    )
    yield _by_kind(
        "lease_oldest_seconds",
        "seconds since the oldest holder started",
        {each.kind: each.oldest for each in leases},
    )
    yield _by_kind(
        "objects", "objects in the bucket", {each.kind: each.objects for each in objects}
    )
    yield _by_kind("bytes", "their size in bytes", {each.kind: each.size for each in objects})


def _by_kind(name: str, meaning: str, values: Mapping[str, float]) -> Metric:
    return _gauge(name, meaning, {(kind,): value for kind, value in values.items()}, ("kind",))


def _gauge(
    name: str,
    meaning: str,
    values: Mapping[tuple[str, ...], float],
    labels: tuple[str, ...] = (),
) -> Metric:
    metric = GaugeMetricFamily(PREFIX + name, meaning, labels=labels)
    for key, value in values.items():
        metric.add_metric(key, value)
    return metric


def _one(value: Callable[[NightFigures], float]) -> Values:
    return lambda each: {"": value(each)}


def _states(each: NightFigures) -> Mapping[str, float]:
    state = CLAIMED if each.run is None else each.run.state.value
    return {name: float(name == state) for name in (CLAIMED, *(known.value for known in RunState))}


def _date(each: NightFigures) -> float:
    return _midnight(each.night.business_date).timestamp()


def _started(each: NightFigures) -> float:
    return each.night.created_at.timestamp()


def _finished(each: NightFigures) -> float:
    if each.run is None or each.run.finished_at is None:
        return math.nan
    return each.run.finished_at.timestamp()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))


def _images(each: NightFigures) -> Mapping[str, float]:
    if each.run is None:
        return {}
    made = each.run.images - each.run.images_kept
    return {"made": made, "kept": each.run.images_kept, "missing": each.run.images_missing}


def _rows(each: NightFigures) -> Mapping[str, float]:
    if each.run is None:
        return {}
    return {"rejected": len(each.run.rejected), "set_aside": len(each.run.set_aside)}


def _evaluations(each: NightFigures) -> Mapping[str, float]:
    if each.run is None:
        return {}
    return {
        "standard": each.run.evaluations_standard,
        "planned": each.run.evaluations_planned,
        "done": each.run.evaluations_done,
        "resumed": each.run.evaluations_resumed,
        "reused": each.run.evaluations_reused,
    }


def _stages(each: NightFigures) -> Mapping[str, float]:
    return {} if each.run is None else each.run.seconds


def _energy(each: NightFigures) -> Mapping[str, float]:
    parts = () if each.run is None else each.run.energy
    return {part.part: part.joules for part in parts if part.joules is not None}


def _cost(settings: Settings, each: NightFigures) -> Mapping[str, float]:
    if each.run is None:
        return {}
    seconds, used = paid_seconds(each.run), kwh(each.run.energy)
    cost = cost_of(seconds, used, settings.gpu_price_per_hour, settings.kwh_price)
    return {} if cost is None else {"": cost}


def _subtrees(each: NightFigures) -> Mapping[str, float]:
    counts: dict[str, float] = {}
    for line in () if each.run is None else each.run.subtrees:
        counts[line.state.value] = counts.get(line.state.value, 0) + 1
    return counts
