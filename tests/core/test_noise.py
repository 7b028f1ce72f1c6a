"""Noise is a function of a seed, a key and a step, and of nothing else."""

from __future__ import annotations

import itertools

import torch

from hierdiff_core.noise import initial_noise, step_noise

SHAPE = (4, 8, 8)


def test_a_draw_is_the_same_at_any_time() -> None:
    first = step_noise(1, "key", 3, SHAPE)
    torch.manual_seed(99)
    torch.randn(7)
    state = torch.get_rng_state()
    assert torch.equal(step_noise(1, "key", 3, SHAPE), first)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone


def test_seed_key_and_step_each_give_another_draw() -> None:
    draws = [initial_noise(seed, key, SHAPE) for seed in (0, 1) for key in ("a", "b")]
    draws += [
        step_noise(seed, key, step, SHAPE)
        for seed in (0, 1)
        for key in ("a", "b")
        for step in (0, 1, 10, 11)
    ]
    for one, other in itertools.combinations(draws, 2):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.35


def test_draws_are_standard_normal() -> None:
    draws = torch.stack([initial_noise(0, str(key), SHAPE) for key in range(200)])
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02
    assert (draws.dtype, draws.device.type) == (torch.float32, "cpu")


def test_a_draw_is_what_it_was_when_it_was_first_made() -> None:
    wanted = torch.tensor([-0.441763, 0.607938, 2.010904])
    torch.testing.assert_close(initial_noise(0, "key", (3,)), wanted, rtol=0, atol=1e-6)
