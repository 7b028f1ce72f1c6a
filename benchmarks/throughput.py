"""hierdiff with nothing shared against the stock pipeline at its best batch size.

Knows both sides and checks that they make the same pictures before any second is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.catalogue import Catalogue, cut, load_catalogue, open_decoder
from benchmarks.errors import DifferentWork
from benchmarks.lab import Lab, clock
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.pairs import Laps, alternate
from benchmarks.stock import Stock, make_stock
from hierdiff_core.checkpoint import node_keys
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.noise import initial_noise
from hierdiff_core.plan import Plan
from hierdiff_core.sampler import Finished, rounds
from hierdiff_core.solver import make_solver
from tasks.draw import AT_ONCE, decode

TITLE = "Throughput against the stock pipeline, nothing shared"
TOLERANCE = 1e-4  # of latents, whose scale is about 1
TIMED = {
    "denoise": "denoising alone",
    "whole": "with pictures, as many decoded at once as end together",
    "whole, as at night": f"with pictures decoded as at night, in calls of {AT_ONCE}",
}


@dataclass(frozen=True)
class Sides:
    """The same pictures made two ways."""

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
                decoder.decode(torch.stack([done.state.latents for done in each.finished]))
                decoding += clock(decoder.device) - at
                ended += each.finished
        then = clock(decoder.device)
        denoise = then - began - decoding
        for first in range(0, len(ended), AT_ONCE):
            decode(decoder, ended[first : first + AT_ONCE])
        night = denoise + clock(decoder.device) - then
        return {"denoise": denoise, "whole": denoise + decoding, "whole, as at night": night}

    def theirs(self, batch: int) -> dict[str, float]:
        """Make all pictures with the stock pipeline; return seconds."""
        _, seconds = self.stock.generate(self.embeds, self.noise, batch)
        return seconds | {"whole, as at night": seconds["whole"]}

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
    """Find each side's best batch, check that both make the same, and alternate them."""
    count, laps = (4, 2) if lab.quick else (64, 5)
    sizes = [2**n for n in range(3 if lab.quick else 7) if 2**n <= count]
    sides = open_sides(lab, count)
    lab.say("looking for the best batch of the stock pipeline, and for our best slots")
    batches = search(lab, "stock", sides.theirs, sizes)
    slots = search(lab, "hierdiff", sides.ours, sizes)
    best, ours = min(batches, key=batches.__getitem__), min(slots, key=slots.__getitem__)
    worst = sides.check(ours, best)
    lab.say(f"batch {best}, slots {ours}: latents differ by at most {worst:.1e}")
    found = alternate(
        {"stock": lambda: sides.theirs(best), "hierdiff": lambda: sides.ours(ours)}, laps, lab.say
    )
    return _outcome(found, count, (batches, slots), worst)


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
    ratios = {timed: laps.ratio("stock", "hierdiff", timed) for timed in TIMED}
    batches, slots = searched
    return Outcome(
        figures=tuple(
            Figure(
                f"hierdiff over stock, {TIMED[name]}",
                ratio.median,
                low=ratio.low,
                high=ratio.high,
                goal=Goal(least=1.0),
            )
            for name, ratio in ratios.items()
        ),
        tables=_tables(laps, count, batches, slots),
        notes=(
            f"{count} prompts, DDIM; the stock pipeline takes them at its best batch size "
            f"({min(batches, key=batches.__getitem__)}), hierdiff at its best slots "
            f"({min(slots, key=slots.__getitem__)}).",
            f"Both start from the same noise, and their final latents differ by at most "
            f"{worst:.1e}; above {TOLERANCE:.0e} there would be no figure.",
            f"Ratios are those of {len(laps.laps)} alternating laps: the median, and in brackets "
            "the least and the greatest.",
        ),
        data={"laps": laps.to_json(), "batches": batches, "slots": slots, "worst": worst},
    )


def _tables(
    laps: Laps, count: int, batches: dict[int, float], slots: dict[int, float]
) -> tuple[Table, Table]:
    """Return images per second: of the laps, and of the search for the best sizes."""
    sides = (Column("stock", ".2f"), Column("hierdiff", ".2f"))
    timed: list[tuple[Cell, ...]] = [
        (words, *(count / laps.seconds(side, name).median for side in ("stock", "hierdiff")))
        for name, words in TIMED.items()
    ]
    rows: list[tuple[Cell, ...]] = [
        (size, count / batches[size], count / slots[size])
        for size in batches  # both were searched over the same sizes
    ]
    return (
        Table("Images per second", (Column("timed"), *sides), timed),
        Table(
            "Images per second by batch size or slots, one measurement each",
            (Column("rows per call", "d"), *sides),
            rows,
        ),
    )
