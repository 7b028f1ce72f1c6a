"""A night in which the model's own safety checker flags a picture: it is withheld and named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.nn import functional

from tasks.errors import RowsSetAside
from tasks.ledger import load_images, summarise
from tasks.object_keys import manifest_key, report_key
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tests.core.stable_diffusion_folder import save_stable_diffusion
from tests.core.tiny import tokenizers
from tests.core.tiny.checker import add_checker, embed, make_checker, make_extractor
from tests.core.tiny.model import LENGTH
from tests.tasks.night_kit import NIGHT, SmallNight, plan_small_night, small

pytestmark = pytest.mark.slow

ROWS = "reference,prompt\n1,a red mug\n2,a red hat\n3,two blue mugs\n4,two blue hats\n"
NIGHTS = 16  # one in two has some pictures that are flagged and some that are not


def save_checked_model(folder: Path) -> Path:
    """Save a small model whose checker flags one in four of the pictures that it draws."""
    save_stable_diffusion(folder, tokenizers.clip(LENGTH))
    checker, extractor = make_checker(), make_extractor()
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    latents = torch.randn(24, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        drawn = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    pictures = ((drawn / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rows = embed(checker, extractor, pictures)
    concept = functional.normalize(rows[0] - rows.mean(dim=0), dim=0)
    checker.concept_embeds.data[0] = concept
    checker.concept_embeds_weights.data[0] = (rows @ concept).quantile(0.75)
    return add_checker(folder, checker)


@pytest.fixture
def checked(settings: Settings, tmp_path: Path) -> Settings:
    model = save_checked_model(tmp_path / "model")
    options = {"safety_checker": "withhold"}
    fields = {"model": str(model), "options": options, "solver": None, "steps": 2, "saving": None}
    return small(settings, **fields, height=32, width=32, shards=1, slots=4, previews=False)


def make_mixed_night(stores: Stores, settings: Settings, file: Path) -> tuple[SmallNight, str]:
    """Make nights of one seed after the other until some pictures of one are flagged, not all.

    Returns that night, and what its worker says of the rows that it set aside.
    """
    for seed in range(NIGHTS):
        drawn = settings.model_copy(update={"seed": seed})
        night = plan_small_night(stores, drawn, file, NIGHT + timedelta(days=seed))
        told = run_all(night)
        with stores.session() as session:
            if 0 < summarise(session, night.run).images < 4:
                return night, told
    pytest.fail("the checker flags all pictures of a night or none")


def run_all(night: SmallNight) -> str:
    told = ""
    for shard in (0, 1):
        try:
            denoise_shard(night.stores, night.settings, night.run, shard, "worker")
        except RowsSetAside as aside:
            told += str(aside)
    return told


def test_a_flagged_picture_is_withheld_and_named_and_all_others_are_published(
    checked: Settings, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    with open_stores(checked) as stores:
        night, told = make_mixed_night(stores, checked, file)
        assert "safety checker flags it" in told
        with stores.session() as session:
            facts, images = summarise(session, night.run), load_images(session, night.run)
        flagged = {each.reference for each in facts.set_aside}
        assert len(flagged) == 4 - len(images)
        assert all("safety checker flags it, 0." in each.reason for each in facts.set_aside)
        published = publish(stores, night.settings, night.run)
        assert published.data.state == RunState.FAILED
        assert published.missing == len(flagged)
        assert {each.reference for each in published.data.set_aside} == flagged
        assert "safety checker flags it" in stores.bucket.get(report_key(night.run)).decode()
        manifest = stores.bucket.get(manifest_key(night.run)).decode()
        assert all(image.sha256 in manifest for image in images.values())
        assert "safety checker flags it" in manifest
        before = set(stores.bucket.list("images/"))
        assert run_all(night) == told  # tried again, with the same outcome
        assert set(stores.bucket.list("images/")) == before
