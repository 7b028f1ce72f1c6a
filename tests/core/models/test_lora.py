"""LoRA adapters: pictures are those of the stock pipeline with the adapter loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.library import generate
from hierdiff_core.models.families import FAMILIES, options_of
from hierdiff_core.models.folder import read_class_name
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from tests.core.gaussian import draw
from tests.core.tiny.model import Asked, Tiny
from tests.core.tiny.pipelines import MODELS

K, SCALE, TEXT = 2, 0.5, "a red cup"
TARGETS = ["to_q", "to_v", "q_proj", "v_proj"]
SMALL = {"stable_diffusion": Tiny("stable_diffusion", diffusers.StableDiffusionPipeline), **MODELS}
# One model of each family that takes adapters.
ADAPTED = {
    model.family: name
    for name, model in SMALL.items()
    if "lora" in [option.name for option in options_of(model.family)]
}.values()

Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def saved(tiny_folder: Folder, stable_diffusion: Path) -> Folder:
    return lambda name: stable_diffusion if name == "stable_diffusion" else tiny_folder(name)


def open_stock(folder: Path) -> Any:
    kind = getattr(diffusers, read_class_name(str(folder)))
    stock = kind.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    return stock


def save_adapter(model: Path, folder: Path, seed: int = 0) -> Path:
    """Save an adapter of everything that its pipeline can load one for."""
    torch.manual_seed(seed)
    stock, layers = open_stock(model), {}
    for part in stock._lora_loadable_modules:
        module = getattr(stock, part)
        module.add_adapter(LoraConfig(r=4, target_modules=TARGETS, init_lora_weights=False))
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(module)
    stock.save_lora_weights(folder, **layers)
    return folder


@pytest.mark.parametrize("name", list(ADAPTED))
def test_pictures_are_those_of_the_stock_pipeline_with_the_adapter(
    saved: Folder, tmp_path: Path, name: str
) -> None:
    model, folder = SMALL[name], saved(name)
    adapter = save_adapter(folder, tmp_path)
    stock = open_stock(folder)
    stock.load_lora_weights(adapter, adapter_name="ours")
    stock.set_adapters("ours", SCALE)
    fields: dict[str, Any] = {"height": model.side, "width": model.side}
    fields |= {"guidance": model.guidance, "steps": K, "tau": 0.0, "device": "cpu"}
    plain = generate(str(folder), [TEXT], **fields, **model.options)
    noise = draw(5, *plain.latents.shape)
    told = {"lora": str(adapter), "lora_scale": SCALE, **model.options}
    made = generate(str(folder), [TEXT], initial_noise=noise, **fields, **told)
    asked = Asked(TEXT, noise[0], K, model.guidance, model.side, model.side)
    latents, picture = model.call(stock, model, asked)
    found, largest = model.packed(torch.from_numpy(made.latents[0])), float(latents.abs().max())
    torch.testing.assert_close(found, latents, rtol=0, atol=2e-5 * largest)
    assert np.abs(made.pictures[0] / 255 - picture).max() < 0.5 / 255 + 2e-5
    stock.unload_lora_weights()
    without, _ = model.call(stock, model, asked)
    assert (without - latents).abs().max() > 1e-3 * largest


def test_a_revision_pins_the_adapter_and_its_scale(saved: Folder, tmp_path: Path) -> None:
    folder = saved("stable_diffusion_xl")
    one, other = (save_adapter(folder, tmp_path / str(seed), seed) for seed in (1, 2))
    moved = Path(shutil.copytree(one, tmp_path / "moved"))

    def revisions(**options: Any) -> tuple[str, str]:
        recipe = pin_recipe(make_recipe(str(folder), options))
        return recipe.revision, recipe.text_revision

    plain, named = revisions(), revisions(lora=str(one))
    assert revisions(lora=str(moved)) == named
    assert revisions(lora="") == plain
    different = [plain, named, revisions(lora=str(other)), revisions(lora=str(one), lora_scale=0.5)]
    for side in (0, 1):
        assert len({each[side] for each in different}) == 4


def test_an_adapter_that_cannot_be_used_is_refused_in_one_line(
    saved: Folder, tmp_path: Path
) -> None:
    folder = saved("stable_diffusion_xl")
    of_another = save_adapter(saved("flux_schnell"), tmp_path / "flux")
    (tmp_path / "empty").mkdir()

    def refusal(lora: Path | str) -> str:
        with pytest.raises(UnknownModel) as refused:
            generate(str(folder), [TEXT], steps=K, lora=str(lora), device="cpu")
        return str(refused.value)

    assert "it is neither a folder, a file nor a hub name" in refusal("nobody/nothing")
    assert "it has 0 files *.safetensors; name the file" in refusal(tmp_path / "empty")
    assert "it has no LoRA weights for the unet" in refusal(of_another)
    narrow = save_adapter(saved("stable_diffusion"), tmp_path / "sd")
    assert "\n" not in refusal(narrow)


def test_a_family_that_takes_none_says_so_in_one_line(saved: Folder) -> None:
    taken = {SMALL[name].family for name in ADAPTED}
    for name in sorted(set(FAMILIES.values()) - taken - {"kandinsky22"}):
        with pytest.raises(InvalidSetting, match=f"{name} has no such option; it has"):
            make_recipe(str(saved(name)), {"lora": "here"})
