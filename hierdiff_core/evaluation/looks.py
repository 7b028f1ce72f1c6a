"""Looks inside a run: a standard run step by step, and the picture of a mean embedding.

Knows what is asked for and how the answer is laid out in an `Outcome`; runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.digest import digest
from hierdiff_core.evaluation.unit import VERSION, Unit, unit_key

FRAMES = 5  # of a coarse-to-fine strip
LEAVES = 8  # that a family may have at the most


@dataclass(frozen=True)
class Watch:
    """A standard run whose predicted x_0 is judged at every step.

    Its outcome holds, for K steps and P prompts, K P scores step by step; its pictures are, for
    each kept prompt, FRAMES latents and below them FRAMES predictions of x_0.
    """

    texts: tuple[str, ...]
    solver: str
    steps: int
    kept: int = 2

    def frames(self) -> tuple[int, ...]:
        """Return after how many steps the pictures of the strip are taken."""
        return tuple(int(each) for each in np.linspace(0, self.steps, FRAMES).round())


@dataclass(frozen=True)
class Family:
    """The picture of a mean embedding, of its two children's, and of its prompts.

    Its outcome holds these pictures in this order; facts `leaf.0` ... are places in `texts`,
    `left` is how many of them are the first child's.
    """

    texts: tuple[str, ...]
    solver: str
    steps: int


Job = Unit | Watch | Family


def job_key(job: Job, context: Sequence[object]) -> str:
    """Return the content key of a piece of work; see `unit_key`."""
    if isinstance(job, Unit):
        return unit_key(job, context)
    return digest(type(job).__name__.lower(), VERSION, asdict(job), list(context))


def choose_family(tree: ClusterTree) -> tuple[list[int], list[int]]:
    """Return the leaves of the two children of a node fit to be shown.

    The most heterogeneous node of 4 to LEAVES leaves of whose children none is a single leaf; any
    node that fits a page where there is none, both halves of a pair at the least.
    """
    sizes = tree.spans[:, 1] - tree.spans[:, 0]

    def fitness(node: int) -> tuple[bool, bool, float]:
        children = tree.children[node - tree.size]
        fits = 2 <= sizes[node] <= LEAVES
        return bool(fits), bool(sizes[children].min() > 1), float(tree.scores[node])

    best = max(range(tree.size, 2 * tree.size - 1), key=fitness)
    left, right = (tree.members(int(child)) for child in tree.children[best - tree.size])
    return [int(each) for each in left[:LEAVES]], [int(each) for each in right[:LEAVES]]
