"""A name means one judge, and a wrong name is refused before anything is loaded."""

from __future__ import annotations

import pytest

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.choose import load_judge
from hierdiff_core.miniature import JUDGE, PRIOR


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("attributes", "attributes"),
        (f"attributes:{JUDGE}", "attributes"),
        ("clip", "clip"),
        (f"clip:{PRIOR}", "clip"),
    ],
)
def test_a_judge_is_found_by_name_and_by_folder(asked: str, name: str) -> None:
    assert load_judge(asked, device="cpu").name == name


@pytest.mark.parametrize("asked", ["", "beauty", "vqascore", "vqascore:", "Attributes"])
def test_another_name_is_refused_with_the_names_there_are(asked: str) -> None:
    with pytest.raises(InvalidSetting, match="use attributes, attributes:FOLDER, clip"):
        load_judge(asked, device="cpu")


@pytest.mark.parametrize("kind", ["attributes", "clip", "vqascore"])
def test_a_folder_that_is_not_there_is_refused(kind: str) -> None:
    with pytest.raises(UnknownModel, match="/nowhere/at/all"):
        load_judge(f"{kind}:/nowhere/at/all", device="cpu")
