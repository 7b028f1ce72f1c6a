"""CLIP score and diversity are the published formulas on the models' own embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.clip import ClipScore, load_clip
from hierdiff_core.miniature import PRIOR

PROMPTS = ["a red mug", "a photograph of a blue striped lamp on the grass"]


def random_pictures(count: int, pixels: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, size=(count, 1, 1, 3))
    return (
        (plain + rng.integers(-20, 20, size=(count, pixels, pixels, 3)))
        .clip(0, 255)
        .astype(np.uint8)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel as transformers saves it, with the miniature's words and eyes."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PRIOR / "tokenizer")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    text = CLIPTextConfig(
        **sizes,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=48,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(**sizes, num_hidden_layers=2, image_size=64, patch_size=16)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = PRIOR / "image_processor" / "preprocessor_config.json"
    (folder / processor.name).write_bytes(processor.read_bytes())
    return folder


def literal_cosines(folder: Path, pictures: np.ndarray, prompts: list[str]) -> np.ndarray:
    """Return cosines through CLIPModel's own forward pass; pixels in -1 to 1."""
    model = CLIPModel.from_pretrained(folder).eval()
    read = CLIPTokenizer.from_pretrained(folder)(prompts, padding=True, return_tensors="pt")
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        found = model(pixel_values=pixels, **read)
        cosines = found.logits_per_image / model.logit_scale.exp()
    return cosines.diagonal().double().numpy()


def test_the_score_is_a_hundred_times_the_cosine_that_the_whole_model_has(whole: Path) -> None:
    pictures = random_pictures(2)
    cosines = literal_cosines(whole, pictures, PROMPTS)
    found = load_clip(str(whole), device="cpu").scores(pictures, PROMPTS)
    np.testing.assert_allclose(found, np.maximum(100 * cosines, 0), atol=1e-3)
    assert np.abs(cosines).min() > 0.001


def test_a_cosine_below_zero_scores_zero(whole: Path) -> None:
    judge = load_clip(str(whole), device="cpu")
    pictures = random_pictures(1)
    flipped = ClipScore(
        judge.tokenizer, judge.text_encoder, judge.image_processor, Opposite(judge.image_encoder)
    )
    both = [each.scores(pictures, PROMPTS[:1])[0] for each in (judge, flipped)]
    assert min(both) == 0 < max(both)


class Opposite:
    """An image encoder whose embeddings point the other way."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        self.encoder, self.device, self.dtype = encoder, encoder.device, encoder.dtype

    def __call__(self, **inputs: torch.Tensor) -> object:
        found = self.encoder(**inputs)
        found.image_embeds = -found.image_embeds
        return found


def test_diversity_is_the_mean_over_all_pairs(whole: Path) -> None:
    judge = load_clip(str(whole), device="cpu")
    pictures = random_pictures(7)
    unit = judge.embed_pictures(pictures)
    pairs = [unit[i] @ unit[j] for i in range(7) for j in range(i)]
    assert judge.diversity(pictures) == pytest.approx(np.mean(pairs), abs=1e-9)
    assert judge.diversity(pictures[[0, 0, 0]]) == pytest.approx(1, abs=1e-6)


def test_one_picture_has_no_diversity(whole: Path) -> None:
    with pytest.raises(InvalidSetting, match="needs at least 2 pictures"):
        load_clip(str(whole), device="cpu").diversity(random_pictures(1))


@pytest.mark.parametrize("model", ["hierdiff/miniature-prior", str(PRIOR)])
def test_the_miniatures_prior_is_a_clip_that_needs_no_download(model: str) -> None:
    judge = load_clip(model, device="cpu")
    scores = judge.scores(random_pictures(3), ["a mug"] * 3)
    assert scores.shape == (3,)
    assert ((scores >= 0) & (scores <= 100)).all()


def test_a_folder_that_holds_no_clip_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="refuses it") as refusal:
        load_clip(str(tmp_path), device="cpu")
    assert "\n" not in str(refusal.value)
