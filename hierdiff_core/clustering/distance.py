"""Distances between all clusters at once: the matrix that a linkage starts from.

Rows stand group by group: group g is rows starts[g] to starts[g + 1] - 1, and a group may be a
single row. A matrix is square, of the vectors' own type, and the only thing here that takes O(N^2)
memory; rows are multiplied in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]  # (N, D)
Matrix = npt.NDArray[np.floating]  # (G, G)
Starts = npt.NDArray[np.int64]  # (G,) ascending from 0

# Numbers in a block: large enough for a matrix product at full speed, small beside the matrix.
_BLOCK = 2**24


def ward_matrix(vectors: Vectors, starts: Starts) -> Matrix:
    """Return Ward's squared distances between groups, infinite on the diagonal.

    With d the cosine distance, W(A, B) = |A||B| / (|A| + |B|) (2 E d_ab^2 - E d_aa'^2 - E d_bb'^2),
    which is d^2 for single rows and equals the Lance-Williams update for larger groups.
    """
    units, sizes = _units(vectors), _sizes(vectors, starts)
    matrix = np.zeros((len(starts), len(starts)), dtype=units.dtype)
    for first, last, left, distances in _distance_blocks(units, starts):
        np.square(distances, out=distances)
        here = int(np.searchsorted(starts, last))
        matrix[left:here, left:] += _sum_groups(distances, starts, first, left, here)
    _mirror(matrix)
    weights = sizes.astype(matrix.dtype)
    within = np.diagonal(matrix) / weights**2
    for row in range(len(matrix)):
        spread = 2 * matrix[row] / (weights[row] * weights) - within[row] - within
        matrix[row] = spread * (weights[row] * weights / (weights[row] + weights))
    return _without_diagonal(matrix)


def average_matrix(vectors: Vectors, starts: Starts) -> Matrix:
    """Return mean cosine distances, 1 - <mean unit, mean unit>; infinite on the diagonal."""
    means = _sums(_units(vectors), starts) / _sizes(vectors, starts)[:, None]
    matrix = _gram(means.astype(vectors.dtype, copy=False))
    np.subtract(1, matrix, out=matrix)
    return _without_diagonal(matrix)


def centroid_matrix(vectors: Vectors, starts: Starts) -> Matrix:
    """Return the scalar products of the groups' sums."""
    return _gram(_sums(vectors, starts))


def _units(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _sizes(vectors: Vectors, starts: Starts) -> npt.NDArray[np.int64]:
    return np.diff(starts, append=len(vectors))


def _sums(vectors: Vectors, starts: Starts) -> Vectors:
    return vectors if len(starts) == len(vectors) else np.add.reduceat(vectors, starts, axis=0)


def _gram(vectors: Vectors) -> Matrix:
    matrix = np.empty((len(vectors), len(vectors)), dtype=vectors.dtype)
    for first, last in _blocks(len(vectors)):
        matrix[first:last, first:] = vectors[first:last] @ vectors[first:].T
    _mirror(matrix)
    return matrix


def _distance_blocks(units: Vectors, starts: Starts) -> Iterator[tuple[int, int, int, Matrix]]:
    """Yield rows first:last, the group of the first row, and the rows' distances from it on."""
    for first, last in _blocks(len(units)):
        left = int(np.searchsorted(starts, first, side="right")) - 1
        distances = units[first:last] @ units[starts[left] :].T
        np.subtract(1, distances, out=distances)
        yield first, last, left, distances


def _sum_groups(values: Matrix, starts: Starts, first: int, left: int, here: int) -> Matrix:
    """Return sums over groups of a block that begins at row `first`, inside group `left`."""
    if len(values) != here - left:
        values = np.add.reduceat(values, np.maximum(starts[left:here] - first, 0), axis=0)
    if values.shape[1] == len(starts) - left:
        return values
    return np.asarray(np.add.reduceat(values, starts[left:] - starts[left], axis=1))


def _mirror(matrix: Matrix) -> None:
    """Copy the upper triangle to the lower one."""
    for first, last in _blocks(len(matrix)):
        matrix[last:, first:last] = matrix[first:last, last:].T
        square = matrix[first:last, first:last]
        square[:] = np.triu(square) + np.triu(square, 1).T


def _without_diagonal(matrix: Matrix) -> Matrix:
    np.maximum(matrix, 0, out=matrix)  # only rounding makes a distance negative
    np.fill_diagonal(matrix, np.inf)
    return matrix


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    rows = max(1, min(1024, _BLOCK // size))
    for first in range(0, size, rows):
        yield first, min(first + rows, size)
