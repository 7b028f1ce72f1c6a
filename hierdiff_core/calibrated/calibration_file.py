"""The file of a calibration: its bytes, and its path beside a model."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver, calibrate_solver
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.family import load_family
from hierdiff_core.models.folder import find_folder
from hierdiff_core.recipe import Recipe
from hierdiff_core.solvers import SOLVERS
from hierdiff_core.whole_file import write_whole

FORMAT = 3
FOLDER = "calibration"  # beside the model's folder, since revisions cover all that is in it
_ENTRY = "hierdiff"


def calibration_path(recipe: Recipe) -> Path:
    """Return where the calibration of a pinned recipe lies: one for each way to denoise.

    What it holds for is in the name: revision, solver, guidance and size. Raises UnknownModel.
    """
    size = f"{recipe.width}x{recipe.height}"
    name = f"{recipe.revision}-{recipe.solver}-{recipe.guidance:g}-{size}.safetensors"
    return find_folder(recipe.model).parent / FOLDER / name


def find_calibration(recipe: Recipe) -> Calibration | None:
    """Return the calibration of a pinned recipe, or None where the model has none.

    That of its own solver, or else of another one: what has settled by a noise level depends on
    the solver far less than on the level. Raises UnknownModel for a model or a file that is
    damaged.
    """
    path = _find(recipe)
    return None if path is None else load_calibration(path)


def is_calibrated(recipe: Recipe) -> bool:
    """Tell whether `find_calibration` would find one; raises UnknownModel for a model."""
    return _find(recipe) is not None


def find_calibrated_solver(recipe: Recipe) -> CalibratedSolver | None:
    """Return the calibration at a pinned recipe's own steps; None and errors as above."""
    calibration = find_calibration(recipe)
    if calibration is None:
        return None
    schedule = load_family(recipe.family).load_schedule(recipe)
    return calibrate_solver(calibration, schedule, recipe.solver, recipe.steps)


def calibration_digest(recipe: Recipe) -> list[str]:
    """Return the digests of all calibrations that plans of a pinned recipe may be made by."""
    paths = [calibration_path(replace(recipe, solver=each)) for each in SOLVERS]
    return [sha256(each.read_bytes()).hexdigest() for each in paths if each.is_file()]


def _find(recipe: Recipe) -> Path | None:
    solvers = dict.fromkeys((recipe.solver, *SOLVERS))
    paths = [calibration_path(replace(recipe, solver=each)) for each in solvers]
    return next((each for each in paths if each.is_file()), None)


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write it as safetensors, whole or not at all; equal calibrations make equal files."""
    tensors = {
        "levels": calibration.levels,
        "basis": calibration.basis.astype(np.float32),
        "settled": calibration.settled.astype(np.float32),
        "shares": calibration.shares,
    }
    rest = {
        "format": FORMAT,
        "misfits": {str(each): found for each, found in calibration.misfits.items()},
        "facts": dict(calibration.facts),
    }
    packed = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    write_whole(path, safetensors.numpy.save(packed, {_ENTRY: json.dumps(rest, sort_keys=True)}))


def load_calibration(path: Path) -> Calibration:
    """Return what `save_calibration` wrote; raises UnknownModel, which names the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            rest = json.loads(file.metadata()[_ENTRY])
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        if rest["format"] != FORMAT:
            raise ValueError(f"format {rest['format']}")
        return Calibration(
            **tensors,
            misfits={int(each): float(found) for each, found in rest["misfits"].items()},
            facts=rest["facts"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        hint = f"its calibration is damaged ({error}); remove it or run `hierdiff calibrate` again"
        raise UnknownModel(model=str(path), hint=hint) from None
