"""The house knows no model family by name: without Kandinsky's file the others work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# A process of its own: modules that this one has imported would not be missed.
_BLOCK = """
import sys

BLOCKED = "hierdiff_core.models.kandinsky22"

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""
_IMPORT_ALL = """
import importlib, pkgutil

def names():
    for package in ("hierdiff_core", "tasks", "flows"):
        yield package
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        yield from (each.name for each in found if each.name != BLOCKED)

broken, count = {}, 0
for name in names():
    if name.endswith("__main__"):
        continue
    count += 1
    try:
        importlib.import_module(name)
    except Exception as error:
        broken[name] = f"{type(error).__name__}: {error}"
print(count, broken)
"""
_MAKE_PICTURES = """
import numpy as np
from hierdiff_core.budget import Budget
from hierdiff_core.embedding import stack
from hierdiff_core.forest import group_prompts
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import make_solver

recipe, models = pin_recipe(make_recipe(sys.argv[1], steps=4)), Models("cpu")
texts = ("a red cup", "a blue cup", "two pots")
prompts = [Prompt(row, "", text, recipe) for row, text in enumerate(texts, start=1)]
(group,) = group_prompts(prompts)
rows = models.encoder(recipe).embed(group.prompts)
vectors = np.stack([row.vector for row in rows])
plan = plan_forest([group], [vectors], PlanSettings(Budget(saving=0.3))).plan
denoiser = models.denoiser(recipe, models.encoder(recipe).embed_negative(recipe))
job = Job(plan, stack([row.conditioning for row in rows]), group.content_keys)
solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
ends = [done for done in run(job, denoiser, solver) if plan.is_leaf(done.segment)]
pictures = [denoiser.decode(end.state.latents[None], ["it"])[0] for end in ends]
print([picture.shape for picture in pictures], BLOCKED in sys.modules)
"""


def _run(script: str, *arguments: str) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _BLOCK + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_blocked_family_is_the_only_one_that_is_missing() -> None:
    script = """
from hierdiff_core.models.family import load_family
load_family("stable_diffusion")
try:
    load_family("kandinsky22")
except ModuleNotFoundError:
    print("missing")
"""
    assert _run(script) == "missing"


def test_every_module_is_imported_without_kandinsky() -> None:
    count, broken = _run(_IMPORT_ALL).split(" ", 1)
    assert broken == "{}"
    assert int(count) > 100


def test_pictures_are_made_without_kandinsky(stable_diffusion: Path) -> None:
    shapes = ", ".join(["(32, 32, 3)"] * 3)
    assert _run(_MAKE_PICTURES, str(stable_diffusion)) == f"[{shapes}] False"
