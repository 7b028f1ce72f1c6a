"""The attribute judge: is everything in the picture that the sentence names?

It judges the miniature's pictures, as VQAScore judges those of real models. It was trained on
drawings alone and shares nothing with the model that it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hierdiff_core import miniature
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.network import PIXELS, AttributeNetwork, as_input
from hierdiff_core.judges.vocabulary import Vocabulary, load_vocabulary, save_vocabulary

_BATCH = 64
_WEIGHTS, _WORDS = "model.safetensors", "vocabulary.json"


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The verdicts on B pictures."""

    scores: NDArray[np.float64]  # (B,)
    right: Mapping[str, np.ma.MaskedArray]  # (B,) for each attribute, masked where not named


@dataclass(frozen=True)
class AttributeJudge:
    """A loaded judge of pictures of 64 x 64 pixels."""

    network: AttributeNetwork
    vocabulary: Vocabulary
    name: str = "attributes"

    def scores(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return P(every attribute that the prompt names), (B,); see `verdicts`."""
        return self.verdicts(pictures, prompts).scores

    def verdicts(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> Verdicts:
        """Return scores and the attributes that are right, in one pass of the network.

        A score is the product of the named values' softmax probabilities. Rows whose prompt does
        not name an attribute are masked there, so `.mean()` leaves them out. Raises InvalidSetting
        as `Vocabulary.read` does.
        """
        named = [self.vocabulary.read(prompt) for prompt in prompts]
        seen = self.probabilities(pictures)
        scores = [
            np.prod([seen[axis][row, value] for axis, value in names.items()])
            for row, names in enumerate(named)
        ]
        right = {}
        for axis, values in seen.items():
            wanted = np.array([names.get(axis, -1) for names in named], dtype=np.int64)
            right[axis] = np.ma.masked_array(values.argmax(1) == wanted, mask=wanted < 0)
        return Verdicts(np.array(scores, dtype=np.float64), right)

    def probabilities(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        """Return (B, values) for each attribute."""
        parts = [self.network(batch) for batch in _batches(pictures)]
        return {
            axis: torch.cat(logits).double().softmax(1).numpy()
            for axis, *logits in zip(self.vocabulary.axes, *parts, strict=True)
        }

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return (B, 144) features of detail and texture, for the Frechet distance."""
        parts = [self.network.texture(batch) for batch in _batches(pictures)]
        return torch.cat(parts).double().numpy()


def load_attribute_judge(folder: Path = miniature.JUDGE) -> AttributeJudge:
    """Return the judge that ships with the miniature, or that of another folder.

    Raises UnknownModel.
    """
    vocabulary = load_vocabulary(folder / _WORDS)
    network = AttributeNetwork([len(values) for values in vocabulary.axes.values()])
    try:
        network.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, RuntimeError, SafetensorError):
        hint = f"{_WEIGHTS} is missing, damaged or does not fit {_WORDS}"
        raise UnknownModel(model=str(folder), hint=hint) from None
    return AttributeJudge(network.eval().requires_grad_(False), vocabulary)


def save_attribute_judge(judge: AttributeJudge, folder: Path) -> None:
    """Write weights in half precision and the words beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half() for key, value in judge.network.state_dict().items()}
    save_file(weights, folder / _WEIGHTS)
    save_vocabulary(judge.vocabulary, folder / _WORDS)


def _batches(pictures: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (PIXELS, PIXELS, 3) or not len(pictures):
        raise InvalidSetting(
            setting="pictures",
            value=f"{pictures.dtype} {pictures.shape}",
            hint=f"this judge takes uint8 (B, {PIXELS}, {PIXELS}, 3)",
        )
    for at in range(0, len(pictures), _BATCH):
        yield as_input(pictures[at : at + _BATCH])
