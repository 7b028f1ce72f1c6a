"""The shipped attribute judge tells what drawings show, and its features see texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.attributes import (
    AttributeJudge,
    load_attribute_judge,
    save_attribute_judge,
)
from hierdiff_core.judges.frechet import frechet_distance
from hierdiff_core.miniature import JUDGE
from training.captions import caption
from training.drawings import draw
from training.vocabulary import AXES, Attributes, all_attributes

SEED = 9_000_000_000  # no drawing of any training has it


@pytest.fixture(scope="module")
def judge() -> AttributeJudge:
    return load_attribute_judge()


@pytest.fixture(scope="module")
def shown() -> list[Attributes]:
    everything = list(all_attributes())
    picks = np.random.default_rng(SEED).integers(len(everything), size=120)
    return [everything[pick] for pick in picks]


@pytest.fixture(scope="module")
def drawn(shown: list[Attributes]) -> np.ndarray:
    return np.stack([np.asarray(draw(each, SEED + at)) for at, each in enumerate(shown)])


def test_every_attribute_of_a_fresh_drawing_is_told_right(
    judge: AttributeJudge, drawn: np.ndarray, shown: list[Attributes]
) -> None:
    texts = [caption(each, at) for at, each in enumerate(shown)]
    right = judge.verdicts(drawn, texts).right
    assert list(right) == list(AXES)
    assert all(told.mean() > 0.96 for told in right.values())
    assert judge.scores(drawn, texts).mean() > 0.9


def test_a_wrong_attribute_costs_nearly_the_whole_score(
    judge: AttributeJudge, drawn: np.ndarray, shown: list[Attributes]
) -> None:
    for axis, values in AXES.items():
        names = list(values)
        other = [names[names.index(getattr(each, axis)) - 1] for each in shown]
        assert judge.scores(drawn, [values[name][0] for name in other]).mean() < 0.03


def test_the_score_is_the_product_over_what_is_named(
    judge: AttributeJudge, drawn: np.ndarray
) -> None:
    parts = [judge.scores(drawn[:5], [text] * 5) for text in ("a mug", "striped", "on the grass")]
    whole = judge.scores(drawn[:5], ["a striped mug on the grass"] * 5)
    np.testing.assert_allclose(whole, np.prod(parts, axis=0), rtol=1e-9)


def test_what_is_not_named_is_left_out_of_the_shares(
    judge: AttributeJudge, drawn: np.ndarray, shown: list[Attributes]
) -> None:
    texts = [shown[0].product, f"{shown[1].colour} {shown[1].product}"]
    right = judge.verdicts(drawn[:2], texts).right
    assert right["product"].mask.tolist() == [False, False]
    assert right["colour"].mask.tolist() == [True, False]
    assert right["pattern"].mask.all()
    assert right["colour"].mean() == 1.0


def test_the_frechet_distance_grows_with_blur(judge: AttributeJudge, drawn: np.ndarray) -> None:
    other = judge.features(drawn[60:])
    soft = [gaussian_filter(drawn[:60], (0, sigma, sigma, 0)) for sigma in (0, 1, 2)]
    distances = [frechet_distance(judge.features(pictures), other) for pictures in soft]
    assert distances == sorted(distances)
    assert distances[-1] > 1.5 * distances[0]


def test_a_picture_is_judged_alike_in_any_company(judge: AttributeJudge, drawn: np.ndarray) -> None:
    together, alone = judge.features(drawn[:70]), judge.features(drawn[69:70])
    np.testing.assert_allclose(together[69:], alone, rtol=1e-4, atol=1e-5)


def test_every_caption_of_the_training_can_be_read(judge: AttributeJudge) -> None:
    for at, attributes in enumerate(list(all_attributes())[::37]):
        named = judge.vocabulary.read(caption(attributes, at))
        told = {axis: list(AXES[axis])[place] for axis, place in named.items()}
        assert Attributes(**told) == attributes


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((1, 128, 128, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((0, 64, 64, 3), np.uint8),
    ],
)
def test_pictures_of_another_shape_are_refused(judge: AttributeJudge, pictures: np.ndarray) -> None:
    with pytest.raises(InvalidSetting, match="takes uint8"):
        judge.features(pictures)


def test_a_judge_is_the_same_after_a_round_to_disk(
    judge: AttributeJudge, drawn: np.ndarray, tmp_path: Path
) -> None:
    save_attribute_judge(judge, tmp_path)
    again = load_attribute_judge(tmp_path)
    assert np.array_equal(judge.features(drawn[:8]), again.features(drawn[:8]))


def test_a_damaged_judge_is_refused(judge: AttributeJudge, tmp_path: Path) -> None:
    save_attribute_judge(judge, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UnknownModel, match=r"model\.safetensors is missing, damaged"):
        load_attribute_judge(tmp_path)


def test_the_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in JUDGE.iterdir()) < 1.5 * 2**20
