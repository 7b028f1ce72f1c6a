"""A run looked at from inside ends as it does otherwise; on the shipped miniature."""

from __future__ import annotations

import pytest

from benchmarks.paper.carry_out import carry_out
from benchmarks.paper.look_inside import FRAMES, Family, Watch
from hierdiff_core.evaluation.setting import standard
from hierdiff_core.evaluation.unit import make_unit
from hierdiff_core.miniature import MODEL
from hierdiff_core.models.folder import SHIPPED
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from tasks.evaluation.crew import Bench
from tasks.evaluation.subject import embed_texts
from tasks.evaluation.work_folder import WorkFolder

DECODER, PRIOR = SHIPPED
TEXTS = ("a red mug", "a blue mug", "a red lamp", "a blue lamp", "a green chair")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    recipe = pin_recipe(make_recipe(MODEL, {"prior_steps": 3}))
    made = Bench(recipe, ("attributes",), "cpu", WorkFolder(tmp_path_factory.mktemp("work")))
    embed_texts(made.subject, TEXTS)
    return made


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpmsolver++"])
def test_a_watched_run_ends_in_the_pictures_of_the_standard_run(bench: Bench, solver: str) -> None:
    watch = Watch(TEXTS[:2], solver, 4)
    found = carry_out(watch, bench.subject, bench.panel, _unheard)
    alone = carry_out(
        make_unit(TEXTS, [0, 1], standard(solver, 4)), bench.subject, bench.panel, _unheard
    )
    assert found.pictures.shape[0] == 2 * 2 * FRAMES
    last = found.pictures[[FRAMES - 1, 3 * FRAMES - 1]].astype(int)
    assert abs(last - alone.pictures).max() <= 2
    assert found.main.shape == (4 * 2,)


def test_a_family_shows_its_means_and_its_prompts(bench: Bench) -> None:
    found = carry_out(Family(TEXTS, "ddim", 2), bench.subject, bench.panel, _unheard)
    leaves = [int(each) for name, each in found.facts.items() if name.startswith("leaf.")]
    assert len(found.pictures) == 3 + len(leaves)
    assert 0 < found.facts["left"] < len(leaves)


def _unheard(_: int) -> None: ...
