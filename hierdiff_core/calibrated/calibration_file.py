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
from hierdiff_core.digest import digest
from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.families import options_of
from hierdiff_core.models.family import load_family
from hierdiff_core.models.folder import find_folder
from hierdiff_core.prices import step_prices
from hierdiff_core.recipe import Recipe
from hierdiff_core.solvers import SOLVERS
from hierdiff_core.whole_file import write_whole

FORMAT = 3
FOLDER = "calibration"  # beside the model's folder, since revisions cover all that is in it
_ENTRY = "hierdiff"


def calibration_path(recipe: Recipe) -> Path:
    """Return the path of a pinned recipe's calibration.

    The name holds what decides its numbers: revisions of both sides, solver, guidance, size, and a
    digest of the picture side's options where one is not as it is by default. Raises UnknownModel.
    """
    sides, size = f"{recipe.revision}-{recipe.text_revision}", f"{recipe.width}x{recipe.height}"
    name = f"{sides}-{recipe.solver}-{recipe.guidance:g}-{size}{_chosen(recipe)}.safetensors"
    return find_folder(recipe.model).parent / FOLDER / name


def _chosen(recipe: Recipe) -> str:
    """Return a digest of the options that change what steps settle, nothing for the defaults."""
    known = [each for each in options_of(recipe.family) if not (each.text or each.finish)]
    chosen = {each.name: recipe.option(each.name) for each in known}
    changed = {each.name: chosen[each.name] for each in known if chosen[each.name] != each.default}
    return f"-{digest('options', sorted(changed.items()))[:8]}" if changed else ""


def find_calibration(recipe: Recipe) -> Calibration | None:
    """Return the calibration of a pinned recipe, or None where the model has none.

    The calibration of its own solver is preferred to that of another one: the settled share depends
    on the solver far less than on the noise level. Raises UnknownModel for an unknown model or a
    damaged file.
    """
    path = _find(recipe)
    return None if path is None else load_calibration(path)


def is_calibrated(recipe: Recipe) -> bool:
    """Return whether `find_calibration` would find one; raises UnknownModel for the model."""
    return _find(recipe) is not None


def find_calibrated_solver(recipe: Recipe) -> CalibratedSolver | None:
    """Return the calibration at a pinned recipe's own steps; None and errors as above."""
    calibration = find_calibration(recipe)
    if calibration is None:
        return None
    schedule = load_family(recipe.family).load_schedule(recipe)
    solver = calibrate_solver(calibration, schedule, recipe.solver, recipe.steps)
    return replace(solver, prices=step_prices(recipe))


def calibration_digest(recipe: Recipe) -> list[str]:
    """Return the digests of all calibrations that may plan a pinned recipe."""
    paths = [calibration_path(replace(recipe, solver=each)) for each in SOLVERS]
    return [sha256(each.read_bytes()).hexdigest() for each in paths if each.is_file()]


def _find(recipe: Recipe) -> Path | None:
    solvers = dict.fromkeys((recipe.solver, *SOLVERS))
    paths = [calibration_path(replace(recipe, solver=each)) for each in solvers]
    return next((each for each in paths if each.is_file()), None)


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration as safetensors, atomically; equal calibrations make equal files."""
    tensors = {
        "levels": calibration.levels,
        "basis": calibration.basis.astype(np.float32),
        "settled": calibration.settled.astype(np.float32),
        "shares": calibration.shares,
    }
    rest = {
        "format": FORMAT,
        "misfits": {str(steps): misfit for steps, misfit in calibration.misfits.items()},
        "facts": dict(calibration.facts),
    }
    packed = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    write_whole(path, safetensors.numpy.save(packed, {_ENTRY: json.dumps(rest, sort_keys=True)}))


def load_calibration(path: Path) -> Calibration:
    """Return the calibration of a file; raises UnknownModel, which names the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            rest = json.loads(file.metadata()[_ENTRY])
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        if rest["format"] != FORMAT:
            raise ValueError(f"format {rest['format']}")
        return Calibration(
            **tensors,
            misfits={int(steps): float(misfit) for steps, misfit in rest["misfits"].items()},
            facts=rest["facts"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        hint = f"its calibration is damaged ({error}); remove it or run `hierdiff calibrate` again"
        raise UnknownModel(model=str(path), hint=hint) from None
