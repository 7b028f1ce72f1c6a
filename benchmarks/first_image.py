"""How soon the first picture is there, and how much memory a run holds, against N.

Knows runs that are left after their first picture, and runs in processes of their own whose peak
is read (`frontier`).
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.catalogue import Catalogue, cut, load_catalogue, open_decoder
from benchmarks.frontier import LATENTS, Frontier
from benchmarks.lab import Lab, clock
from benchmarks.machine import ROOT
from benchmarks.outcome import Column, Figure, Goal, Outcome, Plot, Table
from benchmarks.pairs import Laps, alternate
from hierdiff_core.models.kandinsky22 import Decoder
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.sampler import rounds
from hierdiff_core.solver import make_solver

TITLE = "Time to the first image and memory of the frontier, against N"
SLOTS = 16
SAVING = 0.5
SIZES = (16, 50, 100, 200, 500, 1000, 2000)
FEW, MANY = 200, 2000  # whose peaks are compared
_MIB = 2**20


def measure(lab: Lab) -> Outcome:
    """Time first pictures side by side for all N, then measure each N's frontier."""
    sizes = (8,) if lab.quick else SIZES
    catalogue = load_catalogue(lab, max(sizes))
    decoder = open_decoder(lab, catalogue)
    parts = {count: catalogue.first(count) for count in sizes}
    plans = {n: cut(part.tree(), part.recipe.steps, SAVING) for n, part in parts.items()}

    def side(count: int) -> dict[str, float]:
        return {"first": _first(parts[count], plans[count], decoder)}

    _first(parts[sizes[0]], plans[sizes[0]], decoder)  # warms up
    sides = {str(count): lambda count=count: side(count) for count in sizes}
    laps = alternate(sides, 2 if lab.quick else 5, lab.say)
    frontiers = [_frontier(lab, count) for count in sizes]
    return _outcome(laps, frontiers)


def _first(catalogue: Catalogue, plan: Plan, decoder: Decoder) -> float:
    began = clock(decoder.device)
    solver = make_solver("ddim", decoder.noise_schedule, plan.steps)
    for each in rounds(catalogue.job(plan, SLOTS), decoder, solver):
        for done in each.finished:
            if plan.is_leaf(done.segment):
                decoder.decode(done.state.latents[None], [""])
                return clock(decoder.device) - began
    return float("nan")


def _frontier(lab: Lab, count: int) -> Frontier:
    mode = "quick" if lab.quick else "full"
    words = [str(lab.work.resolve()), str(count), str(SLOTS), str(SAVING), mode]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.frontier", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found = Frontier(**json.loads(done.stdout.splitlines()[-1]))
    lab.say(f"N = {count}: {found.states} states held, {found.grown / _MIB:.0f} MiB grown")
    return found


def _outcome(laps: Laps, frontiers: list[Frontier]) -> Outcome:
    known = {each.prompts: each for each in frontiers}
    few, many = known.get(FEW, frontiers[0]), known.get(MANY, frontiers[-1])
    slots = SLOTS * few.state_bytes
    rows = [
        (each.prompts, laps.seconds(str(each.prompts), "first").median, each.depth, each.states,
         (each.bytes + slots) / _MIB, each.grown / _MIB)
        for each in frontiers
    ]  # fmt: skip
    lines = {
        "slots and states held": [(row[0], row[4]) for row in rows],
        "growth of the process": [(row[0], row[5]) for row in rows],
    }
    first = [(row[0], row[1]) for row in rows]
    return Outcome(
        figures=_figures(laps, few, many, slots),
        tables=(
            Table(f"At {SLOTS} slots",
                  (Column("N", ",d"), Column("first image, s", ".2f"), Column("depth", "d"),
                   Column("states held at most", "d"), Column("slots and states, MiB", ".1f"),
                   Column("growth of the process, MiB", ".1f")), rows),
        ),
        plots=(
            Plot("Memory of a run", "prompts, N", "MiB at the peak", lines),
            Plot("First image", "prompts, N", "seconds", {"first image": first}),
        ),
        notes=(
            f"{SAVING:.0%} of evaluations spared, {SLOTS} slots. Seconds run from the sampler's "
            f"start to the first decoded picture: the median of {len(laps.laps)} laps, every N in "
            "each; tree and plan come before.",
            f"Memory is measured with latents of Kandinsky 2.2's real size {LATENTS} and a "
            "denoiser that computes nothing, each N in a process of its own. A state is held "
            "from its segment's end until its last child has started; the growth also holds "
            "what Python and torch allocate on the way, and what is kept per prompt.",
        ),
        data={"laps": laps.to_json(), "grown": {str(e.prompts): e.grown for e in frontiers}},
    )  # fmt: skip


def _figures(laps: Laps, few: Frontier, many: Frontier, slots: int) -> tuple[Figure, ...]:
    """Return what many prompts take beside few; `slots` are the bytes that both have in flight."""
    against = f"N = {many.prompts:,} against N = {few.prompts:,}"
    return (
        Figure(f"peak memory of the frontier, {against}",
               (many.bytes + slots) / (few.bytes + slots), ".2f", "x", goal=Goal(most=1.3)),
        Figure(f"growth of the whole process at its peak, {against}",
               many.grown / max(few.grown, 1), ".2f", "x", goal=Goal(most=1.3)),
        Figure(f"seconds to the first image, {against}",
               laps.ratio(str(many.prompts), str(few.prompts), "first").median, ".2f", "x"),
    )  # fmt: skip
