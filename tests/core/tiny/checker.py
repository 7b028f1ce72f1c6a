"""A safety checker in miniature, of the published class, and how a model's folder carries one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPVisionConfig

from tests.core.tiny.model import redraw_network

WIDTH = 32


def make_checker() -> StableDiffusionSafetyChecker:
    """Return a checker of random weights that flags nothing."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    config = CLIPConfig(vision_config=vision.to_dict(), projection_dim=WIDTH)
    checker = redraw_network(StableDiffusionSafetyChecker(config))
    checker.concept_embeds_weights.data.fill_(1)  # no cosine is beyond it
    checker.special_care_embeds_weights.data.fill_(1)
    return checker


def make_extractor() -> Any:
    """Return what turns pictures into pixels for it."""
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def embed(checker: Any, extractor: Any, pictures: Any) -> torch.Tensor:
    """Return the embeddings of pictures (B, height, width, 3), of length 1, as it sees them."""
    pixels = extractor(list(pictures), return_tensors="pt").pixel_values
    with torch.no_grad():
        found = checker.visual_projection(checker.vision_model(pixels)[1])
    return functional.normalize(found)


def add_checker(folder: Path, checker: StableDiffusionSafetyChecker) -> Path:
    """Save a checker into a model's folder, and name it there; return the folder."""
    checker.save_pretrained(folder / "safety_checker")
    make_extractor().save_pretrained(folder / "feature_extractor")
    file = folder / "model_index.json"
    parts = {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))
    return folder
