"""The training loop goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from training.loop import Losses, Plan, averaged, train

PLAN = Plan(steps=30, rate=0.2, warmup=5, save_every=10, log_every=1)


def line_fit(model: nn.Module, stop_at: float = float("inf")) -> Callable[..., Losses]:
    """Return the losses of fitting y = 2 x; raises once that many batches were drawn."""
    drawn = 0

    def losses(generator: torch.Generator) -> Losses:
        nonlocal drawn
        drawn += 1
        if drawn > stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 1, generator=generator)
        return {"loss": (model(x) - 2 * x).square().mean()}

    return losses


def fresh_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def test_a_stopped_run_ends_with_the_weights_of_one_that_never_stopped(tmp_path: Path) -> None:
    whole, halved = fresh_model(), fresh_model()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    train("line", whole, line_fit(whole), PLAN, tmp_path / "a", seed=1)
    try:
        train("line", halved, line_fit(halved, stop_at=20), PLAN, tmp_path / "b", seed=1)
    except KeyboardInterrupt:
        halved = fresh_model()
        train("line", halved, line_fit(halved), PLAN, tmp_path / "b", seed=1)
    assert torch.equal(whole.weight, halved.weight)


def test_a_finished_run_is_loaded_and_not_trained_further(tmp_path: Path) -> None:
    model = fresh_model()
    train("line", model, line_fit(model), PLAN, tmp_path, seed=1)
    again = fresh_model()
    train("line", again, line_fit(again, stop_at=0), PLAN, tmp_path, seed=1)
    assert torch.equal(model.weight, again.weight)
    assert torch.equal(model.weight, averaged(tmp_path / "line.safetensors")["weight"])


def test_the_log_has_one_line_of_json_for_each_step(tmp_path: Path) -> None:
    model = fresh_model()
    train("line", model, line_fit(model), PLAN, tmp_path, seed=1)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(1, 31))
    assert entries[-1]["loss"] < entries[0]["loss"] / 10


def test_a_run_begun_from_a_former_one_starts_with_its_averaged_weights(tmp_path: Path) -> None:
    (tmp_path / "former").mkdir()
    (tmp_path / "later").mkdir()
    former, later = fresh_model(), fresh_model()
    train("line", former, line_fit(former), PLAN, tmp_path / "former", seed=1)
    none = Plan(steps=0, rate=0.2, begin=tmp_path / "former")
    train("line", later, line_fit(later), none, tmp_path / "later", seed=1)
    assert torch.equal(former.weight, later.weight)


def test_a_stage_that_the_former_run_never_reached_starts_afresh(tmp_path: Path) -> None:
    model = fresh_model()
    before = model.weight.clone()
    none = Plan(steps=0, rate=0.2, begin=tmp_path)
    train("line", model, line_fit(model), none, tmp_path, seed=1)
    assert torch.equal(model.weight, before)
