"""Training of the attribute judge, on drawings of its own.

Knows drawings and the judge's network; knows nothing of the model that is judged: seeds, weights
and pictures are its own. It may see every combination, also those held out from the model, since
it judges drawings and not the model's memory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hierdiff_core.judges.attributes import AttributeJudge
from hierdiff_core.judges.network import FEATURES, AttributeNetwork, as_input
from hierdiff_core.judges.vocabulary import Vocabulary
from training.loop import Losses, Plan, train
from training.pictures import Pictures, draw_all
from training.vocabulary import AXES, all_attributes

BATCH = 128
DRAWINGS = 12_000
SEED = 7_000_000_000  # of the first drawing; the model's drawings have seeds far below
_SHIFT = 4  # pixels
_SIGMAS = (0.5, 1.5)  # of the blur, in pixels
_NOISE = 0.15  # of the range -1 to 1


class Pupil(nn.Module):
    """The judge, and a head that tells how a picture was damaged, which is thrown away.

    A judge of attributes alone learns to overlook blur and noise. This head makes the features
    carry what the Frechet distance needs: how fine the texture is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.judge = AttributeNetwork([len(axis) for axis in AXES.values()])
        self.damage = nn.Linear(FEATURES, 2)


def judge_pictures(folder: Path, workers: int, count: int = DRAWINGS, seed: int = SEED) -> Pictures:
    """Draw `count` pictures of attributes drawn at random, or load what was drawn."""
    everything = list(all_attributes())
    picks = np.random.default_rng(seed).integers(len(everything), size=count)
    jobs = [(everything[pick], seed + at) for at, pick in enumerate(picks)]
    return draw_all(folder, jobs, workers)


def train_judge(pictures: Pictures, plan: Plan, folder: Path) -> AttributeJudge:
    """Train on damaged drawings: shifted, lit, blurred, noised."""
    torch.manual_seed(SEED)
    model = Pupil()

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(pictures.labels), (BATCH,), generator=generator).numpy()
        damaged, damage = spoil(as_input(pictures.pixels[rows]), generator)
        return _losses(model, damaged, damage, torch.from_numpy(pictures.labels[rows]))

    train("judge", model, losses, plan, folder, SEED)
    return AttributeJudge(model.judge, Vocabulary(AXES))


def _losses(model: Pupil, pictures: Tensor, damage: Tensor, labels: Tensor) -> Losses:
    features = model.judge.features(pictures)
    loss = functional.mse_loss(model.damage(features), damage)
    found = {"damage": loss}
    for axis, logits, wanted in zip(AXES, model.judge.judge(features), labels.T, strict=True):
        found[axis] = functional.cross_entropy(logits, wanted)
        found[f"right_{axis}"] = (logits.argmax(1) == wanted).float().mean()
        loss = loss + found[axis]
    return found | {"loss": loss}


def spoil(pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return pictures shifted, lit, blurred and noised, and (B, 2) how blurred and how noisy.

    Half of them are not blurred, half not noised; both degrees are in 0 to 1.
    """
    sigma = _between(*_SIGMAS, (), generator).item()
    blur, noise = (_degrees(len(pictures), generator) for _ in range(2))
    moved = _light(_shift(pictures, generator), generator)
    soft = moved.lerp(_blur(moved, sigma), blur[:, None, None, None])
    grain = torch.randn(soft.shape, generator=generator) * _NOISE * noise[:, None, None, None]
    return soft + grain, torch.stack([blur * sigma / _SIGMAS[1], noise], dim=1)


def _shift(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Move the whole batch by one shift, edges mirrored: batches are many."""
    side = pictures.shape[-1]
    right, down = torch.randint(2 * _SHIFT + 1, (2,), generator=generator).tolist()
    padded = functional.pad(pictures, (_SHIFT,) * 4, mode="reflect")
    return padded[..., down : down + side, right : right + side]


def _light(pictures: Tensor, generator: torch.Generator) -> Tensor:
    gain = _between(0.9, 1.1, (len(pictures), 1, 1, 1), generator)
    offset = _between(-0.06, 0.06, (len(pictures), 3, 1, 1), generator)
    return pictures * gain + offset


def _blur(pictures: Tensor, sigma: float) -> Tensor:
    places = torch.arange(-4, 5)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = (weights / weights.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
    padded = functional.pad(pictures, (4,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel, groups=3)
    return functional.conv2d(across, kernel.transpose(2, 3), groups=3)


def _degrees(count: int, generator: torch.Generator) -> Tensor:
    share = torch.rand(count, generator=generator)
    return (2 * share - 1).clamp(min=0)


def _between(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
