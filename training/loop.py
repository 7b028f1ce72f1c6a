"""The training loop that all stages share: warm-up, cosine, moving average, checkpoints.

Knows nothing of what is trained: a stage hands in its model and a function that gives a loss. A
checkpoint is one safetensors file with weights, averages, Adam's moments and the step, so a run
that was stopped goes on where it was; the order of the batches depends on the step alone. Where
`torchrun` started several processes, they average their gradients and the first one writes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from tqdm import tqdm

Losses = dict[str, Tensor]  # "loss" is minimised, the others are only logged


@dataclass(frozen=True)
class Plan:
    """How long and how fast one stage learns."""

    steps: int
    rate: float  # Adam's learning rate at its highest
    minutes: float = float("inf")  # wall time after which the stage ends early, rate and all
    warmup: int = 50
    average: float = 0.999  # decay of the moving average
    save_every: int = 200
    log_every: int = 20
    compiled: bool = False  # a fifth faster on a processor, where a C++ compiler is at hand
    begin: Path | None = None  # another run's folder: start from its weights, not at random


@dataclass
class State:
    """What a checkpoint holds."""

    model: nn.Module
    average: dict[str, Tensor]
    adam: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0
    finished: bool = False


def train(
    name: str,
    model: nn.Module,
    losses: Callable[[torch.Generator], Losses],
    plan: Plan,
    folder: Path,
    seed: int,
) -> None:
    """Train `model`, then load its moving average into it; a finished run is only loaded.

    Writes `<name>.safetensors` and appends to `log.jsonl` in `folder`.
    """
    state = _begin(name, model, plan)
    if plan.compiled and not state.finished:
        model.compile()
    path = folder / f"{name}.safetensors"
    if path.exists():
        _load(path, state)
    for entry in tqdm(_steps(state, losses, plan, seed), desc=name, total=plan.steps - state.step):
        if not _writes():
            continue
        if state.step % plan.log_every == 0:
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps({"stage": name} | entry) + "\n")
        if state.step % plan.save_every == 0:
            _save(path, state)
    state.finished = True
    if _writes():
        _save(path, state)
    model.load_state_dict(state.average)
    model.eval().requires_grad_(False)


def averaged(path: Path) -> dict[str, Tensor]:
    """Return the moving average that a checkpoint holds, ready for `load_state_dict`."""
    return _below("average/", load_file(path))


def _begin(name: str, model: nn.Module, plan: Plan) -> State:
    model.train()
    former = plan.begin / f"{name}.safetensors" if plan.begin is not None else None
    if former is not None and former.exists():
        model.load_state_dict(averaged(former))
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return State(model, average, torch.optim.Adam(trained, plan.rate, betas=(0.9, 0.99)))


def _steps(
    state: State, losses: Callable[[torch.Generator], Losses], plan: Plan, seed: int
) -> Iterator[dict[str, float]]:
    if state.finished:
        return
    while state.step < plan.steps and state.seconds < plan.minutes * 60:
        began = time.monotonic()
        rate = _rate(state, plan)
        for group in state.adam.param_groups:
            group["lr"] = rate
        found = losses(torch.Generator().manual_seed(_batch_seed(seed, state.step)))
        state.adam.zero_grad()
        found["loss"].backward()
        _share_gradients(state.model)
        nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.adam.step()
        state.step += 1
        _follow(state, plan)
        state.seconds += _longest(time.monotonic() - began)
        logged = {key: round(float(value.detach()), 5) for key, value in found.items()}
        yield {"step": state.step, "seconds": round(state.seconds, 1), "rate": rate} | logged


def _writes() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _batch_seed(seed: int, step: int) -> int:
    process = distributed.get_rank() if distributed.is_initialized() else 0
    return (seed * 1_000_003 + step) * 64 + process


def _share_gradients(model: nn.Module) -> None:
    if not distributed.is_initialized():
        return
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _longest(seconds: float) -> float:
    """Return the slowest process's seconds, so that all end at the same step."""
    if not distributed.is_initialized():
        return seconds
    slowest = torch.tensor(seconds)
    distributed.all_reduce(slowest, distributed.ReduceOp.MAX)
    return float(slowest)


def _rate(state: State, plan: Plan) -> float:
    done = max(state.step / plan.steps, state.seconds / 60 / plan.minutes)
    warm = min(1.0, (state.step + 1) / plan.warmup)
    return plan.rate * warm * (0.02 + 0.49 * (1 + cos(pi * done)))


@torch.no_grad()
def _follow(state: State, plan: Plan) -> None:
    # early on the average would remember the random start, so its decay grows with the step
    keep = min(plan.average, (1 + state.step) / (10 + state.step))
    for key, value in state.model.state_dict().items():
        if value.is_floating_point():
            state.average[key].lerp_(value, 1 - keep)


def _save(path: Path, state: State) -> None:
    tensors = {f"model/{key}": value for key, value in state.model.state_dict().items()}
    tensors |= {f"average/{key}": value for key, value in state.average.items()}
    for index, moments in state.adam.state_dict()["state"].items():
        tensors |= {f"adam/{index}/{key}": value for key, value in moments.items()}
    fresh = path.with_suffix(".new")
    plain = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    counts = {"step": state.step, "seconds": state.seconds, "finished": int(state.finished)}
    save_file(plain, fresh, {key: str(value) for key, value in counts.items()})
    fresh.rename(path)  # a stop while writing leaves the older checkpoint whole


def _load(path: Path, state: State) -> None:
    tensors = load_file(path)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _below("adam/", tensors).items():
        index, moment = key.split("/")
        moments.setdefault(int(index), {})[moment] = value
    state.model.load_state_dict(_below("model/", tensors))
    state.average = _below("average/", tensors)
    state.adam.load_state_dict(state.adam.state_dict() | {"state": moments})
    with safe_open(str(path), framework="pt") as checkpoint:
        metadata = checkpoint.metadata()
    state.step, state.seconds = int(metadata["step"]), float(metadata["seconds"])
    state.finished = metadata.get("finished") == "1"


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
