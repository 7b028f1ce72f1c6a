"""Realised saving: how much of the evaluations that a plan spares is spared in seconds.

Knows plans of several budgets over several sizes of catalogue, and how seconds become a saving.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.catalogue import Catalogue, cut, load_catalogue, open_decoder
from benchmarks.lab import Lab, clock
from benchmarks.outcome import Column, Figure, Goal, Outcome, Plot, Table
from benchmarks.pairs import Spread
from benchmarks.turns import Timed, take_turns
from hierdiff_core.models.kandinsky22 import Decoder
from hierdiff_core.plan import Plan
from hierdiff_core.solver import make_solver

TITLE = "Realised saving: seconds spared over evaluations spared"
BUDGETS = (0.3, 0.5, 0.7)
GOALS = {100: 0.90, 500: 0.97, 2000: 0.97}


@dataclass(frozen=True)
class Size:
    """How a catalogue of N prompts is measured."""

    count: int
    laps: int
    turns: int = 1  # that the runs of a lap take
    standard: float = 1.0  # share of the standard run that is timed


# Where a lap takes minutes it is measured once, in many turns. All rounds of a standard run are
# alike, so a quarter of it tells the whole.
FULL = (Size(16, 9), Size(100, 5), Size(500, 5, turns=5), Size(2000, 1, turns=40, standard=0.25))
QUICK = (Size(8, 2), Size(12, 1, turns=2, standard=0.5))


@dataclass(frozen=True)
class Measured:
    """One plan against the standard run."""

    count: int
    budget: float
    plan: Plan
    wall: Spread  # seconds over those of the standard run, lap by lap
    rate: float  # evaluations per second
    prepared: float  # seconds for tree and plan
    pictures: float  # seconds to decode all pictures, over those of the standard run

    @property
    def realised(self) -> Spread:
        """(1 - wall ratio) / (1 - evaluation ratio), lap by lap."""
        return Spread(tuple((1 - wall) / self.plan.saving for wall in self.wall.values))

    @property
    def with_pictures(self) -> float:
        """The saving of a whole generation, with tree, plan and pictures."""
        wall = self.wall.median + self.prepared + self.pictures
        return 1 - wall / (1 + self.pictures)


def measure(lab: Lab) -> Outcome:
    """Measure all budgets at all sizes."""
    sizes = QUICK if lab.quick else FULL
    catalogue = load_catalogue(lab, max(size.count for size in sizes))
    decoder = open_decoder(lab, catalogue)
    slots = best_slots(lab, decoder)
    picture = seconds_per_picture(lab, decoder)
    found = []
    for size in sizes:
        found += _measure_size(lab, catalogue.first(size.count), decoder, slots, size, picture)
    return _outcome(found, slots, sizes)


def best_slots(lab: Lab, decoder: Decoder) -> int:
    """Return how many rows a call should have, up to 64: the fastest per row, by a probe."""
    sizes = (1, 2) if lab.quick else (1, 2, 4, 8, 16, 32, 64)
    times = 1 if lab.quick else 5
    found = {size: min(_call(decoder, size) for _ in range(times)) / size for size in sizes}
    said = ", ".join(f"{size}: {1 / each:.0f}" for size, each in found.items())
    lab.say(f"rows per second by slots: {said}")
    return min(found, key=found.__getitem__)


def seconds_per_picture(lab: Lab, decoder: Decoder) -> float:
    """Return seconds to decode one picture alone, the median of several."""
    latents, seconds = torch.randn(1, *decoder.latent_shape), []
    for _ in range(3 if lab.quick else 21):
        began = clock(decoder.device)
        decoder.decode(latents, [""])
        seconds.append(clock(decoder.device) - began)
    return Spread(tuple(seconds)).median


@torch.no_grad()
def _call(decoder: Decoder, size: int) -> float:
    latents = torch.randn(size, *decoder.latent_shape, device=decoder.device)
    embeds = decoder.negative.to(decoder.device).expand(size, -1)
    timesteps = torch.full((size,), 500, device=decoder.device)
    calls = max(2, 32 // size)
    began = clock(decoder.device)
    for _ in range(calls):
        decoder.predict(latents, timesteps, {"image_embeds": embeds})
    return (clock(decoder.device) - began) / calls


def _measure_size(
    lab: Lab, catalogue: Catalogue, decoder: Decoder, slots: int, size: Size, picture: float
) -> list[Measured]:
    began = clock()
    tree, steps = catalogue.tree(), catalogue.recipe.steps
    plans = {budget: cut(tree, steps, budget) for budget in (0.0, *BUDGETS)}
    prepared = (clock() - began) / len(plans)
    solver = make_solver("ddim", decoder.noise_schedule, steps)
    laps: list[dict[float, Timed]] = []
    for lap in range(size.laps):
        runs = {
            budget: Timed(
                catalogue.job(plan, min(slots, size.count)),
                decoder,
                solver,
                share=1.0 if budget else size.standard,
            )
            for budget, plan in plans.items()
        }
        take_turns({str(budget): run for budget, run in runs.items()}, size.turns)
        laps.append(runs)
        said = ", ".join(f"{budget:.0%} {run.seconds:.1f} s" for budget, run in runs.items())
        lab.say(f"N = {size.count}, lap {lap + 1} of {size.laps}: {said}")
    return [
        _measured(laps, budget, prepared, picture * size.count, size.count) for budget in BUDGETS
    ]


def _measured(
    laps: list[dict[float, Timed]], budget: float, prepared: float, pictures: float, count: int
) -> Measured:
    standard = Spread(tuple(lap[0.0].whole_seconds for lap in laps))
    wall = tuple(lap[budget].whole_seconds / lap[0.0].whole_seconds for lap in laps)
    plan = laps[0][budget].job.plan
    rates = Spread(tuple(plan.evaluations / lap[budget].whole_seconds for lap in laps))
    return Measured(
        count=count,
        budget=budget,
        plan=plan,
        wall=Spread(wall),
        rate=rates.median,
        prepared=prepared / standard.median,
        pictures=pictures / standard.median,
    )


def _outcome(found: list[Measured], slots: int, sizes: tuple[Size, ...]) -> Outcome:
    return Outcome(
        figures=tuple(_figure(each) for each in found if each.count in GOALS),
        tables=(_table(found),),
        plots=(_plot(found),),
        notes=(
            "The standard run is hierdiff's own at tau = 0, at the slots that are fastest for it "
            f"({slots}, or N where that is less); the shared runs have the same slots. How it "
            "stands against the stock pipeline is measured by itself (throughput).",
            "Realised is (1 - seconds / standard seconds) / (1 - evaluations / standard "
            "evaluations), of denoising alone; each run makes the evaluations of its plan and all "
            "N pictures' latents, or there would be no figure.",
            *map(_how, sizes),
            "The last column counts what else a night pays for: tree, plan, and a picture decoded "
            "alone for each prompt, which both sides pay.",
        ),
        data={
            "slots": slots,
            "runs": [
                {
                    "prompts": each.count,
                    "budget": each.budget,
                    "tau": each.plan.tau,
                    "evaluations": each.plan.evaluations,
                    "saving": each.plan.saving,
                    "segments": len(each.plan.segments),
                    "wall_ratios": each.wall.values,
                    "realised": each.realised.median,
                    "prepared": each.prepared,
                    "pictures": each.pictures,
                }
                for each in found
            ],
        },
    )


def _how(size: Size) -> str:
    if size.standard == 1 and size.turns == 1:
        return f"N = {size.count}: the median of {size.laps} laps, all four runs in each."
    part = "" if size.standard == 1 else f"; of the standard run {size.standard:.0%} are timed"
    return (
        f"N = {size.count}: {size.laps} laps, in which the four runs take {size.turns} turns "
        f"each{part}."
    )


def _figure(each: Measured) -> Figure:
    realised = each.realised
    return Figure(
        f"realised saving, N = {each.count}, budget {each.budget:.0%}",
        realised.median,
        low=realised.low,
        high=realised.high,
        goal=Goal(least=GOALS[each.count]),
    )


def _table(found: list[Measured]) -> Table:
    columns = (
        Column("N", ",d"),
        Column("tau", ".3f"),
        Column("evaluations / standard", ".3f"),
        Column("seconds / standard", ".3f"),
        Column("realised", ".3f"),
        Column("least", ".3f"),
        Column("greatest", ".3f"),
        Column("evaluations / s", ".0f"),
        Column("saving with tree, plan, pictures", ".1%"),
    )
    rows = [
        (
            each.count,
            each.plan.tau,
            1 - each.plan.saving,
            each.wall.median,
            each.realised.median,
            each.realised.low,
            each.realised.high,
            each.rate,
            each.with_pictures,
        )
        for each in found
    ]
    return Table("Seconds beside evaluations", columns, rows)


def _plot(found: list[Measured]) -> Plot:
    lines: dict[str, list[tuple[float, float]]] = {}
    for each in found:
        name = f"{each.budget:.0%} of evaluations spared"
        lines.setdefault(name, []).append((each.count, each.realised.median))
    return Plot("Realised saving", "prompts, N", "realised / planned saving", lines, wanted=0.97)
