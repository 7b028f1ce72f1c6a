"""Pictures that share no step are those of the stock pipelines, for every family.

The few cases here run with every change; `python -m benchmarks parity` measures the whole grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.core.tiny.parity import Draws, Pair, compare, equal_noise, load_pair
from tests.core.tiny.pipelines import MODELS

TEXTS = ("a red cup", "two pots, a hat")  # of unequal length


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> Pair:
    return load_pair(MODELS[request.param], tiny_folder(request.param))


@pytest.fixture(autouse=True)
def same_noise() -> Iterator[Draws]:
    with equal_noise() as draws:
        yield draws


def check(pair: Pair, draws: Draws, texts: Sequence[str], **fields: Any) -> None:
    """Compare latents and pictures of our call with those of the stock pipeline."""
    model = pair.model
    for each in compare(pair, draws, texts, **fields):
        assert each.latents <= model.near
        # A level is off where rounding tips.
        assert (each.pictures > model.near).mean() <= model.stray


def test_pictures_are_those_of_the_stock_pipeline(pair: Pair, same_noise: Draws) -> None:
    check(pair, same_noise, TEXTS)


def test_pictures_without_guidance_are_too(pair: Pair, same_noise: Draws) -> None:
    check(pair, same_noise, TEXTS[:1], guidance=pair.model.unguided)


def test_pictures_of_another_shape_by_other_solvers_are_too(pair: Pair, same_noise: Draws) -> None:
    if pair.model.fixed:
        pytest.skip("makes one size, by one solver")
    side = pair.model.side
    for solver in pair.model.others or (None,):
        check(pair, same_noise, TEXTS[1:], solver=solver, height=2 * side, width=side)


def test_pictures_away_from_a_negative_prompt_are_too(pair: Pair, same_noise: Draws) -> None:
    if not pair.model.negative or pair.model.family == "kandinsky3":
        pytest.skip("takes none, or cuts it to the length of the prompt beside it")
    check(pair, same_noise, TEXTS[:1], negative_prompt="a blur")
