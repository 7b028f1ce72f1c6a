"""A model's safety checker: what it flags is withheld by its own row, and nothing is blackened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from hierdiff_core.denoiser import Flagged
from hierdiff_core.errors import InvalidSetting, RowFailed, UnknownModel
from hierdiff_core.library import generate
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.models.safety_checker import score
from hierdiff_core.models.stable_diffusion import fit, load_encoder, load_networks
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.sampling.decode import decode_each
from tests.core.tiny.checker import add_checker, embed, make_checker, make_extractor

ON = {"safety_checker": "withhold"}


@pytest.fixture(scope="module")
def folder(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose checker flags the second of `latents`, and no blank either."""
    copy = Path(shutil.copytree(stable_diffusion, tmp_path_factory.mktemp("checked") / "sd"))
    checker, extractor = make_checker(), make_extractor()
    rows = embed(
        checker, extractor, decode(copy, torch.cat([latents(), torch.zeros_like(latents()[:1])]))
    )
    others = rows[[0, 2, 3, 4]]
    concept = rows[1] - others.mean(dim=0)
    cosines = rows @ functional.normalize(concept, dim=0)
    checker.concept_embeds.data[0] = concept
    checker.concept_embeds_weights.data[0] = (cosines[1] + cosines[[0, 2, 3, 4]].max()) / 2
    return add_checker(copy, checker)


def latents() -> torch.Tensor:
    return torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def denoiser_of(folder: Path, **options: str) -> Any:
    recipe = make_recipe(str(folder), options)
    negative = load_encoder(recipe, "cpu").embed_negative(recipe)
    return fit(load_networks(recipe, "cpu"), recipe, negative)


def decode(folder: Path, rows: torch.Tensor) -> Any:
    return denoiser_of(folder).decode(rows, [""] * len(rows))


def test_what_is_flagged_is_what_the_stock_pipeline_blackens() -> None:
    checker, extractor = make_checker(), make_extractor()
    draws = np.random.default_rng(1)
    pictures = draws.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    rows = embed(checker, extractor, pictures)
    checker.concept_embeds_weights.data = (
        rows @ functional.normalize(checker.concept_embeds.data).T
    ).quantile(0.95, dim=0)
    special = rows @ functional.normalize(checker.special_care_embeds.data).T
    checker.special_care_embeds_weights.data = special.quantile(0.8, dim=0)
    pixels = extractor(list(pictures), return_tensors="pt").pixel_values
    _, flagged = checker(clip_input=pixels, images=np.ones((24, 4, 4, 3)))
    assert 0 < sum(flagged) < 24
    np.testing.assert_array_equal(score(checker, extractor, pictures) > 0, flagged)


def test_a_flagged_picture_fails_alone_and_the_rest_keep_their_bits(folder: Path) -> None:
    wanted = decode(folder, latents())
    found = decode_each(denoiser_of(folder, **ON), list(latents()), list("abcd")).pictures
    assert isinstance(found[1], Flagged)
    assert "the model's safety checker flags it, 0." in str(found[1])
    for place in (0, 2, 3):
        np.testing.assert_array_equal(found[place], wanted[place])


def test_no_checker_is_loaded_unless_it_is_asked_for(folder: Path) -> None:
    assert denoiser_of(folder).pipeline.safety_checker is None
    assert denoiser_of(folder, **ON).pipeline.safety_checker is not None


def test_one_call_names_the_prompt_whose_picture_is_flagged(folder: Path, tmp_path: Path) -> None:
    everything = Path(shutil.copytree(folder, tmp_path / "sd"))
    checker = make_checker()
    # Noise follows a recipe's key, which says whether pictures are checked.
    asked = {"tau": 0.0, "steps": 2, "device": "cpu", "initial_noise": latents()[:2]}
    plain = generate(str(everything), ["a red cup", "pots"], **asked)
    extractor = make_extractor()
    one, flagged = embed(checker, extractor, plain.pictures)
    blank = embed(checker, extractor, decode(everything, torch.zeros(1, 4, 8, 8)))[0]
    concept = functional.normalize(flagged - (one + blank) / 2, dim=0)
    checker.concept_embeds.data[0] = concept
    beside = max(float(one @ concept), float(blank @ concept))
    checker.concept_embeds_weights.data[0] = (float(flagged @ concept) + beside) / 2
    checker.save_pretrained(everything / "safety_checker")
    with pytest.raises(RowFailed, match="Prompts 'pots' have no picture: Flagged: the model's"):
        generate(str(everything), ["a red cup", "pots"], **asked, **ON)


def test_the_checker_is_pinned_and_named_in_keys_where_it_is_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    recipes = [pin_recipe(make_recipe(str(copy), options)) for options in ({}, ON)]
    keys = [content_key(Prompt(1, "", "a cup", recipe)) for recipe in recipes]
    assert keys[0] != keys[1]
    config = copy / "safety_checker/config.json"
    config.write_text(config.read_text() + "\n")
    again = [pin_recipe(make_recipe(str(copy), options)) for options in ({}, ON)]
    assert [a.revision == b.revision for a, b in zip(recipes, again, strict=True)] == [True, False]


def test_a_model_without_a_checker_and_another_value_are_refused(
    stable_diffusion: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make_recipe(str(stable_diffusion), ON)
    assert str(refused.value) == (
        "Setting safety_checker is 'withhold': use none: the model's folder has no checker."
    )
    with pytest.raises(InvalidSetting, match="Setting safety_checker is 'black': use none or with"):
        make_recipe(str(folder), {"safety_checker": "black"})
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shutil.rmtree(copy / "safety_checker")
    with pytest.raises(UnknownModel, match="its part safety_checker is missing"):
        load_networks(make_recipe(str(copy), ON), "cpu")
