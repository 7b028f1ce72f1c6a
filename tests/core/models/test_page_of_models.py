"""The page's block of every family runs as it stands, with a small model under that name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from hierdiff_core.library import Made
from hierdiff_core.models import folder
from hierdiff_core.models.families import FAMILIES, family_of_class
from hierdiff_core.models.folder import read_class_name
from tests.core.conftest import Folders

PAGE = (Path(__file__).parents[3] / "docs/models.md").read_text()
SECTION = PAGE.partition("\n## A first try\n")[2].partition("\n## ")[0]
# Families are named above their block; the first block is the beginning of all.
START, *BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
NAMES = re.findall(r"^`(\w+)`.*:\n\n```python", SECTION, re.MULTILINE)

# What stands in `tests.core.tiny` for the names of the page; a family has its own name there.
STAND_INS = {"black-forest-labs/FLUX.1-schnell": "flux_schnell"}
STAND_INS |= {"black-forest-labs/FLUX.2-klein-4B": "flux2_klein"}


@pytest.fixture
def hub(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folders: Folders,
    stable_diffusion: Path,
    tiny_folder: Callable[[str], Path],
) -> Iterator[Callable[[str, str], None]]:
    """A cache of the hub, into which a small model of a family is put under a name."""

    def put(name: str, family: str) -> None:
        saved = {"kandinsky22": folders.decoder, "stable_diffusion": stable_diffusion}
        saved["kandinsky22-prior"] = folders.prior
        place = tmp_path / f"models--{name.replace('/', '--')}"
        commit = "0" * 40
        (place / "refs").mkdir(parents=True)
        (place / "refs/main").write_text(commit)
        (place / "snapshots").mkdir()
        found = saved.get(family) or tiny_folder(STAND_INS.get(name, family))
        (place / "snapshots" / commit).symlink_to(found)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder._fetch.cache_clear()
    yield put
    folder._fetch.cache_clear()


def test_every_family_has_one_block() -> None:
    assert sorted(NAMES) == sorted(set(FAMILIES.values()))
    assert len(BLOCKS) == len(NAMES)


@pytest.mark.parametrize(("family", "block"), list(zip(NAMES, BLOCKS, strict=True)), ids=NAMES)
def test_a_familys_block_makes_pictures(
    family: str, block: str, hub: Callable[[str, str], None]
) -> None:
    models = re.findall(r'generate\("([^"]+)"', block)
    for model in models:
        hub(model, family)
    if family == "kandinsky22":
        hub("kandinsky-community/kandinsky-2-2-prior", "kandinsky22-prior")
    made = [run_line(line) for line in block.splitlines()]
    assert len(made) == len(models) > 0
    sides = 32 if family == "karlo" else 128  # its size is the model's own
    for model, each in zip(models, made, strict=True):
        assert family_of_class(model, read_class_name(model)) == family
        assert each.pictures.shape == (2, sides, sides, 3)
        assert each.pictures.std(axis=(1, 2, 3)).min() > 0
        assert each.saving > 0


def run_line(line: str) -> Made:
    """Run the page's beginning and a line of a block; return what the line made."""
    names: dict[str, Any] = {}
    exec(START + line, names)
    made = names["made"]
    assert isinstance(made, Made)
    return made
