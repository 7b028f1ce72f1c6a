"""Units are carried out, judged and kept as the evaluation promises; on the shipped miniature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.evaluation.unit import Outcome, Unit, make_unit
from hierdiff_core.miniature import MODEL
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from tasks.evaluation.carry_out import carry_out
from tasks.evaluation.crew import Bench, find_missing, make_one
from tasks.evaluation.subject import embed_texts
from tasks.evaluation.work_folder import WorkFolder

TEXTS = ("a red mug", "a blue mug", "a red lamp", "a blue lamp", "a green chair")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    recipe = pin_recipe(make_recipe(MODEL, {"prior_steps": 3}))
    made = Bench(recipe, ("attributes",), "cpu", WorkFolder(tmp_path_factory.mktemp("work")))
    embed_texts(made.subject, TEXTS)
    return made


def _made(bench: Bench, unit: Unit) -> Outcome:
    return carry_out(unit, bench.subject, bench.panel)


def test_a_sample_scores_as_it_does_when_the_whole_set_is_made(bench: Bench) -> None:
    setting = Setting("ward", "ddim", 4, saving=0.4)
    whole = _made(bench, Unit(TEXTS, (0, 1, 2, 3, 4), setting))
    part = _made(bench, Unit(TEXTS, (1, 4), setting))
    assert part.per_image == whole.per_image
    assert part.main == pytest.approx(whole.main[[1, 4]], abs=1e-3)


def test_sharing_nothing_is_the_standard_run(bench: Bench) -> None:
    alone = _made(bench, make_unit(TEXTS, range(5), standard("ddpm", 3)))
    tau_zero = _made(bench, Unit(TEXTS, (0, 1, 2, 3, 4), Setting("ward", "ddpm", 3, tau=0.0)))
    assert np.array_equal(alone.pictures, tau_zero.pictures)
    assert alone.per_image == tau_zero.per_image == 3


def test_a_picture_that_failed_has_no_score_and_is_tried_again(bench: Bench) -> None:
    (good,) = bench.subject.embeddings(["a blue mug"])
    bad = Conditioning({name: each * np.nan for name, each in good.conditioning.tensors.items()})
    unit = make_unit(TEXTS, [0, 1], standard("ddim", 2))
    keys = bench.keys([unit], "panel")
    bench.subject.known["a blue mug"] = Embedding(good.vector, bad)
    try:
        make_one(bench, unit, keys[unit])
    finally:
        bench.subject.known["a blue mug"] = good
    found = bench.folder.load(keys[unit])
    assert found is not None
    assert np.isnan(found.main).tolist() == [False, True]
    assert find_missing(bench.folder, keys) == [unit]
    make_one(bench, unit, keys[unit])
    assert find_missing(bench.folder, keys) == []


def test_a_budget_that_cannot_be_met_is_remembered(bench: Bench) -> None:
    unit = Unit(TEXTS[:2], (0, 1), Setting("ward", "ddim", 4, saving=0.9))
    keys = bench.keys([unit], "panel")
    make_one(bench, unit, keys[unit])
    assert "saving" in str(bench.folder.refusal(keys[unit]))
    assert find_missing(bench.folder, keys) == []


def test_keys_follow_the_weights_and_the_judges(bench: Bench) -> None:
    unit = make_unit(TEXTS, [0], standard("ddim", 2))
    other = replace(bench, recipe=replace(bench.recipe, revision="other"))
    keys = {*bench.keys([unit], "a").values(), *bench.keys([unit], "b").values()}
    assert len(keys | set(other.keys([unit], "a").values())) == 3
    assert bench.fingerprint("a mug") == bench.fingerprint("a mug")


def test_embeddings_are_made_once(bench: Bench) -> None:
    again = Bench(bench.recipe, bench.judges, "cpu", bench.folder)
    done: list[int] = []
    embed_texts(again.subject, TEXTS, lambda count, _: done.append(count))
    assert done == []
    assert np.array_equal(again.subject.vectors(TEXTS), bench.subject.vectors(TEXTS))


def test_a_damaged_result_counts_as_missing(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path)
    (tmp_path / "units").mkdir()
    (tmp_path / "units/key.npz").write_bytes(b"PK")
    assert folder.load("key") is None
