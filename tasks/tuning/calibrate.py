"""Calibrating: what prompts become when they share steps, measured once for a model.

Knows models, prompts and the files that readings are kept in until all of them are there. Knows
nothing of what is made of them (`hierdiff_core.calibrated.fitting`). What a stopped calibration has
measured is found again by what decides it: weights, recipe, prompts and design.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import (
    calibration_path,
    load_calibration,
    save_calibration,
)
from hierdiff_core.calibrated.fitting import fit_calibration
from hierdiff_core.calibrated.levels import (
    Levels,
    highest_level,
    landing_levels,
    noise_levels,
)
from hierdiff_core.calibrated.readings import Design, MakeSolver, Reading, measure, names
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning, flatten, pack, stack, unpack
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.miniature import PROMPTS
from hierdiff_core.models.kandinsky22 import (
    check_length,
    fit_decoder,
    load_decoder,
    load_prior,
    load_tokenizer,
)
from hierdiff_core.models.place import SHIPPED
from hierdiff_core.prompt import Prompt, Recipe, embedding_key
from hierdiff_core.solver import make_solver
from hierdiff_core.whole_file import write_whole
from tasks.ingest import read_batch
from tasks.settings import Settings
from tasks.sources import read_file

# What a recipe says that changes nothing of what may be shared.
_UNCOUNTED = ("steps", "initial_noise")
_CHUNK = 32  # prompts embedded between two saves

Report = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True)
class Calibrated:
    """A calibration and the file that it was written to."""

    calibration: Calibration
    path: Path


def calibrate(
    settings: Settings,
    recipe: Recipe,
    *,
    file: Path | None = None,
    evaluations: int = 4000,
    design: Design | None = None,
    out: Path | None = None,
    report: Report = lambda what, done, total: None,
) -> Calibrated:
    """Calibrate the model of a pinned recipe on prompts of a file, and write the result.

    As many prompts are taken as the evaluations are enough for, chosen by the digest of their text.
    Raises UnknownModel, InvalidSetting, and what reading prompts raises.
    """
    design = design or Design()
    design.check()
    prompts = _choose(_read(recipe, file), design, evaluations)
    texts = [each.text for each in prompts]
    path = out or calibration_path(recipe)
    facts = _facts(recipe, texts, design)
    work = path.with_name(path.name + ".readings") / digest("calibration", facts)[:16]
    conditioning, negative = _embed(recipe, settings.device, prompts, work, report)
    denoiser = fit_decoder(load_decoder(recipe, settings.device), recipe, negative)
    look = load_prior(recipe, settings.device).look
    make = partial(make_solver, recipe.solver, denoiser.noise_schedule)
    readings, total = _known(work), len(names(len(prompts), design))
    for name, reading in measure(denoiser, look, make, conditioning, design, dict(readings)):
        readings[name] = reading
        _keep(work / f"{name}.npy", reading)
        report("measuring", len(readings), total)
    facts |= {"calibrated_at": datetime.now(UTC).isoformat(timespec="seconds")}
    levels = _levels(design, denoiser.noise_schedule, make)
    made = fit_calibration(flatten(conditioning), readings, design, levels, facts)
    save_calibration(made, path)
    shutil.rmtree(work.parent)
    return Calibrated(load_calibration(path), path)


def _read(recipe: Recipe, file: Path | None) -> list[Prompt]:
    if file is None and recipe.model not in SHIPPED:
        hint = "name a file with a sample of the prompts that the model is used for"
        raise InvalidSetting(setting="--file", value=None, hint=hint)
    check = partial(check_length, load_tokenizer(recipe))
    found = read_batch(read_file(file or PROMPTS), recipe, check).prompts
    # Columns of the catalogue that change the recipe would need a calibration of their own.
    distinct = {embedding_key(each): each for each in found if each.recipe == recipe}
    return sorted(distinct.values(), key=lambda each: digest("sample", each.text))


def _choose(prompts: Sequence[Prompt], design: Design, evaluations: int) -> list[Prompt]:
    wanted = design.prompts(evaluations)
    least = design.prompts_at_least
    if len(prompts) < least:
        hint = f"it has {len(prompts)} different prompts; use {least} or more"
        raise InvalidSetting(setting="--file", value=len(prompts), hint=hint)
    return list(prompts[:wanted])


def _facts(recipe: Recipe, texts: Sequence[str], design: Design) -> dict[str, object]:
    """Return where a calibration comes from, all but the date."""
    kept = {name: value for name, value in recipe.to_json().items() if name not in _UNCOUNTED}
    return kept | {
        "prompts_digest": digest("prompts", list(texts)),
        "design": asdict(design),
    }


def _embed(
    recipe: Recipe, device: str, prompts: Sequence[Prompt], work: Path, report: Report
) -> tuple[Conditioning, Conditioning]:
    """Return the prompts' conditioning and the one that guidance steers away from."""
    chunks = range(0, len(prompts), _CHUNK)
    names = [f"prompts-{first}" for first in chunks]
    prior = None
    for first, name in zip((*chunks, None), (*names, "negative"), strict=True):
        file = work / f"{name}.safetensors"
        if file.is_file():
            continue
        prior = prior or load_prior(recipe, device)
        if first is None:
            rows = prior.embed_negative(recipe)
        else:
            rows = stack(prior.embed(prompts[first : first + _CHUNK]))
            report("embedding", min(first + _CHUNK, len(prompts)), len(prompts))
        write_whole(file, pack(rows))
    conditionings = [unpack((work / f"{name}.safetensors").read_bytes()) for name in names]
    return stack(conditionings), unpack((work / "negative.safetensors").read_bytes())


def _levels(design: Design, schedule: Mapping[str, Any], make: MakeSolver) -> Levels:
    """Return the highest noise level of all, and those that the forks' first own steps land on."""
    levels = noise_levels(schedule, make(design.steps).timesteps)
    # Where runs begin nothing has settled, however high a solver starts.
    highest = max(highest_level(schedule), levels[0] * 1.001)
    return np.append(highest, landing_levels(levels)[design.first :])


def _known(work: Path) -> dict[str, Reading]:
    return {file.stem: np.load(file, allow_pickle=False) for file in sorted(work.glob("*.npy"))}


def _keep(file: Path, reading: Reading) -> None:
    body = io.BytesIO()
    np.save(body, reading, allow_pickle=False)
    write_whole(file, body.getvalue())
