"""Devices and precisions: which are taken, and what is refused."""

from __future__ import annotations

import pytest
import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.device import choose_device, choose_dtype
from tests.core.recipes import bare_recipe


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match="use auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_a_gpu_is_asked_for_in_vain_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InvalidSetting, match="no GPU can be seen; use cpu"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_a_precision_is_that_of_the_recipe_where_the_device_has_it() -> None:
    assert choose_dtype(bare_recipe(dtype="bfloat16"), "cpu") is torch.bfloat16
    with pytest.raises(InvalidSetting, match="a CPU needs float32 or bfloat16"):
        choose_dtype(bare_recipe(dtype="float16"), "cpu")
