"""Stable unCLIP: a cluster's mean has the noise that its level states."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hierdiff_core.embedding import Conditioning, stack
from hierdiff_core.errors import InvalidSetting, PromptTooLong
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.models.stable_unclip import (
    LABELS,
    PICTURE,
    SLOTS,
    TEXT,
    draw_noise,
    load_check,
    load_encoder,
)
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from tests.core.tiny.encoders import WIDE

TEXTS = ("a red cup", "two pots", "a hat")


@pytest.fixture(scope="module")
def folder(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("stable_unclip")


def recipe_of(folder: Path, **options: Any) -> Recipe:
    return make_recipe(str(folder), {"prior_steps": 3, **options})


def labels_of(folder: Path, **options: Any) -> tuple[torch.Tensor, Conditioning]:
    """Return the embeddings (N, D) that the prior drew, and what steers the network."""
    recipe = recipe_of(folder, **options)
    prompts = [Prompt(row, "", text, recipe) for row, text in enumerate(TEXTS, start=1)]
    rows = load_encoder(recipe, "cpu").embed(prompts)
    vectors = torch.stack([torch.from_numpy(row.vector) for row in rows])
    return vectors, stack([row.conditioning for row in rows])


def test_a_clusters_mean_is_its_mean_embedding_with_the_noise_of_its_level(folder: Path) -> None:
    vectors, rows = labels_of(folder, noise_level=500)
    mean = rows.mean([0, 1, 2], SLOTS).tensors[LABELS]
    pipeline = load_encoder(recipe_of(folder), "cpu").pipeline
    together = vectors.mean(dim=0, keepdim=True)
    with torch.no_grad():
        wanted = pipeline.noise_image_embeddings(together, 500, noise=draw_noise(0, WIDE))
    torch.testing.assert_close(mean, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def test_the_level_of_noise_is_told_beside_each_embedding(folder: Path) -> None:
    still, noisy = (labels_of(folder, noise_level=each)[1].tensors[LABELS] for each in (0, 900))
    assert still.shape == noisy.shape == (len(TEXTS), 2 * WIDE)
    for rows in (still, noisy):
        assert torch.equal(rows[:, WIDE:], rows[:1, WIDE:].expand(len(TEXTS), WIDE))
    assert not torch.equal(still[0, WIDE:], noisy[0, WIDE:])


def test_a_level_above_those_of_its_scheduler_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidSetting, match="Setting noise_level is 1000: use 0 to 999"):
        recipe_of(folder, noise_level=1000)


def test_defaults_are_those_of_its_pipeline(folder: Path) -> None:
    recipe = make_recipe(str(folder))
    assert (recipe.solver, recipe.steps, recipe.guidance) == ("pndm", 20, 10.0)
    assert (recipe.height, recipe.width) == (32, 32)
    options = {name: recipe.option(name) for name in ("prior_steps", "prior_guidance")}
    assert options == {"prior_steps": 25, "prior_guidance": 4.0}
    assert recipe.option("noise_level") == 0


def test_a_prompt_that_would_be_cut_is_refused_by_its_row(folder: Path) -> None:
    recipe = recipe_of(folder)
    check = load_check(recipe)
    check(Prompt(4, "", "x" * 22, recipe))
    with pytest.raises(PromptTooLong, match=r"^Row 5: the prompt has 25 tokens"):
        check(Prompt(5, "", "x" * 23, recipe))


@pytest.mark.parametrize("part", [*TEXT, *PICTURE])
def test_each_revision_follows_the_files_of_its_own_side(
    folder: Path, tmp_path: Path, part: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    before = pin_recipe(recipe_of(copy))
    file = next(each for each in sorted((copy / part).iterdir()) if each.suffix == ".json")
    file.write_text(file.read_text() + "\n")
    after = pin_recipe(recipe_of(copy))
    assert (after.text_revision != before.text_revision) == (part in TEXT)
    assert (after.revision != before.revision) == (part in PICTURE)
