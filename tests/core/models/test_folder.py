"""Folders of weights: which are refused in one line, and what pins the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from huggingface_hub.utils import filter_repo_objects

from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.family import Parts
from hierdiff_core.models.folder import find_folder, find_revision, read_class_name, read_config
from hierdiff_core.models.kandinsky22 import load_encoder, load_networks
from tests.core.recipes import change

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 99\n"


@pytest.fixture
def decoder(folders: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders.decoder, tmp_path / "decoder"))


@pytest.fixture
def prior_folder(folders: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders.prior, tmp_path / "prior"))


def refusal(load: Callable[[], object]) -> str:
    with pytest.raises(UnknownModel) as refused:
        load()
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "nobody/nothing", "a/b/c", "~nobody-here/x", "\x00", "x" * 5000]
)
def test_a_model_that_is_nowhere_is_refused(name: str) -> None:
    line = refusal(lambda: find_folder(name))
    assert line.endswith(
        "it is neither a folder nor a hub name that can be reached; name one that is."
    )


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    line = refusal(lambda: find_folder(str(tmp_path)))
    assert line == (
        f"Model '{tmp_path}' cannot be loaded: the folder has no model_index.json; "
        "name a folder that a pipeline was saved to."
    )


@pytest.mark.parametrize("body", ["", "{", "[]", "3", "\xff"])
def test_a_damaged_index_is_refused(decoder: Path, body: str) -> None:
    (decoder / "model_index.json").write_text(body, encoding="latin-1")
    assert "its model_index.json is damaged; fetch it again" in refusal(
        lambda: find_folder(str(decoder))
    )


def test_a_missing_part_is_refused_before_a_library_makes_one_up(
    folders: Any, prior_folder: Path
) -> None:
    shutil.rmtree(prior_folder / "tokenizer")
    line = refusal(lambda: load_encoder(change(folders.recipe(), prior=str(prior_folder)), "cpu"))
    assert "its part tokenizer is missing; fetch it again" in line


def test_a_pipeline_of_another_class_is_refused(folders: Any) -> None:
    line = refusal(lambda: load_networks(change(folders.recipe(), model=str(folders.prior)), "cpu"))
    assert "KandinskyV22Pipeline refuses it (" in line
    line = refusal(
        lambda: load_encoder(change(folders.recipe(), prior=str(folders.decoder)), "cpu")
    )
    assert "KandinskyV22PriorPipeline refuses it (" in line


@pytest.mark.parametrize("body", [b"", POINTER.encode(), b"\x10" + bytes(200)])
def test_damaged_weights_are_refused(
    folders: Any, decoder: Path, prior_folder: Path, body: bytes
) -> None:
    (decoder / UNET).write_bytes(body)
    refusal(lambda: load_networks(change(folders.recipe(), model=str(decoder)), "cpu"))
    (prior_folder / TEXT).write_bytes(body)
    refusal(lambda: load_encoder(change(folders.recipe(), prior=str(prior_folder)), "cpu"))


def test_weights_cut_short_are_refused(folders: Any, decoder: Path) -> None:
    whole = (decoder / UNET).read_bytes()
    (decoder / UNET).write_bytes(whole[: len(whole) // 2])
    refusal(lambda: load_networks(change(folders.recipe(), model=str(decoder)), "cpu"))


def test_pickled_weights_are_not_loaded(folders: Any, decoder: Path) -> None:
    torch.save(
        safetensors.torch.load_file(decoder / UNET), decoder / "unet/diffusion_pytorch_model.bin"
    )
    (decoder / UNET).unlink()
    refusal(lambda: load_networks(change(folders.recipe(), model=str(decoder)), "cpu"))


def test_a_revision_follows_the_weights_and_not_the_place(folders: Any, decoder: Path) -> None:
    original = find_revision(Parts(str(folders.decoder)))
    assert find_revision(Parts(str(decoder))) == original
    assert len(original) == 16
    weights = safetensors.torch.load_file(decoder / UNET)
    weights["conv_in.bias"][0] += 1e-3
    safetensors.torch.save_file(weights, decoder / UNET)
    changed = find_revision(Parts(str(decoder)))
    assert changed != original
    config = decoder / "scheduler/scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    assert find_revision(Parts(str(decoder))) not in {original, changed}


def test_a_revision_does_not_follow_files_that_are_not_loaded(decoder: Path) -> None:
    before = find_revision(Parts(str(decoder)))
    (decoder / "README.md").write_text("read me")
    (decoder / "unet/.lock").touch()
    assert find_revision(Parts(str(decoder))) == before


@pytest.mark.parametrize(
    "name",
    [
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "safety/model.safetensors",
    ],
)
def test_a_revision_does_not_follow_weights_that_lie_beside_the_loaded_ones(
    decoder: Path, name: str
) -> None:
    before = find_revision(Parts(str(decoder)))
    (decoder / name).parent.mkdir(exist_ok=True)
    (decoder / name).write_bytes(b"many gigabytes")
    assert find_revision(Parts(str(decoder))) == before


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer/chat_template.jinja",
        "tokenizer/additional_chat_templates/tools.jinja",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
    ],
)
def test_a_revision_follows_chat_templates_and_divided_weights(
    prior_folder: Path, name: str
) -> None:
    before = find_revision(Parts(str(prior_folder)))
    (prior_folder / name).parent.mkdir(exist_ok=True)
    (prior_folder / name).write_text("You are asked for a picture of {{ prompt }}")
    assert find_revision(Parts(str(prior_folder))) != before
    only = Parts(str(prior_folder), (name.split("/")[0],))
    changed = find_revision(only)
    (prior_folder / name).unlink()
    assert find_revision(only) != changed


def test_of_a_hub_only_the_parts_that_are_asked_for_are_fetched(
    prior_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prior_folder / "tokenizer/chat_template.jinja").touch()
    (prior_folder / "text_encoder/model.fp16.safetensors").touch()
    (prior_folder / "all-in-one.safetensors").touch()
    cache = tmp_path / "hub"

    def fetch(model: str, **patterns: Any) -> str:
        """Copy what the hub's own client would fetch; the hub itself cannot be reached."""
        names = [str(each.relative_to(prior_folder)) for each in prior_folder.rglob("*.*")]
        for name in filter_repo_objects(names, **patterns):
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(prior_folder / name, cache / name)
        return str(cache)

    def fetched() -> set[str]:
        return {str(each.relative_to(cache)) for each in cache.rglob("*.*")}

    monkeypatch.setattr("hierdiff_core.models.folder.snapshot_download", fetch)
    assert read_class_name("somebody/model") == "KandinskyV22PriorPipeline"
    assert fetched() == {"model_index.json"}
    text = find_revision(Parts("somebody/model", ("tokenizer", "text_encoder")))
    assert text == find_revision(Parts(str(prior_folder), ("tokenizer", "text_encoder")))
    assert {name.split("/")[0] for name in fetched()} == {
        "model_index.json", "tokenizer", "text_encoder",
    }  # fmt: skip
    assert "tokenizer/chat_template.jinja" in fetched()
    find_folder("somebody/model")
    assert (cache / "prior").is_dir()
    assert not {"text_encoder/model.fp16.safetensors", "all-in-one.safetensors"} & fetched()


def test_a_revision_follows_the_name_of_a_file(decoder: Path) -> None:
    before = find_revision(Parts(str(decoder)))
    (decoder / "movq").rename(decoder / "other")
    (decoder / "movq").mkdir()
    assert find_revision(Parts(str(decoder))) != before


def test_the_revision_of_some_parts_follows_those_alone(decoder: Path) -> None:
    parts = Parts(str(decoder), ("unet", "scheduler"))
    before = find_revision(parts)
    assert before != find_revision(Parts(str(decoder)))
    shutil.rmtree(decoder / "movq")
    (decoder / "model_index.json").write_text((decoder / "model_index.json").read_text() + "\n")
    assert find_revision(parts) == before
    (decoder / UNET).write_bytes(b"other weights")
    assert find_revision(parts) != before


def test_a_revision_is_read_from_a_cache_while_no_file_changes(decoder: Path) -> None:
    cache = decoder.parent / "digests.json"
    before = find_revision(Parts(str(decoder)), cache)
    assert before == find_revision(Parts(str(decoder)))
    marked = json.loads(cache.read_text())
    forged = {path: [*mark[:-1], "0" * 64] for path, mark in marked.items()}
    cache.write_text(json.dumps(forged))
    assert find_revision(Parts(str(decoder)), cache) != before  # nothing was read again


def test_some_parts_of_a_folder_are_enough_for_those_who_ask_for_them(decoder: Path) -> None:
    shutil.rmtree(decoder / "movq")
    assert find_folder(str(decoder), ("unet", "scheduler")) == decoder
    assert "its part movq is missing" in refusal(lambda: find_folder(str(decoder), ("movq",)))
    assert "its part movq is missing" in refusal(lambda: find_folder(str(decoder)))


def test_a_folder_names_its_pipeline_class(decoder: Path) -> None:
    assert read_class_name(str(decoder)) == "KandinskyV22Pipeline"
    (decoder / "model_index.json").write_text("{}")
    assert read_class_name(str(decoder)) == "nameless pipeline"


@pytest.mark.parametrize("body", [None, "", "{", "3"])
def test_a_damaged_config_is_refused(decoder: Path, body: str | None) -> None:
    config = decoder / "unet/config.json"
    assert read_config(str(decoder), "unet")["_class_name"] == "UNet2DConditionModel"
    config.unlink() if body is None else config.write_text(body)
    line = refusal(lambda: read_config(str(decoder), "unet"))
    assert "the config.json of its part unet is missing or damaged; fetch it again" in line
