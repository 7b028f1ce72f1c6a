"""Calibrating: how much prompts change when they share steps, measured once for a model.

Readings are kept in files until all of them are there, then `hierdiff_core.calibrated.fitting` fits
them. A stopped calibration finds its readings again by a digest of weights, recipe, prompts and
design.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import (
    calibration_path,
    load_calibration,
    save_calibration,
)
from hierdiff_core.calibrated.fitting import fit_calibration
from hierdiff_core.calibrated.readings import Design, MakeSolver, Reading, measure, names
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Embedding, stack
from hierdiff_core.embedding_cache import FolderCache, embed_missing, find_embeddings, find_negative
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.pictures import load_picture_encoder
from hierdiff_core.miniature import PROMPTS
from hierdiff_core.models.family import EmbedPictures
from hierdiff_core.models.folder import SHIPPED
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import load_prompt_check
from hierdiff_core.noise_levels import (
    Levels,
    highest_level,
    landing_levels,
    noise_levels,
)
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import NoiseSchedule, make_solver
from hierdiff_core.whole_file import write_whole
from tasks.ingest import read_batch
from tasks.models import open_models
from tasks.settings import Settings
from tasks.source.file import read_file
from tasks.source.reading import open_columns, open_source

# Fields of a recipe that do not change what may be shared.
_UNCOUNTED = ("steps", "initial_noise")

Report = Callable[[str, int, int], None]  # step, done, total


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
    picture_encoder: str | None = None,
    report: Report = lambda what, done, total: None,
) -> Calibrated:
    """Calibrate the model of a pinned recipe on prompts of a file, and write the result.

    As many prompts are taken as the evaluations allow, chosen by the digest of their text. Pictures
    are compared by a `picture_encoder` (`load_picture_encoder`), or where the model's prompts lie.
    Raises UnknownModel, InvalidSetting, and what reading prompts raises.
    """
    design = design or Design()
    design.check()
    prompts = _choose(_read(settings, recipe, file), design, evaluations)
    texts = [each.text for each in prompts]
    path = out or calibration_path(recipe)
    facts = _facts(recipe, texts, design)
    if picture_encoder is not None:
        facts["picture_encoder"] = picture_encoder
    work = path.with_name(path.name + ".readings") / digest("calibration", facts)[:16]
    models, cache = open_models(settings), FolderCache(work / "embeddings")
    embed_pictures = _load_embed_pictures(recipe, models, picture_encoder)
    embeddings = _embed(prompts, models, cache, report)
    conditioning = stack([embedding.conditioning for embedding in embeddings])
    negative = find_negative(cache, recipe) or models.encoder(recipe).embed_negative(recipe)
    denoiser = models.denoiser(recipe, negative)
    make = partial(make_solver, recipe.solver, denoiser.noise_schedule)
    readings, total = _known(work), len(names(len(prompts), design))
    for name, reading in measure(
        denoiser, embed_pictures, make, conditioning, design, dict(readings)
    ):
        readings[name] = reading
        _keep(work / f"{name}.npy", reading)
        report("measuring", len(readings), total)
    facts |= {"calibrated_at": datetime.now(UTC).isoformat(timespec="seconds")}
    levels = _levels(design, denoiser.noise_schedule, make)
    vectors = np.stack([embedding.vector for embedding in embeddings])
    mapped = picture_encoder is not None
    made = fit_calibration(vectors, readings, design, levels, facts, mapped=mapped)
    save_calibration(made, path)
    shutil.rmtree(work.parent)
    return Calibrated(load_calibration(path), path)


def _read(settings: Settings, recipe: Recipe, file: Path | None) -> list[Prompt]:
    if file is None and recipe.model not in SHIPPED:
        hint = "name a file with a sample of the prompts that the model will be used for"
        raise InvalidSetting(setting="--file", value=None, hint=hint)
    check = load_prompt_check(recipe)
    if file is None:
        found = read_batch(read_file(PROMPTS), recipe, check).prompts
    else:
        rows = open_source(settings, file=file)
        found = read_batch(rows, recipe, check, open_columns(settings)).prompts
    # Columns of the catalogue that change the recipe would need a calibration of their own.
    distinct = {embedding_key(each): each for each in found if each.recipe == recipe}
    return sorted(distinct.values(), key=lambda each: digest("sample", each.text))


def _choose(prompts: Sequence[Prompt], design: Design, evaluations: int) -> list[Prompt]:
    wanted = design.prompts(evaluations)
    least = design.prompts_at_least
    if len(prompts) < least:
        hint = f"it has {len(prompts)} different prompts; use at least {least}"
        raise InvalidSetting(setting="--file", value=len(prompts), hint=hint)
    return list(prompts[:wanted])


def _facts(recipe: Recipe, texts: Sequence[str], design: Design) -> dict[str, object]:
    """Return the origin of a calibration, all but the date."""
    kept = {name: value for name, value in recipe.to_json().items() if name not in _UNCOUNTED}
    return kept | {
        "prompts_digest": digest("prompts", list(texts)),
        "design": asdict(design),
    }


def _embed(
    prompts: Sequence[Prompt], models: Models, cache: FolderCache, report: Report
) -> list[Embedding]:
    """Return the prompts' embeddings; raises InvalidEmbedding."""
    embedded = embed_missing(prompts, models, cache, partial(report, "embedding"))
    for fault in embedded.faults.values():
        raise fault
    found = find_embeddings(cache, prompts)
    return [found[prompt] for prompt in prompts]


def _load_embed_pictures(
    recipe: Recipe, models: Models, picture_encoder: str | None
) -> EmbedPictures:
    if picture_encoder is not None:
        return load_picture_encoder(picture_encoder, models.device)
    embed_pictures = models.encoder(recipe).embed_pictures
    if embed_pictures is None:
        hint = "its pictures have no embeddings like its prompts'; say what compares pictures: "
        hint += "--picture-encoder clip:FOLDER_OR_NAME or siglip:FOLDER_OR_NAME"
        raise UnknownModel(model=recipe.model, hint=hint)
    return embed_pictures


def _levels(design: Design, schedule: NoiseSchedule, make: MakeSolver) -> Levels:
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
