"""Embeddings: means over clusters, bytes that give them back, and rows that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.embedding import (
    Conditioning,
    Embedding,
    Slot,
    as_read,
    mean_of,
    pack,
    pack_vector,
    stack,
    unpack,
)
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


def make_masked(mask: torch.Tensor) -> Conditioning:
    """Return conditioning of every kind for as many prompts as the mask has rows."""
    size, length = mask.shape
    draws = torch.Generator().manual_seed(2)
    return Conditioning(
        {
            "pooled": torch.randn(size, 6, generator=draws),
            "states": torch.randn(size, length, 4, generator=draws),
            "mask": mask,
            "plain": torch.randn(size, length, 4, generator=draws),
            "size": torch.tensor([[512, 768]]).repeat(size, 1),
        }
    )


SLOTS = (
    Slot("pooled", "vector"),
    Slot("states", "tokens", mask="mask"),
    Slot("mask", "mask"),
    Slot("plain", "tokens"),
    Slot("size", "constant"),
)
every_mask = pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
LENGTHS = (2, 4, 1, 3)  # of the prompts, in five places


def mask_of(dtype: torch.dtype) -> torch.Tensor:
    return (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).to(dtype)


@every_mask
def test_tokens_are_averaged_over_the_members_that_have_one_there(dtype: torch.dtype) -> None:
    conditioning = make_masked(mask_of(dtype))
    states, mean = conditioning.tensors["states"], conditioning.mean([3, 0, 2], SLOTS)
    found = mean.tensors["states"]
    assert (found.shape, found.dtype) == ((1, 5, 4), torch.float32)
    for place, members in enumerate([[0, 2, 3], [0, 3], [3]]):
        torch.testing.assert_close(found[0, place], states[members, place].mean(dim=0))
    assert not found[0, 3:].any()  # nobody has a token there


def test_what_stands_where_a_member_has_no_token_changes_no_mean() -> None:
    conditioning = make_masked(mask_of(torch.int64))
    padded = conditioning.tensors["states"].clone()
    padded[~mask_of(torch.bool)] = 1e6
    other = Conditioning({**conditioning.tensors, "states": padded})
    one, two = (each.mean([0, 1, 2, 3], SLOTS).tensors["states"] for each in (conditioning, other))
    assert torch.equal(one, two)


@every_mask
def test_a_mask_is_the_union_of_the_members_and_stays_a_mask(dtype: torch.dtype) -> None:
    mask = make_masked(mask_of(dtype)).mean([0, 2, 3], SLOTS).tensors["mask"]
    assert mask.dtype == dtype
    assert mask.tolist() == [[1, 1, 1, 0, 0]]


def test_tokens_without_a_mask_are_averaged_as_vectors_are() -> None:
    conditioning = make_masked(mask_of(torch.bool))
    mean = conditioning.mean([1, 2], SLOTS).tensors
    for name in ("plain", "pooled"):
        wanted = conditioning.tensors[name][[1, 2]].mean(dim=0, keepdim=True)
        torch.testing.assert_close(mean[name], wanted)


def test_a_constant_is_taken_and_not_averaged() -> None:
    mean = make_masked(mask_of(torch.bool)).mean([0, 1, 2], SLOTS).tensors["size"]
    assert (mean.tolist(), mean.dtype) == ([[512, 768]], torch.int64)


@every_mask
def test_a_cluster_of_one_keeps_its_bits_of_every_kind(dtype: torch.dtype) -> None:
    conditioning = make_masked(mask_of(dtype))
    for leaf in range(4):
        for name, tensor in conditioning.mean([leaf], SLOTS).tensors.items():
            assert torch.equal(tensor, conditioning.tensors[name][leaf : leaf + 1])
            assert tensor.dtype == conditioning.tensors[name].dtype


def test_the_order_of_members_changes_no_bit_of_any_kind() -> None:
    conditioning = make_masked(torch.rand(40, 7, generator=torch.Generator().manual_seed(3)) < 0.5)
    forth, back = conditioning.mean(range(40), SLOTS), conditioning.mean(range(39, -1, -1), SLOTS)
    assert all(torch.equal(forth.tensors[slot.name], back.tensors[slot.name]) for slot in SLOTS)


@pytest.mark.parametrize("size", [2, 16, 40, 300])
def test_a_mean_from_one_row_after_the_other_has_the_bits_of_one_from_all_at_once(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditioning = make_masked(torch.rand(size, 7) < 0.5)
    rows = [conditioning.take([row]) for row in range(size)]
    at_once = mean_of(iter(rows), size, SLOTS)
    monkeypatch.setattr("hierdiff_core.embedding._AT_ONCE", 0)
    for found in (mean_of(iter(rows), size, SLOTS), conditioning.mean(range(size), SLOTS)):
        for name, tensor in at_once.tensors.items():
            assert torch.equal(found.tensors[name], tensor)
            assert found.tensors[name].dtype == tensor.dtype


def test_tokens_of_half_precision_and_padding_take_no_room_and_come_back() -> None:
    tokens = torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(4))
    mask = torch.arange(64)[None] < 10
    slots = (Slot("states", "tokens", mask="mask"), Slot("mask", "mask"))
    whole = Conditioning({"states": tokens, "mask": mask})
    sizes = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        row = as_read(whole, slots, dtype)
        packed = pack(Embedding(np.ones(4, np.float32), row))
        again = unpack(packed).conditioning.tensors
        assert torch.equal(again["states"], row.tensors["states"])
        assert again["states"].dtype == torch.float32
        assert torch.equal(again["mask"], mask)
        sizes.append(safetensors.torch.load(packed)["states"].nbytes)
    assert sizes == [10 * 32 * 4, 10 * 32 * 2, 10 * 32 * 2]


def test_tokens_that_no_half_precision_holds_keep_their_bits_and_their_room() -> None:
    row = make_conditioning(1)
    stored = safetensors.torch.load(pack(Embedding(np.ones(4, np.float32), row)))
    assert torch.equal(stored["states"], row.tensors["states"])


def test_tokens_that_are_all_zero_come_back() -> None:
    row = Conditioning({"states": torch.zeros(1, 5, 4)})
    again = unpack(pack(Embedding(np.ones(4, np.float32), row))).conditioning
    assert torch.equal(again.tensors["states"], torch.zeros(1, 5, 4))


def test_what_a_network_reads_is_rounded_and_masked_in_its_tokens_alone() -> None:
    rows = make_masked(mask_of(torch.int64))
    read = as_read(rows, SLOTS, torch.bfloat16).tensors
    for name in ("pooled", "mask", "size"):
        assert torch.equal(read[name], rows.tensors[name])
    assert torch.equal(read["plain"], rows.tensors["plain"].bfloat16().float())
    assert not read["states"][~mask_of(torch.bool)].any()
    again = as_read(Conditioning(read), SLOTS, torch.bfloat16).tensors
    assert all(torch.equal(again[name], read[name]) for name in read)


def test_a_network_reads_all_tokens_where_a_mask_hides_every_one() -> None:
    slots = (Slot("states", "tokens", "mask"), Slot("mask", "mask"))
    states, mask = torch.randn(2, 3, 4), torch.tensor([[True, False, True], [False] * 3])
    read = as_read(Conditioning({"states": states, "mask": mask}), slots, torch.float32).tensors
    assert torch.equal(read["states"][1], states[1])
    assert not read["states"][0, 1].any()
    assert torch.equal(read["states"][0, ::2], states[0, ::2])


def test_a_vector_that_is_a_view_of_what_steers_is_packed_beside_it() -> None:
    pooled, tokens = torch.randn(1, 8), torch.randn(1, 3, 4)
    row = Conditioning({"pooled": pooled, "tokens": tokens})
    again = unpack(pack(Embedding(pooled[0].numpy(), row)))
    np.testing.assert_array_equal(again.vector, pooled[0].numpy())
    assert torch.equal(again.conditioning.tensors["pooled"], pooled)


def test_a_vector_is_packed_alone() -> None:
    packed = pack_vector(np.arange(5, dtype=np.float32))
    np.testing.assert_array_equal(unpack(packed).vector, np.arange(5))


def test_an_embedding_comes_back_with_its_own_tree_vector() -> None:
    rows = make_masked(mask_of(torch.bool)).take([1])
    embedding = Embedding(np.arange(3, dtype=np.float32), rows)
    again = unpack(pack(embedding))
    np.testing.assert_array_equal(again.vector, embedding.vector)
    assert again.vector.dtype == np.float32
    assert set(again.conditioning.tensors) == set(rows.tensors)
    for name, tensor in rows.tensors.items():
        assert torch.equal(again.conditioning.tensors[name], tensor)
        assert again.conditioning.tensors[name].dtype == tensor.dtype


def test_a_vector_that_steers_by_itself_is_stored_once() -> None:
    row = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    packed = pack(Embedding(row[0].numpy(), Conditioning({"image_embeds": row})))
    assert list(safetensors.torch.load(packed)) == ["image_embeds"]
    again = unpack(packed)
    np.testing.assert_array_equal(again.vector, row[0].numpy())
    assert torch.equal(again.conditioning.tensors["image_embeds"], row)


def test_a_tree_vector_beside_one_tensor_that_differs_is_kept() -> None:
    row = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    again = unpack(pack(Embedding(row[0, 1].numpy().copy(), Conditioning({"states": row}))))
    np.testing.assert_array_equal(again.vector, row[0, 1].numpy())
    assert list(again.conditioning.tensors) == ["states"]


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
