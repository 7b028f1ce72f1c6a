"""The attribute judge is trained on drawings of its own, damaged in known ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hierdiff_core.judges.attributes import load_attribute_judge, save_attribute_judge
from training.examine import DAMAGES, examine
from training.judge import SEED, judge_pictures, spoil, train_judge
from training.loop import Plan
from training.pictures import Pictures
from training.vocabulary import AXES, all_attributes, is_held_out


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return judge_pictures(tmp_path_factory.mktemp("judge"), workers=1, count=24)


def test_its_drawings_are_the_same_whenever_they_are_drawn(drawn: Pictures, tmp_path: Path) -> None:
    again = judge_pictures(tmp_path, workers=1, count=3)
    assert np.array_equal(again.pixels, drawn.pixels[:3])
    assert np.array_equal(again.labels, drawn.labels[:3])


def test_it_may_see_combinations_that_are_held_out_from_the_model() -> None:
    everything = list(all_attributes())
    picks = np.random.default_rng(SEED).integers(len(everything), size=200)
    assert any(is_held_out(everything[pick]) for pick in picks)


def test_damage_is_told_and_half_of_the_pictures_have_none_of_a_kind() -> None:
    pictures = torch.zeros(400, 3, 64, 64)
    pictures[..., ::2] = 1
    spoiled, damage = spoil(pictures, torch.Generator().manual_seed(0))
    assert spoiled.shape == pictures.shape
    assert damage.shape == (400, 2)
    assert ((damage >= 0) & (damage <= 1)).all()
    assert (damage == 0).float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    detail = spoiled.diff(dim=3).abs().mean((1, 2, 3))
    noiseless = damage[:, 1] == 0
    sharp, soft = (noiseless & chosen for chosen in (damage[:, 0] == 0, damage[:, 0] > 0.2))
    assert detail[sharp].mean() > 1.2 * detail[soft].mean()


def test_the_same_batch_is_damaged_alike_after_a_stop() -> None:
    pictures = torch.rand(4, 3, 64, 64)
    once, again = (spoil(pictures, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.slow
def test_it_is_an_ordinary_stage_that_learns_logs_and_is_only_loaded_once_finished(
    drawn: Pictures, tmp_path: Path
) -> None:
    plan = Plan(steps=12, rate=2e-3, warmup=2, log_every=1, average=0.5)
    judge = train_judge(drawn, plan, tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(1, 13))
    assert entries[-1]["loss"] < entries[0]["loss"]
    assert {"stage", *AXES} <= entries[0].keys()
    again = train_judge(drawn, plan, tmp_path)
    assert np.array_equal(judge.features(drawn.pixels), again.features(drawn.pixels))


def test_a_saved_judge_reads_the_words_of_the_training(tmp_path: Path) -> None:
    save_attribute_judge(load_attribute_judge(), tmp_path)
    axes = load_attribute_judge(tmp_path).vocabulary.axes
    assert axes == {name: dict(values) for name, values in AXES.items()}


def test_its_examination_tells_shares_score_and_distance(drawn: Pictures) -> None:
    *shares, score, distance = examine(load_attribute_judge(), drawn, DAMAGES["as drawn"])
    assert len(shares) == len(AXES) + 1
    assert all(share.endswith("%") for share in shares)
    assert 0 <= float(score) <= 1
    assert float(distance) > 0
