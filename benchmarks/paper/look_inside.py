"""Looks inside a run: a standard run step by step, and the picture of a mean embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning
from hierdiff_core.evaluation.methods import PromptGroup, make_setting_plan
from hierdiff_core.evaluation.setting import standard
from hierdiff_core.evaluation.unit import VERSION, Outcome
from hierdiff_core.keys import node_keys
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.sampling.sampler import Job, rounds
from hierdiff_core.sampling.step import advance
from tasks.evaluation.carry_out import SLOTS, Report, decode, noise_key
from tasks.evaluation.panel import Panel
from tasks.evaluation.subject import Subject

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

    @property
    def weight(self) -> int:
        """See Trial."""
        return self.steps * len(self.texts)

    def key(self, context: Sequence[object]) -> str:
        """See Trial."""
        return digest("watch", VERSION, asdict(self), list(context))

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

    @property
    def weight(self) -> int:
        """See Trial."""
        return self.steps * 12

    def key(self, context: Sequence[object]) -> str:
        """See Trial."""
        return digest("family", VERSION, asdict(self), list(context))


def watch_run(watch: Watch, subject: Subject, panel: Panel, report: Report) -> Outcome:
    """Follow a standard run, and judge the picture that is predicted at every step."""
    steps = list(_follow(watch, subject, report))
    frames, keys = set(watch.frames()), _drawing_keys(watch)
    shown, scores, features = [], [], []
    for at, (latents, predicted) in enumerate(steps):
        if at in frames:
            kept = keys[: watch.kept]
            shown.append((decode(list(latents[: watch.kept]), kept, subject),
                          decode(list(predicted[: watch.kept]), kept, subject)))  # fmt: skip
        if at:  # before the first step nothing is predicted yet
            pictures = decode(list(predicted), keys, subject)
            scores.append(panel.verdicts(pictures, watch.texts)[0])
            features.append(panel.features(pictures))
    strips = [pair[row][prompt] for prompt in range(min(watch.kept, len(watch.texts)))
              for row in range(2) for pair in shown[:FRAMES]]  # fmt: skip
    known = [each for each in features if each is not None]
    return Outcome(
        {name: np.concatenate([each[name] for each in scores]) for name in scores[0]},
        np.concatenate(known) if known else None,
        {},
        np.stack(strips),
        {"steps": float(watch.steps), "prompts": float(len(watch.texts)),
         "evaluations": float(watch.steps), "images": 1.0},
    )  # fmt: skip


@torch.no_grad()
def _follow(
    watch: Watch, subject: Subject, report: Report
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return latents and predicted x_0 before the first step and after each."""
    denoiser, solver = subject.denoiser(), subject.solver(watch.solver, watch.steps)
    solver = solver.to(denoiser.device)
    device, seed = denoiser.device, subject.recipe.seed
    keys, shape = _drawing_keys(watch), denoiser.latent_shape
    latents = torch.stack([initial_noise(seed, key, shape) for key in keys]).to(device)
    latents = latents * solver.initial_scale
    history = tuple(torch.zeros_like(latents) for _ in range(solver.history_size))
    given = subject.conditioning(watch.texts).tensors
    given = {name: tensor.to(device) for name, tensor in given.items()}
    found = [(latents, latents)]
    for step in range(watch.steps):
        at, before, noise = torch.full((len(keys),), step, device=device), latents, None
        if solver.draws_noise:
            noise = torch.stack([step_noise(seed, key, step, shape) for key in keys]).to(device)
        latents, history, prediction = advance(denoiser, solver, before, history, at, given, noise)
        found.append((latents, solver.predicted_x0(before, prediction, at)))
        report(len(keys))
    return found


def _drawing_keys(watch: Watch) -> tuple[str, ...]:
    """Return the keys under which the sampler draws the noise of these prompts."""
    keys = [noise_key(text) for text in watch.texts]
    plan = make_setting_plan(
        [PromptGroup(np.zeros((len(keys), 1)), keys)], standard(watch.solver, watch.steps)
    )
    return node_keys(plan, keys)


def show_family(family: Family, subject: Subject, panel: Panel, report: Report) -> Outcome:
    """Denoise a node's mean to the end, its children's means, and its prompts."""
    vectors = subject.vectors(family.texts)
    tree = build_tree(vectors, "ward", [noise_key(text) for text in family.texts])
    left, right = choose_family(tree)
    leaves, rows = [*left, *right], subject.conditioning(family.texts)
    clusters = [leaves, left, right, *([leaf] for leaf in leaves)]
    means = torch.cat([rows.mean(cluster).tensors[name] for cluster in clusters
                       for name in rows.tensors])  # fmt: skip
    setting = standard(family.solver, family.steps)
    plan = make_setting_plan([PromptGroup(means.numpy(), [str(at) for at in range(len(clusters))])],
                             setting)  # fmt: skip
    # One initial noise for all, so that only the embeddings differ.
    job = Job(plan, Conditioning({next(iter(rows.tensors)): means}),
                     [str(at) for at in range(len(clusters))], subject.recipe.seed, "shared",
                     slots=SLOTS)  # fmt: skip
    found: dict[int, torch.Tensor] = {}
    for each in rounds(job, subject.denoiser(), subject.solver(family.solver, family.steps)):
        report(each.evaluations)
        found |= {plan.order[end.segment.first]: end.state.latents for end in each.finished}
    same = ["shared"] * len(clusters)
    pictures = decode([found[at] for at in range(len(clusters))], same, subject)
    facts = {f"leaf.{at}": float(leaf) for at, leaf in enumerate(leaves)}
    facts |= {"left": float(len(left)), "evaluations": float(plan.evaluations), "images": 1.0}
    return Outcome({panel.judges[0].name: np.zeros(len(clusters))}, None, {}, pictures, facts)


def choose_family(tree: ClusterTree) -> tuple[list[int], list[int]]:
    """Return the leaves of the two children of a node fit to be shown.

    The most heterogeneous node of 4 to LEAVES leaves of whose children none is a single leaf; any
    node that fits a page where there is none, both halves of a pair at the least.
    """
    sizes = tree.spans[:, 1] - tree.spans[:, 0]

    def fitness(node: int) -> tuple[bool, bool, float]:
        children = tree.children[node - tree.size]
        fits = 2 <= sizes[node] <= LEAVES
        return bool(fits), bool(sizes[children].min() > 1), float(tree.heights[node])

    best = max(range(tree.size, 2 * tree.size - 1), key=fitness)
    left, right = (tree.members(int(child)) for child in tree.children[best - tree.size])
    return [int(each) for each in left[:LEAVES]], [int(each) for each in right[:LEAVES]]
