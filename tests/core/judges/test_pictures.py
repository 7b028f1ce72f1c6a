"""Encoders of pictures compare them as the published classes do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.attributes import load_attribute_judge
from hierdiff_core.judges.clip import load_clip
from hierdiff_core.judges.pictures import load_picture_encoder
from hierdiff_core.miniature import PRIOR


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(3, 64, 64, 3)).astype(np.uint8)


def test_clips_half_for_pictures_makes_the_vectors_of_the_whole(pictures: np.ndarray) -> None:
    found = load_picture_encoder(f"clip:{PRIOR}", "cpu")(pictures)
    assert found.dtype == np.float32
    wanted = load_clip(str(PRIOR), "cpu").embed_pictures(pictures)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_siglips_half_for_pictures_makes_unit_vectors_of_its_pooled_output(
    pictures: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = SiglipVisionConfig(**sizes, num_hidden_layers=1, image_size=32, patch_size=16)
    network = SiglipVisionModel(config).eval()
    network.save_pretrained(tmp_path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    found = load_picture_encoder(f"siglip:{tmp_path}", "cpu")(pictures)
    seen = SiglipImageProcessor.from_pretrained(tmp_path)(list(pictures), return_tensors="pt")
    with torch.no_grad():
        wanted = network(**seen).pooler_output
    wanted = torch.nn.functional.normalize(wanted, dim=1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_judges_features_are_its_own(pictures: np.ndarray) -> None:
    found = load_picture_encoder("attributes", "cpu")(pictures)
    np.testing.assert_allclose(found, load_attribute_judge().features(pictures), rtol=1e-6)


@pytest.mark.parametrize("name", ["clip", "siglip:", "dino:here", ""])
def test_another_kind_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"use clip:FOLDER_OR_NAME, siglip:FOLDER_OR_NAME"):
        load_picture_encoder(name)


def test_a_model_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="refuses it"):
        load_picture_encoder(f"siglip:{tmp_path}", "cpu")
