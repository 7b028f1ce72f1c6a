"""hierdiff with nothing shared against the stock pipeline at its best batch size.

Knows the sides and checks that they make the same pictures before any second is counted. The stock
pipeline runs as its users have it, in a process of its own, and once more beside ours, where it has
our allocator; ours runs plain and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.apart import Apart, open_apart
from benchmarks.catalogue import Catalogue, cut, load_catalogue, open_decoder
from benchmarks.errors import DifferentWork
from benchmarks.lab import Lab, clock
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.pairs import Laps, Side, alternate
from benchmarks.stock import Stock, make_stock
from hierdiff_core.keys import node_keys
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder, fit, load_networks
from hierdiff_core.noise import initial_noise
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.decode import AT_ONCE, decode_latents
from hierdiff_core.sampling.sampler import Finished, rounds
from hierdiff_core.solver import make_solver

TITLE = "Throughput against the stock pipeline, nothing shared"
STOCK, BESIDE = "stock", "stock, our allocator"
OURS, COMPILED = "hierdiff", "hierdiff, compiled"
TOLERANCE = 1e-4  # of latents, whose scale is about 1
TIMED = {
    "denoise": "denoising alone",
    "whole": "with pictures, as many decoded at once as end together",
    "whole, as at night": f"with pictures decoded as at night, in calls of {AT_ONCE}",
}


@dataclass(frozen=True)
class Sides:
    """The same pictures made by ours and by the stock pipeline."""

    catalogue: Catalogue
    decoder: Decoder
    stock: Stock
    plan: Plan  # tau = 0

    def ours(self, slots: int) -> dict[str, float]:
        """Make all pictures with the sampler; return seconds."""
        steps, decoder = self.catalogue.recipe.steps, self.decoder
        began = clock(decoder.device)
        solver = make_solver("ddim", decoder.noise_schedule, steps)
        decoding, ended = 0.0, list[Finished]()
        for each in rounds(self.catalogue.job(self.plan, slots), decoder, solver):
            if each.finished:
                at = clock(decoder.device)
                latents = [done.state.latents for done in each.finished]
                decoder.decode(torch.stack(latents), [""] * len(latents))
                decoding += clock(decoder.device) - at
                ended += each.finished
        then = clock(decoder.device)
        denoise = then - began - decoding
        decode_latents(decoder, [done.state.latents for done in ended], [""] * len(ended))
        night = denoise + clock(decoder.device) - then
        return {"denoise": denoise, "whole": denoise + decoding, "whole, as at night": night}

    def theirs(self, batch: int) -> dict[str, float]:
        """Make all pictures with the stock pipeline in this process; return seconds."""
        _, seconds = self.stock.generate(self.embeds, self.noise, batch)
        return _at_night_too(seconds)

    def compiled(self) -> Sides:
        """Return the sides with our network compiled."""
        recipe, device = self.catalogue.recipe, str(self.decoder.device)
        pipeline = load_networks(recipe, device, compiled=True)
        return replace(self, decoder=fit(pipeline, recipe, self.catalogue.negative))

    @property
    def embeds(self) -> torch.Tensor:
        """(N, D), in the order of the leaves' numbers."""
        return self.catalogue.conditioning.tensors[EMBEDDING]

    @property
    def noise(self) -> torch.Tensor:
        """(N, ...) initial noise, as the sampler draws it for each leaf."""
        keys = node_keys(self.plan, self.catalogue.content_keys)
        drawn = {
            self.plan.order[segment.first]: initial_noise(
                self.catalogue.recipe.seed, key, self.decoder.latent_shape
            )
            for segment, key in zip(self.plan.segments, keys, strict=True)
        }
        return torch.stack([drawn[leaf] for leaf in range(self.plan.size)])

    def check(self, slots: int, batch: int) -> float:
        """Return the greatest difference of any latent; raises DifferentWork above 1e-4."""
        solver = make_solver("ddim", self.decoder.noise_schedule, self.catalogue.recipe.steps)
        ended: list[Finished] = []
        for each in rounds(self.catalogue.job(self.plan, slots), self.decoder, solver):
            ended += each.finished
        mine = {self.plan.order[done.segment.first]: done.state.latents for done in ended}
        found = torch.stack([mine[leaf] for leaf in range(self.plan.size)])
        wanted = self.stock.latents(self.embeds, self.noise, batch).float()
        worst = float((found - wanted).abs().max())
        if not worst <= TOLERANCE:
            difference = f"latents at tau = 0 differ by {worst:.1e}, more than {TOLERANCE:.0e}"
            raise DifferentWork(what="throughput", difference=difference)
        return worst


def measure(lab: Lab) -> Outcome:
    """Find each side's best batch, check that all make the same, and alternate them."""
    count, laps = (4, 2) if lab.quick else (64, 5)
    sizes = [2**n for n in range(3 if lab.quick else 7) if 2**n <= count]
    sides = open_sides(lab, count)
    asked = sides.catalogue
    negative = asked.negative.tensors[EMBEDDING]
    with open_apart(asked.recipe, lab.device, negative, sides.embeds, sides.noise) as apart:
        lab.say("looking for the best batch of the stock pipeline, and for our best slots")
        batches = search(lab, STOCK, lambda size: _apart(apart, size), sizes)
        slots = search(lab, OURS, sides.ours, sizes)
        best, ours = min(batches, key=batches.__getitem__), min(slots, key=slots.__getitem__)
        worst = sides.check(ours, best)
        lab.say(f"batch {best}, slots {ours}: latents differ by at most {worst:.1e}")
        timed: dict[str, Side] = {
            STOCK: lambda: _apart(apart, best),
            BESIDE: lambda: sides.theirs(best),
            OURS: lambda: sides.ours(ours),
        }
        if not lab.quick:  # compiling takes a minute and more
            compiled = sides.compiled()
            worst = max(worst, compiled.check(ours, best))
            timed[COMPILED] = lambda: compiled.ours(ours)
        found = alternate(timed, laps, lab.say)
    return _outcome(found, count, (batches, slots), worst)


def _apart(apart: Apart, batch: int) -> dict[str, float]:
    return _at_night_too(apart.generate(batch))


def _at_night_too(seconds: dict[str, float]) -> dict[str, float]:
    # The stock pipeline decodes a whole batch at once, by day and by night.
    return seconds | {"whole, as at night": seconds["whole"]}


def open_sides(lab: Lab, count: int) -> Sides:
    """Return both sides over one set of prompts."""
    catalogue = load_catalogue(lab, count)
    decoder = open_decoder(lab, catalogue)
    steps = catalogue.recipe.steps
    plan = cut(catalogue.tree(), steps, saving=0)
    return Sides(catalogue, decoder, make_stock(decoder, steps), plan)


def search(
    lab: Lab, name: str, side: Callable[[int], dict[str, float]], sizes: Sequence[int]
) -> dict[int, float]:
    """Return seconds of the whole generation for each batch size."""
    side(sizes[-1])  # the first calls of all are slower
    found = {size: side(size)["whole"] for size in sizes}
    lab.say(f"{name}: " + ", ".join(f"{size}: {each:.1f} s" for size, each in found.items()))
    return found


def _outcome(
    laps: Laps, count: int, searched: tuple[dict[int, float], dict[int, float]], worst: float
) -> Outcome:
    batches, slots = searched
    return Outcome(
        figures=_figures(laps),
        tables=_tables(laps, count, batches, slots),
        notes=(
            f"{count} prompts, DDIM; the stock pipeline takes them at its best batch size "
            f"({min(batches, key=batches.__getitem__)}), hierdiff at its best slots "
            f"({min(slots, key=slots.__getitem__)}).",
            f"Both start from the same noise, and their final latents differ by at most "
            f"{worst:.1e}; above {TOLERANCE:.0e} there would be no figure.",
            f"Ratios are those of {len(laps.laps)} alternating laps: the median, and in brackets "
            "the least and the greatest.",
            "The stock pipeline runs in a process of its own, with the C library's allocator as it "
            "comes. On a CPU hierdiff has it keep what a network frees "
            "(`hierdiff_core/models/allocator.py`); the stock pipeline beside ours has that too. "
            "Compiled is `HIERDIFF_COMPILE=1`, without the minute that compiling takes.",
        ),
        data={"laps": laps.to_json(), "batches": batches, "slots": slots, "worst": worst},
    )


def _figures(laps: Laps) -> tuple[Figure, ...]:
    asked = [(f"hierdiff over stock, {TIMED[name]}", OURS, STOCK, name) for name in TIMED]
    asked += [
        (f"hierdiff over stock with our allocator, {TIMED['denoise']}", OURS, BESIDE, "denoise"),
    ]
    if COMPILED in laps.sides:
        words = f"hierdiff compiled over stock, {TIMED['denoise']}"
        asked.append((words, COMPILED, STOCK, "denoise"))
    figures = []
    for words, ours, stock, timed in asked:
        ratio = laps.ratio(stock, ours, timed)
        goal = Goal(least=1.0) if (ours, stock) == (OURS, STOCK) else None
        figures.append(Figure(words, ratio.median, low=ratio.low, high=ratio.high, goal=goal))
    return tuple(figures)


def _tables(
    laps: Laps, count: int, batches: dict[int, float], slots: dict[int, float]
) -> tuple[Table, Table]:
    """Return images per second: of the laps, and of the search for the best sizes."""
    timed: list[tuple[Cell, ...]] = [
        (words, *(count / laps.seconds(side, name).median for side in laps.sides))
        for name, words in TIMED.items()
    ]
    rows: list[tuple[Cell, ...]] = [
        (size, count / batches[size], count / slots[size])
        for size in batches  # both were searched over the same sizes
    ]
    return (
        Table(
            "Images per second",
            (Column("timed"), *(Column(side, ".2f") for side in laps.sides)),
            timed,
        ),
        Table(
            "Images per second by batch size or slots, one measurement each",
            (Column("rows per call", "d"), Column(STOCK, ".2f"), Column(OURS, ".2f")),
            rows,
        ),
    )
