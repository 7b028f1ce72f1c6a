"""Two live workers on one shard: at most one call is done twice, and nothing is left undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.__main__ import NIGHT
from benchmarks.faults.two_workers import FAULTS, trials
from benchmarks.lab import Lab
from benchmarks.night import open_night


@pytest.mark.slow
def test_a_worker_that_lost_its_shard_leaves_it_to_the_one_that_took_over(tmp_path: Path) -> None:
    with open_night(Lab("faults", tmp_path, True, "cpu"), 12, **NIGHT) as planned:
        found = list(trials(planned, len(FAULTS), seed=1))
    assert [trial.fault for trial in found] == list(FAULTS)
    assert [trial for trial in found if not trial.good] == []
