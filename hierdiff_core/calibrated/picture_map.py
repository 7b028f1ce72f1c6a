"""From prompts' vectors to where their pictures lie, for models in which these are two spaces.

Differences of vectors are mapped to differences of pictures' embeddings by ridge regression. A
calibration is then fitted among pictures, and pulled back to the vectors that trees stand on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hierdiff_core.calibrated.ridge import Matrix

_RIDGES = 10.0 ** np.arange(-4, 4.01, 0.25)  # relative to the mean eigenvalue of rows' rows
_FOLDS = 8  # folds of the parties, each left out once


@dataclass(frozen=True, eq=False)
class PictureMap:
    """A linear map from vectors' coordinates (n, r) to pictures' embeddings (n, E)."""

    map: Matrix  # (r, E)
    expected: Matrix  # (n, E) of each prompt's picture, predicted from the other parties
    explained: float  # share that these explain of how pictures of a party differ
    stretch: float  # mean of |mapped|^2 over |vector|^2, for directions outside the coordinates

    def pull_back(self, inside: Matrix, share: float, basis: Matrix) -> Matrix:
        """Return M A M', (r, r), of a metric A: `inside` (q, q) in a basis (E, q), else `share`."""
        within = self.map @ basis
        around = self.map @ self.map.T - within @ within.T
        return np.asarray(within @ inside @ within.T + share * around)


def fit_picture_map(coordinates: Matrix, pictures: Matrix, together: int) -> PictureMap:
    """Return the map of coordinates (n, r) to embeddings (n, E) of prompts in parties.

    The members of a party have their noise in common, so its pictures are compared with each other
    alone, and left out together.
    """
    rows, values = _within(coordinates, together), _within(pictures, together)
    folds = np.arange(len(rows)) // together % _FOLDS
    scale = max(float((rows**2).sum()) / max(1, min(rows.shape)), 1e-12)
    errors = np.zeros(len(_RIDGES))
    for fold in range(_FOLDS):
        out = folds == fold
        for at, ridge in enumerate(_RIDGES * scale):
            gap = rows[out] @ _solve(rows[~out], values[~out], ridge) - values[out]
            errors[at] += float((gap**2).sum())
    best = _RIDGES[int(np.argmin(errors))] * scale
    expected = np.empty_like(pictures)
    centred = coordinates - coordinates.mean(axis=0)
    for fold in range(_FOLDS):
        out = folds == fold
        map_ = _solve(rows[~out], values[~out], best)
        expected[out] = pictures[~out].mean(axis=0) + centred[out] @ map_
    whole = _solve(rows, values, best)
    mapped = float(((rows @ whole) ** 2).sum())
    return PictureMap(
        whole,
        expected,
        1 - float(errors.min()) / max(float((values**2).sum()), 1e-300),
        mapped / max(float((rows**2).sum()), 1e-300),
    )


def _within(rows: Matrix, together: int) -> Matrix:
    """Return rows less the mean of their party."""
    parties = rows.reshape(-1, together, rows.shape[1])
    return np.asarray((parties - parties.mean(axis=1, keepdims=True)).reshape(rows.shape))


def _solve(rows: Matrix, values: Matrix, ridge: float) -> Matrix:
    gram = rows.T @ rows + ridge * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(gram, rows.T @ values))
