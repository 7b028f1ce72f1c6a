"""Keys that mean the same work, and bytes that give back the same state or nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.errors import CorruptCheckpoint
from hierdiff_core.keys import node_keys, segment_keys
from hierdiff_core.plan import PAPER, Plan, Segment, make_plan
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.schedule import make_schedule
from tests.core.recipes import CHANGES, bare_recipe, change

SIZE = 9


def make_state(history: int = 0) -> State:
    draws = torch.randn(1 + history, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    return State(draws[0], 12, tuple(draws[1:]))


def assert_same(one: State, other: State) -> None:
    assert one.step == other.step
    assert torch.equal(one.latents, other.latents)
    assert one.latents.dtype == other.latents.dtype
    assert len(one.history) == len(other.history)
    assert all(map(torch.equal, one.history, other.history))


def there_and_back(state: State) -> State:
    return unpack(pack({"key": state}))["key"]


def header_of(packed: bytes) -> dict[str, str]:
    length = int.from_bytes(packed[:8], "little")
    header: dict[str, str] = json.loads(packed[8 : 8 + length])["__metadata__"]
    return header


@pytest.mark.parametrize("history", [0, 1, 3, 12])
def test_a_state_survives_its_bytes(history: int) -> None:
    state = make_state(history)
    assert_same(there_and_back(state), state)


def test_several_states_share_bytes_and_none_is_mistaken_for_another() -> None:
    states = {f"{history}": make_state(history) for history in (0, 2, 1)}
    states["other step"] = dataclasses.replace(make_state(2), step=13)
    found = unpack(pack(states))
    assert set(found) == set(states)
    for key, state in states.items():
        assert_same(found[key], state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_latents_of_any_kind_survive(dtype: torch.dtype) -> None:
    state = State(make_state().latents.to(dtype).transpose(1, 2), 0)
    assert_same(there_and_back(state), state)


def test_numbers_that_are_not_finite_survive() -> None:
    state = State(torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]), 1)
    assert there_and_back(state).latents.numpy().tobytes() == state.latents.numpy().tobytes()


def test_a_history_is_under_the_seal_and_cannot_be_dropped_or_swapped() -> None:
    packed = pack({"key": make_state(2)})
    tensors = safetensors.torch.load(packed)
    one, two = "key.history.0", "key.history.1"
    dropped = {name: each for name, each in tensors.items() if name != two}
    swapped = tensors | {one: tensors[two], two: tensors[one]}
    for changed in (dropped, swapped):
        with pytest.raises(CorruptCheckpoint, match="the digest differs"):
            unpack(safetensors.torch.save(changed, header_of(packed)))


def test_states_cannot_change_places_under_the_seal() -> None:
    one = make_state()
    packed = pack({"a": one, "b": State(one.latents + 1, one.step)})
    tensors = safetensors.torch.load(packed)
    swapped = {"a.latents": tensors["b.latents"], "b.latents": tensors["a.latents"]}
    with pytest.raises(CorruptCheckpoint, match="the digest differs"):
        unpack(safetensors.torch.save(swapped, header_of(packed)))


def test_equal_states_have_equal_bytes_in_whatever_order_they_come() -> None:
    one, two = make_state(2), make_state(1)
    assert pack({"a": one, "b": two}) == pack({"b": make_state(1), "a": make_state(2)})
    assert pack({"a": one, "b": two}) != pack({"a": two, "b": one})


def test_the_bytes_are_plain_safetensors_and_no_pickle() -> None:
    packed = pack({"a": make_state(1), "b": make_state(0)})
    assert set(safetensors.torch.load(packed)) == {"a.latents", "a.history.0", "b.latents"}
    assert json.loads(header_of(packed)["hierdiff"])["steps"] == {"a": 12, "b": 12}


@settings(derandomize=True, deadline=None, max_examples=400)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_change_nothing(data: st.DataObject) -> None:
    states = {"a": make_state(1), "b": make_state(0)}
    packed = bytearray(pack(states))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack(bytes(packed), "some name")
    except CorruptCheckpoint:
        return
    for key, state in states.items():
        assert_same(found[key], state)


def test_every_single_byte_counts() -> None:
    state = make_state()
    packed = pack({"key": state})
    for place in range(len(packed)):
        damaged = packed[:place] + bytes([packed[place] ^ 0x10]) + packed[place + 1 :]
        try:
            found = unpack(damaged)
        except CorruptCheckpoint:
            continue
        assert_same(found["key"], state)


def test_bytes_cut_short_or_drawn_out_are_refused() -> None:
    packed = pack({"key": make_state(1)})
    for length in [*range(0, 300, 7), len(packed) - 1]:
        with pytest.raises(CorruptCheckpoint):
            unpack(packed[:length])
    with pytest.raises(CorruptCheckpoint):
        unpack(packed + b"\x00")


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.binary(max_size=64))
def test_any_other_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises(CorruptCheckpoint):
        unpack(junk)


@pytest.mark.parametrize("tensors", [{}, {"latents": torch.ones(2)}, {"other": torch.ones(2)}])
def test_foreign_safetensors_are_refused(tensors: dict[str, torch.Tensor]) -> None:
    for header in (None, {}, {"hierdiff": "{}"}, {"hierdiff": "3"}, {"hierdiff": "["}):
        with pytest.raises(CorruptCheckpoint):
            unpack(safetensors.torch.save(tensors, metadata=header))


def test_a_refusal_names_the_checkpoint_in_one_line() -> None:
    with pytest.raises(CorruptCheckpoint) as refused:
        unpack(b"", "0123abcd")
    line = str(refused.value)
    assert line.startswith("Checkpoint 0123abcd cannot be used: its bytes are damaged (")
    assert line.endswith("); it will be computed again from its parent.")
    assert "\n" not in line


def make_test_plan(size: int = SIZE, tau: float = 1.0) -> Plan:
    vectors = np.random.default_rng(0).normal(size=(SIZE, 5))[:size]
    return make_plan(build_tree(vectors, "average"), make_schedule(20, tau))


CONTENT = [f"prompt {leaf}" for leaf in range(SIZE)]
RECIPE = bare_recipe()


def keys_of(recipe: Recipe, plan: Plan | None = None) -> tuple[str, ...]:
    return segment_keys(plan or make_test_plan(), CONTENT, [compatibility_key(recipe)] * SIZE)


def test_every_segment_of_a_plan_has_a_key_of_its_own() -> None:
    keys = keys_of(RECIPE)
    assert len(set(keys)) == len(keys) == len(make_test_plan().segments)
    assert all(len(key) == 64 for key in keys)


def test_every_field_of_the_recipe_changes_every_key() -> None:
    seen = set(keys_of(RECIPE))
    for name, value in CHANGES.items():
        keys = set(keys_of(change(RECIPE, **{name: value})))
        assert not keys & seen, name
        seen |= keys


def test_a_change_above_changes_all_keys_below_and_none_beside() -> None:
    plan = make_test_plan()
    top = next(root for root in plan.roots if plan.children[root])
    moved = dataclasses.replace(plan.segments[top], start=1)
    segments = [*plan.segments]
    segments[top] = moved
    keys = keys_of(RECIPE, dataclasses.replace(plan, segments=tuple(segments)))
    both = enumerate(zip(keys_of(RECIPE), keys, strict=True))
    assert {i for i, (old, new) in both if old != new} == set(plan.subtree(top))


def test_another_prompt_changes_the_keys_of_the_clusters_that_hold_it() -> None:
    plan, recipes = make_test_plan(), [compatibility_key(RECIPE)] * SIZE
    other = segment_keys(plan, ["changed", *CONTENT[1:]], recipes)
    for segment, old, new in zip(plan.segments, keys_of(RECIPE), other, strict=True):
        above = {leaf for each in plan.path(segment) for leaf in plan.members(each)}
        assert (old != new) == (0 in above)


def test_keys_are_equal_in_any_run_and_for_any_numbering_of_the_prompts() -> None:
    vectors = np.random.default_rng(0).normal(size=(SIZE, 5))
    order = np.random.default_rng(1).permutation(SIZE)
    names = [CONTENT[row] for row in order]
    recipes = [compatibility_key(RECIPE)] * SIZE
    plans = [
        make_plan(build_tree(rows, "average", keys), make_schedule(20, 1.0))
        for rows, keys in ((vectors, CONTENT), (vectors[order], names))
    ]
    one = segment_keys(plans[0], CONTENT, recipes)
    other = segment_keys(plans[1], names, recipes)
    assert one == other
    assert node_keys(plans[0], CONTENT) == node_keys(plans[1], names)


# A change here orphans every stored checkpoint; VERSION is there to say so on purpose.
FIRST_KEYS = ("8865c069e4eb93b8", "fb67b2c83f91d860")


def test_keys_are_what_they_were_when_this_version_was_first_written() -> None:
    segments = (Segment(0, 2, 0, 5, None, 0, 2), Segment(1, 0, 5, 9, 0, 0, 1))
    plan = Plan(9, (0, 1), segments, PAPER, "ward", 1.0)
    keys = segment_keys(plan, CONTENT[:2], [compatibility_key(RECIPE)] * 2)
    assert tuple(key[:16] for key in keys) == FIRST_KEYS
