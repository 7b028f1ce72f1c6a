"""What is said of a small model: its pipeline, and how the stock class is called for a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

LENGTH = 24  # tokens of CLIP


@dataclass(frozen=True)
class Asked:
    """One picture, as a stock pipeline is asked for it."""

    text: str
    noise: torch.Tensor
    steps: int
    guidance: float
    height: int
    width: int
    negative: str = ""
    beside: int = 1  # pictures of the call, all alike


Found = tuple[torch.Tensor, npt.NDArray[np.float32]]  # final latents; a picture from 0 to 1


@contextmanager
def recorded(scheduler: Any) -> Iterator[list[torch.Tensor]]:
    """Note the latents of one row after each step of a scheduler."""
    ends: list[torch.Tensor] = []
    step = scheduler.step

    @wraps(step)
    def record(*args: Any, **kwargs: Any) -> Any:
        stepped = step(*args, **kwargs)
        ends.append(stepped[0][0])
        return stepped

    scheduler.step = record
    yield ends
    del scheduler.step


def call_stock(pipeline: Any, model: Tiny, asked: Asked) -> Found:
    """Return what most stock pipelines make."""
    negative = asked.negative or model.no_negative
    told = {} if negative is None else {"negative_prompt": negative}
    with recorded(pipeline.scheduler) as ends:
        made = pipeline(
            prompt=asked.text,
            height=asked.height,
            width=asked.width,
            num_inference_steps=asked.steps,
            latents=asked.noise.repeat(asked.beside, *[1] * asked.noise.dim()),
            num_images_per_prompt=asked.beside,
            output_type="np",
            **{model.scale_name: asked.guidance},
            **told,
            **model.stock,
        )
    return ends[-1], made.images[0]


@dataclass(frozen=True)
class Tiny:
    """One model of a family."""

    family: str
    make: Callable[[], Any]  # the stock pipeline
    side: int = 32  # pixels
    options: Mapping[str, Any] = field(default_factory=dict)  # of the recipe
    stock: Mapping[str, Any] = field(default_factory=dict)  # arguments of the stock call
    guidance: float = 3.0
    unguided: float = 1.0
    scale_name: str = "guidance_scale"  # of the argument that guides
    no_negative: str | None = None  # what stands for no negative prompt
    negative: bool = True  # whether there are negative prompts
    others: tuple[str, ...] = ()  # solvers beside its own that the stock pipeline can be given
    packed: Callable[[torch.Tensor], torch.Tensor] = lambda latents: latents  # as stock's are
    call: Callable[[Any, Tiny, Asked], Found] = call_stock
    whole: bool = True  # whether diffusers loads its folder
    fixed: bool = False  # whether it makes one size alone
    near: float = 1e-5  # in the size of latents, and of pictures from 0 to 1
    stray: float = 0.0  # share of a picture's numbers that may be further off


def reads(count: int, **stock: Any) -> dict[str, Any]:
    """Return the fields of a model whose text encoder reads so many tokens."""
    return {
        "options": {"max_tokens": count},
        "stock": {"max_sequence_length": count, **stock},
    }


def redraw(pipeline: Any, seed: int = 0) -> Any:
    """Return the pipeline with all weights drawn anew, so that no input is without effect."""
    draws = torch.Generator().manual_seed(seed)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            redraw_network(part, draws)
    return pipeline


def redraw_network(part: Any, draws: torch.Generator | None = None) -> Any:
    """Return a network with all weights drawn anew."""
    draws = draws or torch.Generator().manual_seed(0)
    for name, weight in part.named_parameters():
        drawn = torch.randn(weight.shape, generator=draws)
        wide = weight[0].numel() if weight.dim() > 1 else 0
        if weight.dim() > 1 and "embed" in name and "proj" not in name:
            weight.data = 0.5 * drawn
        elif weight.dim() > 1:
            weight.data = 0.7 * drawn / wide**0.5
        else:
            is_scale = "norm" in name and name.endswith("weight")
            weight.data = is_scale + 0.1 * drawn
    return part.eval()
