"""A model whose pictures lie in no space of its prompts is calibrated by an encoder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from hierdiff_core.budget import Budget
from hierdiff_core.calibrated.calibration_file import calibration_path, find_calibration
from hierdiff_core.calibrated.readings import Design
from hierdiff_core.errors import UnknownModel
from hierdiff_core.forest import group_prompts
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt
from tasks.settings import Settings
from tasks.tuning.calibrate import calibrate
from tests.core.recipes import change
from tests.core.tiny.model import redraw
from tests.core.tiny.pipelines import MODELS

DESIGN = Design(steps=3, plain_steps=(2,), plain=8)
TEXTS = [f"{count} {colour} cups" for count in "2345" for colour in ("red", "blue", "tan", "grey")]


@pytest.fixture
def settings() -> Settings:
    """Settings that no store is needed for."""
    return Settings(device="cpu", steps=3, height=32, width=32)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(["prompt", *TEXTS]))
    return file


def save_siglip(folder: Path) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    config = SiglipVisionConfig(**sizes, num_hidden_layers=1, image_size=32, patch_size=16)
    SiglipVisionModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_text_conditioned_model_is_planned_by_its_calibration_once_it_has_one(
    settings: Settings, sample: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path / "models/tiny"
    redraw(MODELS["stable_diffusion_xl"].make()).save_pretrained(folder)
    recipe = pin_recipe(settings.model_copy(update={"model": str(folder)}).recipe)
    asked = {"file": sample, "evaluations": DESIGN.evaluations(16), "design": DESIGN}
    with pytest.raises(UnknownModel, match="--picture-encoder clip:FOLDER_OR_NAME or siglip:"):
        calibrate(settings, recipe, **asked)
    encoder = f"siglip:{save_siglip(tmp_path / 'siglip')}"
    made = calibrate(settings, recipe, **asked, picture_encoder=encoder)
    assert made.path == calibration_path(recipe)
    assert made.calibration.facts["picture_encoder"] == encoder
    assert made.calibration.basis.shape[0] == 32  # of CLIP's pooled vector; SigLIP's has 64
    found = find_calibration(recipe)
    assert found is not None
    assert np.array_equal(found.settled, made.calibration.settled)
    assert find_calibration(change(recipe, watermark="invisible")) is not None
    assert find_calibration(change(recipe, guidance_stop=0.5)) is None
    (group,) = group_prompts([Prompt(row, "", text, recipe) for row, text in enumerate(TEXTS)])
    vectors = np.random.default_rng(0).normal(size=(len(TEXTS), 32)).astype(np.float32)
    plan = plan_forest([group], [vectors], PlanSettings(budget=Budget(saving=0.3))).plan
    assert plan.planner == "calibrated"
    assert plan.saving >= 0.3
