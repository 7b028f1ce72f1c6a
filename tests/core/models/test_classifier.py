"""Any classifier of images can be named: what it flags is withheld by its row, in any family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor, pipeline

from hierdiff_core.denoiser import Flagged
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.recipe import Recipe, compatibility_key
from hierdiff_core.sampling.decode import decode_each


def save_classifier(folder: Path, seed: int = 0, problem: str = "") -> Path:
    """Save a small classifier of the labels `fine` and `Not Safe`."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        initializer_range=0.3,
        id2label={0: "fine", 1: "Not Safe"},
        problem_type=problem or None,
    )
    ViTForImageClassification(config).eval().save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def recipe_of(model: Path, classifier: Path, threshold: float = 0.5) -> Recipe:
    options = {"classifier": str(classifier), "classifier_labels": "not safe"}
    return pin_recipe(make_recipe(str(model), options | {"classifier_threshold": str(threshold)}))


def denoiser_of(recipe: Recipe) -> Any:
    models = Models("cpu")
    return models.denoiser(recipe, models.encoder(recipe).embed_negative(recipe))


@pytest.mark.parametrize("problem", ["", "multi_label_classification"])
@pytest.mark.parametrize("family", ["stable_diffusion", "sana"])
def test_what_it_flags_is_what_transformers_own_pipeline_says_and_all_else_is_decoded(
    family: str,
    problem: str,
    stable_diffusion: Path,
    tiny_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    model = stable_diffusion if family == "stable_diffusion" else tiny_folder(family)
    classifier = save_classifier(tmp_path / "classifier", problem=problem)
    free = denoiser_of(pin_recipe(make_recipe(str(model))))
    generator = torch.Generator().manual_seed(3)
    latents = list(torch.randn(5, *free.latent_shape, generator=generator))
    pictures = free.decode(torch.stack(latents), [""] * 5)
    judge = pipeline("image-classification", model=str(classifier))
    said = [judge(Image.fromarray(each)) for each in pictures]
    wanted = [next(one["score"] for one in row if one["label"] == "Not Safe") for row in said]
    limit = float(np.mean(sorted(wanted)[2:4]))  # flags two of five
    denoiser = denoiser_of(recipe_of(model, classifier, limit))
    found = decode_each(denoiser, latents, [""] * 5).pictures
    for score, each, plain in zip(wanted, found, pictures, strict=True):
        assert isinstance(each, Flagged) == (score >= limit)
        if isinstance(each, Flagged):
            assert f"flags it: Not Safe {score:.3f}" in str(each)
        else:
            assert np.abs(each.astype(int) - plain).max() <= 1


def test_one_that_flags_even_a_blank_picture_costs_rows_and_no_device_is_blamed(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    strict = recipe_of(stable_diffusion, save_classifier(tmp_path / "classifier"), 0.0)
    denoiser = denoiser_of(strict)
    latents = [torch.zeros(denoiser.latent_shape)] * 2
    found = decode_each(denoiser, latents, ["", ""]).pictures
    assert [type(each) for each in found] == [Flagged, Flagged]


def test_it_is_pinned_by_its_weights_and_counts_in_keys_once_it_is_named(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    free = pin_recipe(make_recipe(str(stable_diffusion)))
    one = recipe_of(stable_diffusion, save_classifier(tmp_path / "one"))
    same = recipe_of(stable_diffusion, save_classifier(tmp_path / "same"))
    other = recipe_of(stable_diffusion, save_classifier(tmp_path / "other", seed=1))
    assert "classifier" not in free.options
    assert one.revision == same.revision
    keys = [compatibility_key(each) for each in (free, one, same, other)]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3
    stricter = compatibility_key(recipe_of(stable_diffusion, tmp_path / "one", 0.4))
    assert stricter not in keys


def test_labels_that_it_has_not_and_weights_that_run_code_are_refused(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    folder = save_classifier(tmp_path / "classifier")

    def make(**options: str) -> Recipe:
        return make_recipe(str(stable_diffusion), {"classifier": str(folder), **options})

    for labels in ("", "nsfw", "fine, nsfw"):
        with pytest.raises(InvalidSetting, match=r"some of its labels.*: fine, Not Safe"):
            make(classifier_labels=labels)
    with pytest.raises(InvalidSetting, match="from 0 to 1"):
        make(classifier_labels="fine", classifier_threshold="1.5")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnknownModel, match=r"no \*\.safetensors"):
        make(classifier_labels="fine")
