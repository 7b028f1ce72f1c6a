"""Good rows go on, bad ones are listed with a reason, and no bad row stops a night."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hierdiff_core.errors import InvalidSetting, MissingColumn
from tasks import ledger
from tasks.database import session_scope
from tasks.errors import EmptyBatch
from tasks.ingest import Ingested, read_batch
from tasks.settings import read_settings
from tasks.source.source_row import SourceRow
from tasks.stages import Source, read_rows
from tests.tasks.conftest import NIGHT, RECIPE


def _read(*columns: Mapping[str, object]) -> Ingested:
    return read_batch([SourceRow(number, each) for number, each in enumerate(columns, 1)], RECIPE)


def test_good_rows_go_on_and_bad_ones_are_listed() -> None:
    batch = _read(
        {"prompt": "a mug", "reference": "SKU-1"},
        {"prompt": "  "},
        {"prompt": "a bag", "guidance": "much"},
        {"prompt": 7},
        {"reference": "SKU-5"},
        {"prompt": "a lamp", "width": -64},
        {"prompt": "a chair", "guidance": "2.5", "seed": "9", "height": 128, "width": ""},
    )
    assert [prompt.row for prompt in batch.prompts] == [1, 7]
    assert [fault.row for fault in batch.rejected] == [2, 3, 4, 5, 6]
    assert "empty" in batch.rejected[0].reason
    assert "'guidance' holds 'much'" in batch.rejected[1].reason
    recipe = batch.prompts[1].recipe
    assert (recipe.guidance, recipe.height, recipe.width) == (2.5, 128, 64)
    assert batch.prompts[1].own_seed == 9


def test_a_line_that_could_not_be_taken_apart_is_listed() -> None:
    batch = read_batch(
        [SourceRow(1, {"prompt": "mug"}), SourceRow(2, fault="the line is no JSON")], RECIPE
    )
    assert batch.rejected[0].reason == "Row 2: the line is no JSON; correct it or drop the row."


def test_a_missing_column_is_one_error_for_the_whole_batch() -> None:
    with pytest.raises(MissingColumn, match=r"'prompt' is missing.*text, sku"):
        _read(*[{"text": "mug", "sku": "1"}] * 100)


def test_a_batch_without_rows_is_refused() -> None:
    with pytest.raises(EmptyBatch, match="no rows"):
        _read()


def test_a_batch_without_good_rows_is_refused_with_the_first_reason() -> None:
    with pytest.raises(EmptyBatch, match=r"all 2 rows.*Row 1: the prompt is empty"):
        _read({"prompt": ""}, {"prompt": None})


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": "nul \x00"},
        {"prompt": "half \ud83d"},
        {"prompt": "mug", "negative_prompt": "\x00"},
        {"prompt": "mug", "reference": "\udcff"},
        {"\x00\ud800": "no prompt column"},
        {"prompt": "mug", "guidance": "\x00" * 10_000},
    ],
    ids=range(6),
)
def test_a_row_that_no_database_can_hold_costs_itself_only(
    database: Engine, columns: Mapping[str, object]
) -> None:
    batch = _read(columns, {"prompt": "mug", "description": "\x00 in a column nobody asked for"})
    assert [fault.row for fault in batch.rejected] == [1]
    assert len(batch.rejected[0].reason) <= 500
    with session_scope(database) as session:
        night = ledger.claim_night(session, "shop", NIGHT)
        ledger.store_prompts(session, night.batch, batch.prompts, batch.rejected)
    with session_scope(database) as session:
        assert ledger.load_rejected(session, night.batch) == batch.rejected


def test_rows_are_read_one_by_one() -> None:
    def rows() -> object:
        yield SourceRow(1, {"prompt": "mug"})
        raise ConnectionError

    with pytest.raises(ConnectionError):
        read_batch(rows(), RECIPE)  # type: ignore[arg-type]


def test_a_solver_that_the_model_cannot_run_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    settings = read_settings(solver="flow_euler", home=tmp_path)
    with pytest.raises(InvalidSetting, match="flow_euler"):
        read_rows(settings, Source(file=tmp_path / "no-such-file.csv"))
