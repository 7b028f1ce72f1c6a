"""`hierdiff plan` says what a night is predicted to lose, and what keeps the bound."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tasks.settings import Settings
from tests.flows.commands.test_tune import Shop
from tests.tasks.night_kit import environment, write_catalogue

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Shop:
    changed = settings.model_copy(
        update={"steps": 8, "device": "cpu", "options": {"prior_steps": 5}}
    )
    return Shop(environment(changed), changed, write_catalogue(tmp_path), tmp_path)


def quote(shop: Shop, **environment: str) -> tuple[dict[str, object], str]:
    """Return a night's price, as JSON and as people read it."""
    words = ("plan", "shop", "--file", str(shop.file))
    asked = Shop({**shop.told, **environment}, shop.settings, shop.file, shop.folder)
    found = asked.run(*words, "--json")
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout), asked.run(*words).stdout


def test_a_night_without_a_budget_saves_what_its_bound_allows(shop: Shop) -> None:
    found, text = quote(shop)
    assert found["planner"] == "calibrated"
    assert 0.01 < float(str(found["loss"])) <= 0.05
    assert float(str(found["saving"])) > 0.1
    assert found["forwards"] == 2 * int(str(found["evaluations"]))
    assert f"forwards      {found['forwards']} instead of {12 * 8 * 2}" in text
    assert re.search(r"quality +predicted to lose [1-5]\.\d% of what plain pictures miss", text)
    assert "beyond" not in text
    nothing, text = quote(shop, HIERDIFF_LOSS="0")
    assert (nothing["saving"], nothing["loss"]) == (0, 0)
    assert "most" not in text


def test_a_saving_beyond_the_bound_is_named_so_with_the_rows_that_lose_most(shop: Shop) -> None:
    found, text = quote(shop, HIERDIFF_SAVING="0.75")
    assert float(str(found["loss"])) > 0.05
    within = float(str(found["saving_within"]))
    assert f"beyond the bound of 5.0%: a saving of {within:.1%} keeps it, --accept-loss" in text
    assert f"predicted to be told apart: {found['told_apart']} of {found['images']}" in text
    assert found["told_apart"]
    assert f"the largest saving without that: {found['saving_unseen']:.1%}" in text
    losses = [row["loss"] for row in found["worst"]]  # type: ignore[attr-defined]
    assert losses == sorted(losses, reverse=True)
    worst = found["worst"][0]  # type: ignore[index]
    assert f"{worst['reference']} {worst['loss']:.0%}" in text
    bounded, _ = quote(shop, HIERDIFF_SAVING=f"{within:.4f}")
    assert float(str(bounded["loss"])) <= 0.0501
