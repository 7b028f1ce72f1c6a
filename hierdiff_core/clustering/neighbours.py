"""Each row's nearest rows, without comparing every pair.

Rows are divided into shards by k-means, and a row's neighbours are searched in the shards that are
nearest to its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.distance import Vectors

Rows = npt.NDArray[np.int64]

_SHARD = 1_500  # rows of a shard, roughly
_SEARCHED = 16  # shards that are searched for neighbours of a shard's rows, itself among them
_PASSES = 3  # of k-means over the rows: the search across shards mends their borders
_BATCH = 4_096
_BLOCK = 2**24  # numbers in a block of scalar products
_SEED = 0


def nearest_pairs(units: Vectors, count: int) -> npt.NDArray[np.int64]:
    """Return pairs (E, 2), a < b, ascending and each once: rows and their `count` nearest rows.

    `units` (N, D) are of length one. The same rows in the same order give the same pairs.
    """
    shards, centres = divide(units)
    keys = [np.empty(0, dtype=np.int64)]
    for shard, rows in enumerate(shards):
        near = np.argsort(-(centres @ centres[shard]), kind="stable")[:_SEARCHED]
        near = near if shard in near else np.append(near[:-1], shard)
        others = np.concatenate([shards[each] for each in near])
        for mine, found in _search(units, rows, others, count):
            ends = np.repeat(mine, found.shape[1]), found.ravel()
            keys.append(np.minimum(*ends) * len(units) + np.maximum(*ends))
    pairs = np.stack(np.divmod(np.unique(np.concatenate(keys)), len(units)), axis=1)
    return np.asarray(pairs[pairs[:, 0] < pairs[:, 1]])


def divide(units: Vectors) -> tuple[list[Rows], Vectors]:
    """Return the rows of each shard, ascending, and the shards' centres."""
    # Imported here, since it loads for a second and only batches beyond an exact tree need it.
    from sklearn.cluster import MiniBatchKMeans

    count = max(1, len(units) // _SHARD)
    # Without early ends and re-draws, rounding of the inertia cannot change the shards.
    model = MiniBatchKMeans(
        count,
        max_iter=_PASSES,
        batch_size=_BATCH,
        random_state=_SEED,
        tol=0,
        max_no_improvement=None,
        n_init=1,
        reassignment_ratio=0,
    )
    labels = model.fit(units).labels_
    used = np.unique(labels)
    return [np.flatnonzero(labels == label) for label in used], model.cluster_centers_[used]


def _search(units: Vectors, rows: Rows, others: Rows, count: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield blocks of rows, and for each of them the nearest of the others, itself among them."""
    candidates = units[others]
    most = min(count + 1, len(others))
    block = max(1, _BLOCK // len(others))
    for first in range(0, len(rows), block):
        mine = rows[first : first + block]
        farness = -(units[mine] @ candidates.T)
        yield mine, others[np.argpartition(farness, most - 1, axis=1)[:, :most]]
