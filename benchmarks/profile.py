"""Where a round's time goes: network, solver, noise, placement, collection, bookkeeping, packing.

Knows which module of the core does which part of a round. Read it beside a figure that misses its
goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.catalogue import Catalogue, cut, load_catalogue, open_decoder
from benchmarks.lab import Lab, clock
from benchmarks.outcome import Cell, Column, Figure, Outcome, Table
from benchmarks.saving import best_slots
from benchmarks.stacks import OUTSIDE, Stacks
from hierdiff_core.checkpoint import State, pack
from hierdiff_core.models.kandinsky22 import Decoder
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.sampler import rounds
from hierdiff_core.solver import make_solver

TITLE = "Where the time of a round goes"
SAVING = 0.5
# The first that a function's name starts with says which part of a round it is.
PARTS: Mapping[str, str] = {
    "models.": "denoiser call",
    "solver": "solver step",
    "noise.": "noise",
    "digest.": "keys",
    "checkpoint.": "keys",
    "embedding.": "mean embeddings",
    "batch.RowBatch.place": "placement",
    "batch.RowBatch.states": "collection",
    "transfers.": "collection",
    "batch.": "gathering and scattering rows",
    "ready_queue.": "bookkeeping",
    "call_widths.": "bookkeeping",
    "sampler.": "bookkeeping",
    "plan.": "bookkeeping",
    OUTSIDE: "the benchmark itself",
}


@dataclass(frozen=True)
class Profile:
    """One run under the profiler."""

    plan: Plan
    rounds: int
    evaluations: int
    padding: int
    seconds: float
    shares: Mapping[str, float]  # by function
    packing: float  # seconds to pack all its states, which is done on another thread

    def parts(self) -> dict[str, float]:
        """Return shares by part of a round, the greatest first."""
        found: dict[str, float] = {}
        for name, share in self.shares.items():
            part = next((p for start, p in PARTS.items() if name.startswith(start)), "other")
            found[part] = found.get(part, 0.0) + share
        return dict(sorted(found.items(), key=lambda each: -each[1]))


def measure(lab: Lab) -> Outcome:
    """Profile a standard run and a shared one at the same slots."""
    catalogue = load_catalogue(lab, 8 if lab.quick else 200)
    decoder = open_decoder(lab, catalogue)
    slots = min(best_slots(lab, decoder), len(catalogue))
    tree, steps = catalogue.tree(), catalogue.recipe.steps
    profiles = {}
    for name, saving in (("standard", 0.0), ("shared", SAVING)):
        _profile(catalogue.first(4), cut(catalogue.first(4).tree(), steps, 0), decoder, slots)
        profiles[name] = _profile(catalogue, cut(tree, steps, saving), decoder, slots)
        lab.say(f"{name}: {profiles[name].seconds:.1f} s")
    return _outcome(profiles, slots)


def _profile(catalogue: Catalogue, plan: Plan, decoder: Decoder, slots: int) -> Profile:
    solver = make_solver("ddim", decoder.noise_schedule, plan.steps)
    count, evaluations, padding, states = 0, 0, 0, list[State]()
    with Stacks() as stacks:
        for each in rounds(catalogue.job(plan, slots), decoder, solver):
            count += 1
            evaluations += each.evaluations
            padding += each.padding
            states += [done.state for done in each.finished]
    began = clock()
    for state in states:
        pack({"": state})
    packing = clock() - began
    return Profile(plan, count, evaluations, padding, stacks.seconds, stacks.shares(), packing)


def _outcome(profiles: Mapping[str, Profile], slots: int) -> Outcome:
    parts = {name: each.parts() for name, each in profiles.items()}
    known = dict.fromkeys(part for found in parts.values() for part in found)
    rows: list[tuple[Cell, ...]] = []
    for part in known:
        cells = (_cells(each, parts[name], part) for name, each in profiles.items())
        rows.append((part, *(cell for pair in cells for cell in pair)))
    packing = (
        cell
        for each in profiles.values()
        for cell in (each.packing / each.seconds, each.packing / each.evaluations * 1e6)
    )
    rows.append(("packing, on the recorder's thread", *packing))
    columns = [
        column
        for name in profiles
        for column in (Column(f"{name}, share", ".1%"), Column("us per evaluation", ",.0f"))
    ]
    return Outcome(
        figures=tuple(
            Figure(f"share of the denoiser's calls, {name} run", found.get("denoiser call", 0.0),
                   ".1%")
            for name, found in parts.items()
        ),
        tables=(
            Table("Parts of a round", (Column("part"), *columns), rows),
            _shapes(profiles),
            *(_functions(name, each) for name, each in profiles.items()),
        ),
        notes=(
            f"{profiles['standard'].plan.size} prompts at {slots} slots; the shared run spares "
            f"{SAVING:.0%} of evaluations. The sampler's thread is looked at every 2 ms; time "
            "counts for the core's innermost function, with all that it calls in libraries.",
        ),
        data={name: {"seconds": each.seconds, "shares": dict(each.shares)}
              for name, each in profiles.items()},
    )  # fmt: skip


def _cells(profile: Profile, parts: Mapping[str, float], part: str) -> tuple[float, float]:
    share = parts.get(part, 0.0)
    return share, share * profile.seconds / profile.evaluations * 1e6


def _shapes(profiles: Mapping[str, Profile]) -> Table:
    rows = [
        (name, each.rounds, each.evaluations, each.evaluations / each.rounds,
         each.padding / (each.evaluations + each.padding), len(each.plan.segments),
         each.evaluations / each.seconds)
        for name, each in profiles.items()
    ]  # fmt: skip
    columns = (
        Column("run"),
        Column("rounds", ",d"),
        Column("evaluations", ",d"),
        Column("rows per round", ".1f"),
        Column("padding", ".1%"),
        Column("segments", ",d"),
        Column("evaluations / s", ".0f"),
    )
    return Table("Rounds", columns, rows)


def _functions(name: str, profile: Profile) -> Table:
    rows = [(f"`{each}`", share) for each, share in profile.shares.items() if share >= 0.003]
    return Table(f"Functions, {name} run", (Column("function"), Column("share", ".1%")), rows)
