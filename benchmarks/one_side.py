"""A process that does one part of a night with a model in bfloat16 on a CPU, and what it took.

Usage: python -m benchmarks.one_side pin|embed|denoise FOLDER PIXELS

Embeddings go from one process to the next by the folder.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from transformers import PreTrainedModel

from flows.quiet import quiet_libraries
from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.embedding import stack
from hierdiff_core.embedding_cache import (
    FolderCache,
    embed_missing,
    find_embeddings,
    find_negative,
)
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.plan import Plan, Segment
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import make_solver

TEXTS = ("a red mug on a wooden table", "a blue mug on a wooden table")
STEPS = 2
WEIGHTS = "*.safetensors"
# One shared step, then one for each of two pictures.
PLAN = Plan(
    STEPS,
    (0, 1),
    (
        Segment(0, 2, 0, 1, None, 0, 2),
        Segment(1, 0, 1, 2, 0, 0, 1),
        Segment(2, 1, 1, 2, 0, 1, 2),
    ),
    "paper",
)

Report = dict[str, Any]


def pin(recipe: Recipe, folder: Path) -> Report:
    """Do no more than to read the recipe, for which every file of weights was read."""
    return {}


def embed(recipe: Recipe, folder: Path) -> Report:
    """Load the text side and embed two prompts and the negative one."""
    models, began = Models("cpu", digests=_digests(folder)), time.monotonic()
    models.encoder(recipe)
    loaded = time.monotonic() - began
    if faults := embed_missing(_prompts(recipe), models, _cache(folder)).faults:
        raise SystemExit(f"no embedding: {faults}")
    return {"load": loaded, "work": time.monotonic() - began - loaded}


def denoise(recipe: Recipe, folder: Path) -> Report:
    """Load the picture side, run the plan and go on from its stored split, as after a restart."""
    models, cache = Models("cpu", digests=_digests(folder)), _cache(folder)
    negative = find_negative(cache, recipe)
    if negative is None:
        raise SystemExit("embed first")
    began = time.monotonic()
    denoiser = models.denoiser(recipe, negative)
    loaded = time.monotonic() - began
    prompts = _prompts(recipe)
    found = find_embeddings(cache, prompts)
    job = Job(PLAN, stack([found[each].conditioning for each in prompts]), TEXTS, slots=1)
    solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
    began = time.monotonic()
    whole = {each.segment.id: each.state for each in run(job, denoiser, solver)}
    worked = time.monotonic() - began
    split = unpack(pack({"split": whole[0]}))["split"]
    later = models.denoiser(recipe, negative)  # as another shard asks for it
    again = {each.segment.id: each.state for each in run(job, later, solver, {0: split})}
    began = time.monotonic()
    later.decode(whole[1].latents[None], TEXTS[:1])
    decoded = time.monotonic() - began
    same = all(_equal(whole[each], again[each]) for each in (1, 2))
    step = worked / PLAN.evaluations
    return {"load": loaded, "work": worked, "step": step, "decode": decoded, "same": same}


WORK: Mapping[str, Callable[[Recipe, Path], Report]] = {
    "pin": pin,
    "embed": embed,
    "denoise": denoise,
}


def main(work: str, place: str, pixels: str) -> None:
    """Do one part of the work and print its figures as JSON."""
    quiet_libraries()
    folder, before = Path(place), _peak()
    loads, began = _count_loads(), time.monotonic()
    recipe = _open_recipe(folder, int(pixels))
    pinned = time.monotonic() - began
    found = WORK[work](recipe, folder)
    weights = sum(file.stat().st_size for part in loads for file in Path(part).glob(WEIGHTS))
    told = {"pin": pinned, "before": before, "peak": _peak(), "loads": dict(loads)}
    told["weights"] = weights
    print(json.dumps(told | found))


def _open_recipe(folder: Path, pixels: int) -> Recipe:
    """Return the recipe of a saved model, which may be of two folders, pinned by its digests."""
    model, options = folder, dict[str, Any]()
    if not (folder / "model_index.json").exists():
        model, options = folder / "decoder", {"prior": str(folder / "prior")}
    if (folder / "prior").exists():
        options["prior_steps"] = 2
    sizes = {"height": pixels, "width": pixels}
    recipe = make_recipe(str(model), options, solver="ddpm", steps=STEPS, dtype="bfloat16", **sizes)
    return pin_recipe(recipe, _digests(folder))


def _digests(folder: Path) -> Path:
    return folder / "digests.json"


def _cache(folder: Path) -> FolderCache:
    return FolderCache(folder / "embeddings")


def _prompts(recipe: Recipe) -> list[Prompt]:
    return [Prompt(row, str(row), text, recipe) for row, text in enumerate(TEXTS, start=1)]


def _equal(one: State, other: State) -> bool:
    return torch.equal(one.latents, other.latents)


def _count_loads() -> Counter[str]:
    """Count from now on how often the weights of each folder are loaded, by either library."""
    loads: Counter[str] = Counter()
    kinds: tuple[Any, ...] = (ModelMixin, PreTrainedModel)
    for kind in kinds:
        kind.from_pretrained = classmethod(_counting(kind.from_pretrained.__func__, loads))
    return loads


def _counting(load: Any, loads: Counter[str]) -> Any:
    def counted(kind: Any, folder: Any, *more: Any, **told: Any) -> Any:
        loads[str(Path(folder, told.get("subfolder") or ""))] += 1
        return load(kind, folder, *more, **told)

    return counted


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
