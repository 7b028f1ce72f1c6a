"""A budget beyond the bound is asked for by name, and what each picture may lose is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.quality import TOLD_APART, predict_quality
from tasks.catalogue_settings import CatalogueSettings, plan_catalogue
from tasks.ledger import find_night, load_plan, load_run_prompts, open_subtrees, summarise
from tasks.report.gather import gather_report
from tasks.report.page import render_report, summary_markdown
from tasks.risk import saving_unseen
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import NIGHT, SmallNight, plan_small_night, small, write_catalogue

TOO_MUCH = 0.75


@pytest.fixture
def short(settings: Settings) -> Settings:
    return small(settings, saving=TOO_MUCH, accept_loss=False)


@pytest.fixture
def stores(short: Settings) -> Iterator[Stores]:
    with open_stores(short) as opened:
        yield opened


def test_a_budget_beyond_the_bound_is_refused_in_one_line_unless_it_is_asked_for_by_name(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path)
    with pytest.raises(InvalidSetting, match=r"HIERDIFF_SAVING is 0\.75.*ACCEPT_LOSS") as caught:
        plan_small_night(stores, short, file)
    assert "\n" not in str(caught.value)
    assert "beyond the bound of 5.0%" in str(caught.value)
    with stores.session() as session:
        night = find_night(session, "shop", NIGHT)
    assert night is not None
    assert night.run is None
    named = short.model_copy(update={"accept_loss": True})
    assert plan_small_night(stores, named, file).run
    wide = short.model_copy(update={"loss": 9.0})
    assert plan_small_night(stores, wide, file, catalogue="wide").run
    free = short.model_copy(update={"saving": None})
    assert plan_small_night(stores, free, file, catalogue="free").run


def test_what_each_picture_is_predicted_to_lose_is_kept_and_shown_the_worst_first(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    named = short.model_copy(update={"accept_loss": True})
    night = plan_small_night(stores, named, write_catalogue(tmp_path))
    with stores.session() as session:
        leaves, facts = load_plan(session, night.run).leaves, summarise(session, night.run)
        prompts = load_run_prompts(session, night.run)
    forest = plan_catalogue(stores, prompts, CatalogueSettings(named), "another").forest
    losses = [leaf.loss or 0.0 for leaf in leaves]
    assert forest.losses is not None
    assert losses == forest.losses.tolist()
    apart = sum(loss > TOLD_APART for loss in losses)
    assert apart > 0
    assert facts.losses is not None
    assert (facts.losses.told_apart, facts.losses.images) == (apart, len(leaves))
    assert facts.losses.mean == pytest.approx(np.mean(losses))
    assert facts.bound == 0.05
    data = gather_report(stores, named, night.run)
    assert [image.loss for image in data.worst] == sorted(losses, reverse=True)
    page, text = render_report(data), summary_markdown(data)
    assert f"predicted to be told apart: {apart} of 12" in page
    listed = re.findall(r"- (\d+)%: ", text[text.index("Look at these first") :])
    assert listed == [f"{100 * loss:.0f}" for loss in sorted(losses, reverse=True)]


def test_a_night_of_kept_pictures_knows_what_they_lost(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    named, file = short.model_copy(update={"accept_loss": True}), write_catalogue(tmp_path)
    one = plan_small_night(stores, named, file)
    make_all(one)
    two = plan_small_night(stores, named, file, NIGHT + timedelta(days=1))
    with stores.session() as session:
        first, second = load_plan(session, one.run), load_plan(session, two.run)
        kept = summarise(session, two.run).images_kept
    assert kept == len(second.leaves) == 12
    assert [leaf.loss for leaf in second.leaves] == pytest.approx(
        [leaf.loss for leaf in first.leaves]
    )


def test_the_largest_saving_at_which_no_picture_is_told_apart_is_found(
    stores: Stores, short: Settings, tmp_path: Path
) -> None:
    named = short.model_copy(update={"accept_loss": True})
    night = plan_small_night(stores, named, write_catalogue(tmp_path))
    with stores.session() as session:
        prompts = load_run_prompts(session, night.run)

    def planned(saving: float) -> tuple[int, float | None]:
        asked = CatalogueSettings(short.model_copy(update={"saving": saving}))
        forest = plan_catalogue(stores, prompts, asked, f"at {saving}").forest
        quality = predict_quality(forest)
        assert quality is not None
        return quality.told_apart, saving_unseen(stores, prompts, asked, forest)

    seen, unseen = planned(TOO_MUCH)
    assert seen > 0
    assert unseen is not None
    assert 0 < unseen < TOO_MUCH
    assert planned(unseen) == (0, None)


def make_all(night: SmallNight) -> None:
    """Denoise a whole night."""
    with night.stores.session() as session:
        waiting = open_subtrees(session, night.run)
    for shard in waiting:
        denoise_shard(night.stores, night.settings, night.run, shard, owner="me")
