"""A classifier of pictures that any family can be given: what it flags is withheld.

It is a model of transformers with a head for classes, named by folder or hub name. A flagged
picture fails alone: a night lists it with its score and goes on, and nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from hierdiff_core.denoiser import Denoiser, Flagged
from hierdiff_core.embedding import Slot
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.models.families import CLASSIFIER, CLASSIFIER_LABELS, CLASSIFIER_THRESHOLD
from hierdiff_core.models.folder import find_classifier
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.recipe import Recipe

_REFUSALS = (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError)


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier and what it is asked for."""

    name: str
    network: Any
    processor: Any
    flagged: Mapping[int, str]  # labels by class
    threshold: float

    @torch.no_grad()
    def scores(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the probability of each class for pictures (B, H, W, 3), (B, C).

        Classes exclude each other unless the model says otherwise, as in transformers' pipeline.
        """
        images = [Image.fromarray(each) for each in pictures]
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"]
        logits = self.network(pixel_values=pixels.to(self.network.device)).logits.double()
        config = self.network.config
        apart = config.problem_type == "multi_label_classification" or config.num_labels == 1
        return np.asarray((logits.sigmoid() if apart else logits.softmax(dim=1)).cpu())

    def check(self, pictures: npt.NDArray[np.uint8]) -> None:
        """Raise Flagged, naming label and score, if there is a picture that it flags."""
        classes = list(self.flagged)
        scores = self.scores(pictures)[:, classes].max(axis=0)
        worst = int(scores.argmax())
        if scores[worst] >= self.threshold:
            found = f"{self.flagged[classes[worst]]} {scores[worst]:.3f}"
            raise Flagged(
                f"the classifier {self.name} flags it: {found}, {self.threshold:g} or more"
            )


@dataclass(frozen=True)
class Inspected:
    """A Denoiser whose pictures a classifier looks at before anybody else does."""

    denoiser: Denoiser
    classifier: Classifier

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """See Denoiser."""
        return self.denoiser.latent_shape

    @property
    def device(self) -> torch.device:
        """See Denoiser."""
        return self.denoiser.device

    @property
    def noise_schedule(self) -> NoiseSchedule:
        """See Denoiser."""
        return self.denoiser.noise_schedule

    @property
    def slots(self) -> Sequence[Slot]:
        """See Denoiser."""
        return self.denoiser.slots

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """See Denoiser."""
        return self.denoiser.predict(latents, timesteps, conditioning)

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        """See Denoiser; raises Flagged."""
        pictures = self.denoiser.decode(latents, names)
        self.classifier.check(pictures)
        return pictures


def check_classifier(recipe: Recipe) -> None:
    """Raise InvalidSetting or UnknownModel for a classifier that cannot flag what is asked for."""
    name = recipe.option(CLASSIFIER.name)
    if not name:
        return
    threshold = recipe.option(CLASSIFIER_THRESHOLD.name)
    if threshold > 1:
        hint = "use a probability, from 0 to 1"
        raise InvalidSetting(setting=CLASSIFIER_THRESHOLD.name, value=threshold, hint=hint)
    config = _load(AutoConfig, name)
    _flagged(recipe, config.id2label or {})


def load_classifier(recipe: Recipe, device: torch.device) -> Classifier:
    """Return the classifier that a recipe names; raises UnknownModel.

    In full precision, since its scores decide, and from safetensors only, since pickles run code.
    """
    name = recipe.option(CLASSIFIER.name)
    given = {"dtype": torch.float32, "use_safetensors": True}
    network = _load(AutoModelForImageClassification, name, **given)
    return Classifier(
        name=name,
        network=network.to(device).eval().requires_grad_(False),
        processor=_load(AutoImageProcessor, name),
        flagged=_flagged(recipe, network.config.id2label),
        threshold=recipe.option(CLASSIFIER_THRESHOLD.name),
    )


def _flagged(recipe: Recipe, known: Mapping[int, str]) -> dict[int, str]:
    """Return the labels that flag a picture, by class; raises InvalidSetting."""
    asked = recipe.option(CLASSIFIER_LABELS.name)
    words = [each.strip().casefold() for each in asked.split(",") if each.strip()]
    classes = {label.casefold(): int(number) for number, label in known.items()}
    if not words or any(each not in classes for each in words):
        hint = f"name some of its labels, separated by commas: {', '.join(known.values())}"
        raise InvalidSetting(setting=CLASSIFIER_LABELS.name, value=asked, hint=hint)
    return {classes[each]: known[classes[each]] for each in words}


def _load(kind: Any, name: str, **given: Any) -> Any:
    try:
        return kind.from_pretrained(find_classifier(name), local_files_only=True, **given)
    except _REFUSALS as error:
        reason = " ".join(str(error).split())[:200]
        raise UnknownModel(model=name, hint=f"{kind.__name__} refuses it ({reason})") from None
