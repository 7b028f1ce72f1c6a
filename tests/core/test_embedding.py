"""Conditionings: means over clusters, and rows that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.embedding import Conditioning, flatten, stack
from hierdiff_core.errors import InvalidEmbedding


def make_conditioning(size: int = 6) -> Conditioning:
    draws = torch.Generator().manual_seed(0)
    return Conditioning(
        {
            "image_embeds": torch.randn(size, 8, generator=draws),
            "states": torch.randn(size, 3, 4, generator=draws),
        }
    )


def test_a_clusters_conditioning_is_the_plain_mean_of_its_members() -> None:
    conditioning = make_conditioning()
    mean = conditioning.mean([1, 4, 5])
    assert len(mean) == 1
    for name, tensor in conditioning.tensors.items():
        wanted = tensor[[1, 4, 5]].mean(dim=0, keepdim=True)
        torch.testing.assert_close(mean.tensors[name], wanted)
        assert mean.tensors[name].dtype == torch.float32


def test_the_mean_of_one_is_itself_to_the_bit() -> None:
    conditioning = make_conditioning()
    for name, tensor in conditioning.mean([3]).tensors.items():
        assert torch.equal(tensor, conditioning.tensors[name][3:4])


def test_the_order_of_members_changes_no_bit_of_a_mean() -> None:
    rows = torch.randn(500, 16, generator=torch.Generator().manual_seed(1))
    scaled = Conditioning({"x": rows * 10.0 ** torch.arange(-12, 13)[:, None].repeat(20, 1)})
    forth, back = scaled.mean(range(500)), scaled.mean(range(499, -1, -1))
    assert torch.equal(forth.tensors["x"], back.tensors["x"])


def test_rows_are_stacked_in_the_order_given() -> None:
    conditioning = make_conditioning()
    rows = [conditioning.mean([leaf]) for leaf in (2, 0, 5)]
    for name, tensor in stack(rows).tensors.items():
        assert torch.equal(tensor, conditioning.tensors[name][[2, 0, 5]])


def test_trees_see_all_tensors_side_by_side() -> None:
    conditioning = make_conditioning()
    flat = flatten(conditioning)
    assert (flat.shape, flat.dtype) == ((6, 20), np.float32)
    np.testing.assert_array_equal(flat[:, 8:], conditioning.tensors["states"].flatten(1).numpy())


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "is not finite"), (-np.inf, "is not finite"), (0, "is zero")]
)
def test_a_bad_embedding_is_refused_by_the_row_of_its_prompt(value: float, reason: str) -> None:
    vectors = np.ones((4, 3))
    vectors[2] = value
    with pytest.raises(InvalidEmbedding) as refused:
        check_vectors(vectors, [11, 12, 13, 14])
    assert str(refused.value) == (
        f"Row 13: its embedding {reason}; check the prompt and the prior's weights."
    )


def test_good_embeddings_pass() -> None:
    check_vectors(np.eye(3))
