"""Energy is read from the counters that the machine shows, and is said to be unknown elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import Engine

from tasks import ledger
from tasks.database import session_scope
from tasks.energy import NotMeasured, metered, open_nvml, open_rapl
from tasks.ledger import PartEnergy
from tasks.report.expense import cost_of, kwh, share_out
from tasks.saving import Spending

NOW = {"intel-rapl:0": 100, "intel-rapl:1": 200, "intel-rapl:0:0": 5, "intel-rapl:0:1": 7,
       "intel-rapl:2": 9, "intel-rapl-mmio:0": 100, "dtpm": 3}  # fmt: skip
NAMES = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core",
         "intel-rapl:0:1": "dram", "intel-rapl:2": "psys", "intel-rapl-mmio:0": "package-0",
         "dtpm": "dtpm"}  # fmt: skip


@pytest.fixture
def powercap() -> Iterator[Path]:
    """A folder as the kernel has it, which every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for zone, microjoules in NOW.items():
            (folder / zone).mkdir(mode=0o755)
            (folder / zone / "name").write_text(NAMES[zone] + "\n")
            (folder / zone / "max_energy_range_uj").write_text("262143328850\n")
            count(folder, zone, microjoules)
        yield folder


def count(folder: Path, zone: str, joules: float) -> None:
    (folder / zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


def test_processors_and_their_memory_count_once(powercap: Path) -> None:
    meter = replace(open_rapl(powercap), own=lambda: 0.0, everyone=lambda: 0.0)
    for zone, joules in NOW.items():
        count(powercap, zone, joules + 10)
    assert meter.joules() == pytest.approx(30)  # two packages and the memory of one


def test_a_counter_that_begins_anew_goes_on(powercap: Path) -> None:
    meter = replace(open_rapl(powercap), own=lambda: 0.0, everyone=lambda: 0.0)
    for joules in (262143, 50, 262000, 20):
        count(powercap, "intel-rapl:0", joules)
        found = meter.joules()
    assert found == pytest.approx(2 * 262143.32885 - 100 + 20)


def test_a_process_counts_by_its_part_of_the_processors_time(powercap: Path) -> None:
    meter = replace(open_rapl(powercap), own=lambda: 13.0, everyone=lambda: 70.0, since=(10, 58))
    count(powercap, "intel-rapl:0", NOW["intel-rapl:0"] + 40)
    assert meter.joules() == pytest.approx(10)


def test_what_this_process_uses_is_read_while_it_works(powercap: Path) -> None:
    with metered(torch.device("cpu"), powercap) as used:
        count(powercap, "intel-rapl:0", NOW["intel-rapl:0"] + 40)
        sum(range(10**6))
        (found,) = used()
    assert found.part == "cpu"
    assert found.joules is not None
    assert 0 <= found.joules <= 40
    assert not found.reason


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    with metered(torch.device("cpu"), tmp_path / "powercap") as used:
        (found,) = used()
    assert (found.joules, found.reason) == (None, "the kernel shows no RAPL")


def test_a_counter_that_stops_ends_no_work(powercap: Path) -> None:
    with metered(torch.device("cpu"), powercap) as used:
        (powercap / "intel-rapl:0" / "energy_uj").write_text("")
        (found,) = used()
    assert found.joules is None
    assert found.reason == "its counter stopped: energy_uj of RAPL cannot be read"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_counter_of_root_s_alone_is_named(powercap: Path) -> None:
    for zone in NOW:
        (powercap / zone / "energy_uj").chmod(0o400)
    os.seteuid(65534)
    try:
        with pytest.raises(NotMeasured, match="energy_uj of RAPL may be read by root alone"):
            open_rapl(powercap)
    finally:
        os.seteuid(0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_nvml_does_not_know_is_said() -> None:
    with pytest.raises(NotMeasured, match="NVML"):
        open_nvml(torch.device("cuda"))


def test_attempts_add_up_and_what_one_could_not_measure_stays_said(
    database: Engine, run: UUID
) -> None:
    with session_scope(database) as session:
        assert ledger.summarise(session, run).energy == ()
        ledger.add_energy(session, run, "cpu", 2.0, "")
        ledger.add_energy(session, run, "cpu", None, "no counter")
        ledger.add_energy(session, run, "cpu", 3.0, "")
        ledger.add_energy(session, run, "gpu", None, "no driver")
        found = ledger.summarise(session, run).energy
    assert found == (PartEnergy("cpu", 5.0, "no counter"), PartEnergy("gpu", None, "no driver"))


def test_an_amount_is_shared_out_over_what_tonight_made() -> None:
    # 100 of 400 evaluations are planned, 20 of them were found done.
    spending = Spending(planned=100, standard=400, spent=100)
    found = share_out(8.0, spending=spending, evaluations=80, pictures=16, accepted=4)
    assert (found.for_each, found.for_each_accepted, found.saved) == (0.5, 2.0, 30.0)
    nothing = share_out(0.0, spending=spending, evaluations=0, pictures=0, accepted=0)
    assert (nothing.for_each, nothing.for_each_accepted, nothing.saved) == (None, None, None)


@pytest.mark.parametrize(
    ("used", "hour", "kwh_price", "cost"),
    [(2.0, 3.6, 0.3, 0.7), (None, 3.6, 0.3, 0.1), (2.0, None, 0.3, 0.6), (None, None, 0.3, None)],
)
def test_a_night_costs_its_hours_and_its_energy_where_they_have_a_price(
    used: float | None, hour: float | None, kwh_price: float, cost: float | None
) -> None:
    found = cost_of(100.0, used, hour, kwh_price)
    assert found is None if cost is None else found == pytest.approx(cost)


def test_a_kwh_has_its_joules() -> None:
    assert kwh([PartEnergy("cpu", 1.8e6, ""), PartEnergy("gpu", 5.4e6, "")]) == 2.0
    assert kwh([PartEnergy("gpu", None, "no driver")]) is None
