"""What the house relies on of every model family, whichever it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Kandinsky5Transformer3DModel

from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning, Embedding, pack, stack, unpack
from hierdiff_core.errors import PromptTooLong, UnknownModel
from hierdiff_core.models.device import HOST, bring
from hierdiff_core.models.families import FAMILIES, family_of_class
from hierdiff_core.models.family import Defaults, Encoder, Family, load_family
from hierdiff_core.models.folder import read_class_name
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.plan import make_plan
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.solver import make_solver
from hierdiff_core.solvers import SOLVERS
from tests.core.recipes import change
from tests.core.tiny.model import redraw_network
from tests.core.tiny.pipelines import MODELS

TEXTS = ("a red cup", "a blue cup", "two pots", "a hat", "a cup")
NAMES = sorted(set(FAMILIES.values()))


@dataclass(frozen=True)
class Loaded:
    """A family and a small model of it, both sides in memory."""

    family: Any  # a module that is a Family
    recipe: Recipe
    encoder: Encoder
    networks: Any
    sizes: tuple[tuple[int, int], ...] = ((16, 16), (32, 48))  # height and width

    @property
    def network(self) -> Any:
        parts = self.networks.components
        return next(parts[name] for name in ("unet", "transformer", "decoder") if name in parts)

    def prompts(self) -> list[Prompt]:
        return [Prompt(row, "", text, self.recipe) for row, text in enumerate(TEXTS, start=1)]

    @cached_property
    def rows(self) -> list[Embedding]:
        return self.encoder.embed(self.prompts())

    @cached_property
    def negative(self) -> Conditioning:
        return self.encoder.embed_negative(self.recipe)

    def denoiser(self, **changes: Any) -> Any:
        recipe = change(self.recipe, **changes)
        return self.family.fit(self.networks, recipe, self.negative)

    def conditioning(self) -> Conditioning:
        return stack([row.conditioning for row in self.rows])


@pytest.fixture(scope="module", params=["kandinsky22", "stable_diffusion", *MODELS])
def loaded(
    request: pytest.FixtureRequest,
    folders: Any,
    stable_diffusion: Path,
    tiny_folder: Callable[[str], Path],
) -> Loaded:
    more = {}
    if request.param in MODELS:
        model, folder = MODELS[request.param], str(tiny_folder(request.param))
        size = {"height": model.side, "width": model.side}
        recipe = make_recipe(folder, dict(model.options), steps=7, **size)
        square = (model.side, model.side)
        more = {"sizes": (square,) if model.fixed else (square, (2 * model.side, model.side))}
    elif request.param == "kandinsky22":
        recipe = folders.recipe()
    else:
        recipe = make_recipe(str(stable_diffusion), steps=7)
    family = load_family(recipe.family)
    networks = family.load_networks(recipe, "cpu", compiled=False)
    return Loaded(family, recipe, family.load_encoder(recipe, "cpu"), networks, **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_a_module_with_every_name_that_is_asked_for(name: str) -> None:
    family = load_family(name)
    assert isinstance(family, ModuleType)
    for wanted in Family.__annotations__:
        assert hasattr(family, wanted), wanted
    methods = {each: kind for each, kind in vars(Family).items() if inspect.isfunction(kind)}
    for wanted, kind in methods.items():
        if wanted.startswith("_"):
            continue
        asked = list(inspect.signature(kind).parameters)[1:]  # a module has no self
        assert list(inspect.signature(getattr(family, wanted)).parameters) == asked, wanted


@pytest.mark.parametrize("name", NAMES)
def test_options_have_names_of_their_own_and_defaults_within_their_range(name: str) -> None:
    options = load_family(name).OPTIONS
    names = [option.name for option in options]
    assert len(set(names)) == len(names)
    assert not set(names) & set(Recipe.__dataclass_fields__)
    for option in options:
        assert option.meaning
        assert option.least is None or option.default >= option.least


def test_an_unknown_family_and_an_unknown_class_are_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownModel, match="these are: flux, flux2, kandinsky22, kandinsky3, "):
        load_family("os")
    with pytest.raises(UnknownModel, match="it is a WanPipeline; known are Flux2Klein"):
        family_of_class("a/b", "WanPipeline")


def test_kandinsky_5_is_refused_since_its_network_reads_padding() -> None:
    with pytest.raises(UnknownModel) as refused:
        family_of_class("a/b", "Kandinsky5T2IPipeline")
    assert str(refused.value) == (
        "Model 'a/b' cannot be loaded: it is a Kandinsky5T2IPipeline; its network has no mask for "
        "padding, so a picture would depend on the longest prompt beside it."
    )
    network = redraw_network(
        Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            in_text_dim=32,
            in_text_dim2=32,
            time_dim=32,
            out_visual_dim=4,
            patch_size=(1, 2, 2),
            model_dim=64,
            ff_dim=64,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(8, 12, 12),
        )
    )
    latents, tokens = torch.randn(1, 1, 8, 8, 4), torch.randn(1, 5, 32)

    def predict(tokens: torch.Tensor) -> torch.Tensor:
        places = [torch.arange(1), torch.arange(4), torch.arange(4)]
        told = torch.arange(tokens.shape[1])
        found: torch.Tensor = network(
            latents, tokens, torch.tensor([500.0]), torch.ones(1, 32), places, told
        ).sample
        return found

    with torch.no_grad():
        short = predict(tokens)
        padded = predict(torch.cat([tokens, torch.zeros(1, 1, 32)], dim=1))
    assert "mask" not in " ".join(inspect.signature(network.forward).parameters)
    assert float((padded - short).abs().max()) > 0.01 * float(short.abs().max())


def test_a_model_leads_to_its_family(loaded: Loaded) -> None:
    name = family_of_class(loaded.recipe.model, read_class_name(loaded.recipe.model))
    assert load_family(name) is loaded.family
    defaults = loaded.family.read_defaults(loaded.recipe.model)
    assert isinstance(defaults, Defaults)
    assert defaults.solver in SOLVERS
    loaded.family.check(loaded.recipe)


def test_the_noise_schedule_is_the_same_with_and_without_the_weights(loaded: Loaded) -> None:
    schedule = loaded.family.load_schedule(loaded.recipe)
    denoiser = loaded.denoiser()
    assert denoiser.noise_schedule.kind == schedule.kind
    for name, entry in SOLVERS.items():
        if entry.kind == schedule.kind:
            one = make_solver(name, schedule, 7)
            other = make_solver(name, denoiser.noise_schedule, 7)
            assert torch.equal(one.timesteps, other.timesteps)
            count = len(one.timesteps)
            rows, noise = torch.ones(count, 1, 2), torch.full((count, 1, 2), 0.5)
            halves, steps = torch.full((count, 2, 2), 0.3), torch.arange(count)
            past = tuple(rows for _ in range(one.history_size))
            stepped = [each.step(rows, halves, noise, steps, past)[0] for each in (one, other)]
            assert torch.equal(*stepped)


def test_networks_that_were_held_in_memory_are_those_that_are_loaded(loaded: Loaded) -> None:
    held = loaded.family.load_networks(loaded.recipe, HOST, compiled=False)
    brought = bring(held, loaded.recipe, "cpu").components
    for name, part in loaded.networks.components.items():
        if isinstance(part, torch.nn.Module):
            facts = zip(part.state_dict().items(), brought[name].state_dict().items(), strict=True)
            for (name_of_one, one), (name_of_other, other) in facts:
                assert name_of_one == name_of_other
                assert (one.dtype, one.stride()) == (other.dtype, other.stride())
                assert torch.equal(one, other)


def test_the_sides_are_pinned_each_by_its_own_files(loaded: Loaded) -> None:
    pinned = pin_recipe(loaded.recipe)
    assert len({pinned.revision, pinned.text_revision}) == 2
    assert len(pinned.revision) == len(pinned.text_revision) == 16
    assert loaded.family.text_parts(pinned) != loaded.family.picture_parts(pinned)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_steps_price_is_the_rows_that_the_network_is_given(
    loaded: Loaded, guidance: float
) -> None:
    denoiser, rows = loaded.denoiser(guidance=guidance), len(TEXTS)
    given: list[int] = []
    hook = loaded.network.register_forward_hook(
        lambda network, inputs, output: given.append(len(output[0]))
    )
    latents = torch.zeros(rows, *denoiser.latent_shape)
    conditioning = loaded.conditioning().tensors
    with hook, torch.no_grad():
        denoiser.predict(latents, torch.full((rows,), 500), conditioning)
    forwards = loaded.family.forwards(denoiser.recipe)
    assert len(forwards) == denoiser.recipe.evaluations
    assert sum(given) == rows * forwards[0]


def test_an_embedding_is_one_row_on_the_cpu(loaded: Loaded) -> None:
    rows, slots = loaded.rows, loaded.denoiser().slots
    assert len(rows) == len(TEXTS)
    for row in rows:
        assert (row.vector.ndim, row.vector.dtype) == (1, np.float32)
        assert list(row.conditioning.tensors) == [slot.name for slot in slots]
        for tensor in row.conditioning.tensors.values():
            assert (len(tensor), tensor.device.type) == (1, "cpu")
    assert len({row.vector.shape for row in rows}) == 1
    assert len({row.vector.tobytes() for row in rows}) == len(TEXTS)
    assert loaded.encoder.embed([]) == []


def test_an_embedding_survives_its_bytes(loaded: Loaded) -> None:
    for row in loaded.rows:
        again = unpack(pack(row))
        assert again.vector.tobytes() == row.vector.tobytes()
        for name, tensor in row.conditioning.tensors.items():
            assert torch.equal(again.conditioning.tensors[name], tensor)


def test_an_embedding_does_not_depend_on_company_or_order(loaded: Loaded) -> None:
    prompts = loaded.prompts()
    back = loaded.encoder.embed(prompts[::-1])[::-1]
    (alone,) = loaded.encoder.embed(prompts[2:3])
    for row, other in [*zip(loaded.rows, back, strict=True), (loaded.rows[2], alone)]:
        assert row.vector.tobytes() == other.vector.tobytes()
        for name, tensor in row.conditioning.tensors.items():
            assert torch.equal(other.conditioning.tensors[name], tensor)


def test_whether_a_seed_changes_an_embedding_is_what_the_family_says(loaded: Loaded) -> None:
    other = Prompt(1, "", TEXTS[0], change(loaded.recipe, seed=9))
    one, two = loaded.rows[0].vector, loaded.encoder.embed([other])[0].vector
    assert (one.tobytes() != two.tobytes()) == loaded.family.TEXT_DRAWS


def test_the_mean_of_one_is_itself(loaded: Loaded) -> None:
    conditioning, slots = loaded.conditioning(), loaded.denoiser().slots
    for leaf in range(len(TEXTS)):
        for name, tensor in conditioning.mean([leaf], slots).tensors.items():
            assert torch.equal(tensor, conditioning.tensors[name][leaf : leaf + 1])


def test_masks_of_a_cluster_are_the_union_of_its_members(loaded: Loaded) -> None:
    conditioning, slots = loaded.conditioning(), loaded.denoiser().slots
    mean = conditioning.mean([0, 2, 4], slots).tensors
    for slot in slots:
        if slot.kind != "mask":
            continue
        rows = conditioning.tensors[slot.name][[0, 2, 4]]
        assert torch.equal(mean[slot.name][0], rows.any(dim=0).to(rows.dtype))
        assert len({row.numpy().tobytes() for row in rows}) > 1  # the prompts differ in length


def test_the_mean_of_equal_prompts_is_theirs(loaded: Loaded) -> None:
    slots = loaded.denoiser().slots
    row = loaded.rows[0].conditioning
    masks = {slot.name: row.tensors[slot.mask].bool()[..., None] for slot in slots if slot.mask}
    for name, tensor in stack([row, row, row]).mean([0, 1, 2], slots).tensors.items():
        valid = masks.get(name, torch.tensor(True))  # the network reads nothing else
        assert torch.equal(tensor.where(valid, 0), row.tensors[name].where(valid, 0))


def test_a_mean_has_the_shape_and_the_type_of_a_row(loaded: Loaded) -> None:
    conditioning = loaded.conditioning()
    for name, tensor in conditioning.mean([0, 2, 4], loaded.denoiser().slots).tensors.items():
        row = conditioning.tensors[name][:1]
        assert (tensor.shape, tensor.dtype) == (row.shape, row.dtype)


def test_what_guidance_steers_away_from_is_one_row_like_a_prompts(loaded: Loaded) -> None:
    for text in ("", "a blur"):
        negative = loaded.encoder.embed_negative(change(loaded.recipe, negative_prompt=text))
        for name, tensor in loaded.conditioning().tensors.items():
            assert negative.tensors[name].shape == tensor[:1].shape
            assert negative.tensors[name].dtype == tensor.dtype


def test_a_rows_bits_do_not_depend_on_neighbours_or_interruptions(loaded: Loaded) -> None:
    # Where there are, steps of one forward pass and of two are under way at once.
    options = {"guidance_start": 0.5} if "guidance_start" in loaded.recipe.options else {}
    denoiser = loaded.denoiser(steps=4, guidance=4.0, **options)
    rows = loaded.rows
    tree = build_tree(np.stack([row.vector for row in rows]), keys=TEXTS)
    recipe = denoiser.recipe
    plan = make_plan(tree, make_schedule(recipe.evaluations, 1.2 * float(tree.heights[-2])))
    assert len(plan.segments) > len(TEXTS)
    job = Job(
        plan,
        stack([row.conditioning for row in rows]),
        TEXTS,
        slots=3,
        forwards=loaded.family.forwards(recipe),
    )
    solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
    whole = list(run(job, denoiser, solver))
    wanted = {each.segment.id: each.state for each in whole}
    path = {each.id for each in plan.path(plan.leaf_segment(3))}
    for each in run(replace(job, only=path), denoiser, solver):
        assert torch.equal(each.state.latents, wanted[each.segment.id].latents)
    half = {each.segment.id: each.state for each in whole[: len(whole) // 2]}
    for each in run(job, denoiser, solver, half):
        assert torch.equal(each.state.latents, wanted[each.segment.id].latents)


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_a_rows_prediction_is_its_own_at_any_step(loaded: Loaded, guidance: float) -> None:
    denoiser, tensors = loaded.denoiser(guidance=guidance), loaded.conditioning().tensors
    size, draws = len(TEXTS), torch.Generator().manual_seed(6)
    latents = torch.randn(size, *denoiser.latent_shape, generator=draws)
    timesteps, order = torch.tensor([951, 1, 501, 501, 251]), torch.tensor([3, 0, 1, 4, 2])
    turned = {name: tensor[order] for name, tensor in tensors.items()}
    one = {name: tensor[2:3] for name, tensor in tensors.items()}
    with torch.no_grad():
        straight = denoiser.predict(latents, timesteps, tensors)
        shuffled = denoiser.predict(latents[order], timesteps[order], turned)
        alone = denoiser.predict(latents[2:3], timesteps[2:3], one)
    assert (straight.dtype, straight.shape[2:]) == (torch.float32, latents.shape[2:])
    assert torch.equal(shuffled, straight[order])
    size = float(straight.abs().max())
    torch.testing.assert_close(alone, straight[2:3], rtol=0, atol=1e-5 * max(1.0, size))


def test_a_picture_has_the_size_that_was_asked(loaded: Loaded) -> None:
    for height, width in loaded.sizes:
        denoiser = loaded.denoiser(height=height, width=width)
        pictures = denoiser.decode(torch.zeros(2, *denoiser.latent_shape), "ab")
        assert (pictures.shape, pictures.dtype) == ((2, height, width, 3), np.uint8)


def test_a_picture_does_not_depend_on_its_neighbours(loaded: Loaded) -> None:
    denoiser = loaded.denoiser()
    latents = torch.randn(3, *denoiser.latent_shape, generator=torch.Generator().manual_seed(1))
    turned = denoiser.decode(latents.flip(0), "cba")[::-1]
    np.testing.assert_array_equal(denoiser.decode(latents, "abc"), turned)


def test_a_picture_that_is_drawn_while_it_is_decoded_follows_its_name_and_seed(
    loaded: Loaded,
) -> None:
    denoiser = loaded.denoiser()
    latents = torch.ones(1, *denoiser.latent_shape).expand(2, *denoiser.latent_shape)
    one, other = denoiser.decode(latents, "ab")
    np.testing.assert_array_equal(denoiser.decode(latents, "ba")[1], one)
    anew = loaded.denoiser(seed=9).decode(latents, "ab")[0]
    draws = loaded.recipe.family == "karlo"
    assert np.array_equal(one, other) != draws
    assert np.array_equal(one, anew) != draws


def test_prompts_of_the_house_pass_the_check_and_endless_ones_do_not(loaded: Loaded) -> None:
    check = loaded.family.load_check(loaded.recipe)
    for prompt in loaded.prompts():
        check(prompt)
    with pytest.raises(PromptTooLong, match=r"^Row 9: "):
        check(Prompt(9, "", "word " * 500, loaded.recipe))


def test_networks_serve_every_recipe_of_their_model(loaded: Loaded) -> None:
    height, width = loaded.sizes[-1]
    one, other = loaded.denoiser(), loaded.denoiser(guidance=1.0, height=height, width=width)
    assert one.pipeline is other.pipeline is loaded.networks
    assert (one.latent_shape != other.latent_shape) == (len(loaded.sizes) > 1)
