"""The catalogue that benchmarks denoise: captions in the miniature's vocabulary, embedded once.

Knows prompts, the shipped prior and a cache of embeddings on disk. Knows nothing of sampling.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from benchmarks.lab import Lab
from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning, stack
from hierdiff_core.models.folder import SHIPPED
from hierdiff_core.models.kandinsky22 import (
    EMBEDDING,
    Decoder,
    fit,
    load_encoder,
    load_networks,
)
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.sampler import Job
from hierdiff_core.schedule import make_schedule, solve_tau
from hierdiff_core.whole_file import write_whole
from training.captions import caption
from training.vocabulary import all_attributes

DECODER, PRIOR = SHIPPED
STEPS = 20
_CHUNK = 64  # prompts that are embedded between two lines of progress


@dataclass(frozen=True)
class Catalogue:
    """Prompts with their embeddings; N prompts are the first N of any more."""

    recipe: Recipe
    content_keys: tuple[str, ...]
    conditioning: Conditioning
    negative: Conditioning

    def __len__(self) -> int:
        return len(self.content_keys)

    def first(self, count: int) -> Catalogue:
        """Return the catalogue of the first N prompts alone."""
        rows = {name: tensor[:count] for name, tensor in self.conditioning.tensors.items()}
        keys = self.content_keys[:count]
        return Catalogue(self.recipe, keys, Conditioning(rows), self.negative)

    def tree(self) -> ClusterTree:
        """Return the tree of all prompts."""
        return build_tree(self.conditioning.tensors[EMBEDDING].numpy(), keys=self.content_keys)

    def job(self, plan: Plan, slots: int) -> Job:
        """Return what the sampler is asked for."""
        return Job(plan, self.conditioning, self.content_keys, self.recipe.seed, slots=slots)


def small_recipe(lab: Lab) -> Recipe:
    """Return the recipe of the shipped models: DDIM, 20 steps, guidance, 64 pixels."""
    options = {"prior_steps": 2 if lab.quick else 10}
    return pin_recipe(make_recipe(DECODER, options, steps=6 if lab.quick else STEPS))


def make_texts() -> list[str]:
    """Return distinct captions, the same ones each time, of all products, colours and styles."""
    attributes = list(all_attributes())
    random.Random(4).shuffle(attributes)
    captions = (caption(each, seed) for seed, each in enumerate(attributes, start=1))
    return list(dict.fromkeys(captions))


def load_catalogue(lab: Lab, count: int, recipe: Recipe | None = None) -> Catalogue:
    """Return a catalogue of N prompts; what was embedded before is read from the work folder."""
    recipe = recipe or small_recipe(lab)
    texts = make_texts()
    named = enumerate(texts[:count], start=1)
    prompts = [Prompt(row, str(row), text, recipe) for row, text in named]
    name = digest("catalogue", recipe.text_revision, recipe.option("prior_steps"), texts)[:16]
    vectors = _embed(lab, prompts, lab.folder("embeddings") / f"{name}.safetensors")
    return Catalogue(
        recipe,
        tuple(map(content_key, prompts)),
        Conditioning({EMBEDDING: vectors["prompts"][:count]}),
        Conditioning({EMBEDDING: vectors["negative"]}),
    )


def cut(tree: ClusterTree, steps: int, saving: float) -> Plan:
    """Return the plan that saves this share of evaluations; 0 is tau = 0, nothing shared."""
    if saving == 0:
        return make_plan(tree, make_schedule(steps, 0.0))
    return make_plan(tree, solve_tau(tree, steps, Budget(saving=saving)))


def open_decoder(lab: Lab, catalogue: Catalogue) -> Decoder:
    """Return the shipped decoder as a Denoiser."""
    networks = load_networks(catalogue.recipe, lab.device)
    return fit(networks, catalogue.recipe, catalogue.negative)


def _embed(lab: Lab, prompts: list[Prompt], file: Path) -> dict[str, torch.Tensor]:
    known = safetensors.torch.load_file(file) if file.exists() else {}
    have = len(known["prompts"]) if known else 0
    if have >= len(prompts):
        return known
    prior = load_encoder(prompts[0].recipe, lab.device)
    rows = [Conditioning({EMBEDDING: known["prompts"]})] if known else []
    for first in range(have, len(prompts), _CHUNK):
        made = prior.embed(prompts[first : first + _CHUNK])
        rows += [embedding.conditioning for embedding in made]
        lab.say(f"embedded {min(first + _CHUNK, len(prompts))} of {len(prompts)} prompts")
    negative = prior.embed_negative(prompts[0].recipe)
    known = {"prompts": stack(rows).tensors[EMBEDDING], "negative": negative.tensors[EMBEDDING]}
    write_whole(file, safetensors.torch.save(known))
    return known
