"""A UNet of Kandinsky 2.2's real size on a GPU: against the stock pipeline and against the device.

Knows how the device is asked what it can do. Where there is no GPU it is skipped; a quick run
tries its code with a shrunk network on whatever there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.catalogue import Catalogue, cut
from benchmarks.lab import Lab, clock
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.pairs import Laps, Spread, alternate
from benchmarks.peak import flops_per_row, matrix_peak
from benchmarks.real_size import REAL, SHRUNK, Scale, fit, make_catalogue, make_networks
from benchmarks.stock import make_stock
from benchmarks.throughput import Sides, search
from benchmarks.turns import Timed, take_turns
from hierdiff_core.errors import HierdiffError
from hierdiff_core.models.device import choose_device
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.solver import make_solver

TITLE = "A UNet of Kandinsky 2.2's real size, random weights, half precision, 512 pixels"
SAVING = 0.5
_GIB = 2**30


@dataclass(frozen=True)
class Setup:
    """What is measured, at which size."""

    lab: Lab
    scale: Scale
    device: torch.device
    dtype: torch.dtype
    images: int
    steps: int
    sizes: tuple[int, ...]  # rows per call that are tried
    laps: int
    shared: tuple[int, ...]  # N of the runs that share

    def sides(self, dtype: torch.dtype, images: int, steps: int) -> Sides:
        """Return the stock pipeline and ours over the same networks."""
        catalogue = make_catalogue(self.scale, images, steps)
        decoder = fit(make_networks(self.scale, self.device, dtype), catalogue)
        plan = cut(catalogue.tree(), steps, saving=0)
        return Sides(catalogue, decoder, make_stock(decoder, steps), plan)


def measure(lab: Lab) -> Outcome:
    """Measure everything, or say why not."""
    device = choose_device(lab.device)
    if device.type != "cuda" and not lab.quick:
        return Outcome(skipped="no GPU is here; measure it on one by `python -m benchmarks gpu`")
    setup = _setup(lab, device)
    worst = _check(setup)
    sides = setup.sides(setup.dtype, setup.images, setup.steps)
    peak, flops = matrix_peak(device, setup.dtype), flops_per_row(setup.scale)
    lab.say(f"{peak / 1e12:.2f} TFLOP/s of matrix products, {flops / 1e12:.3f} TFLOP a row")
    calls = [_call_row(setup, sides.decoder, size) for size in setup.sizes]
    laps, best = _against_stock(setup, sides)
    savings = [_saving_row(setup, sides, count, best[1]) for count in setup.shared]
    compiled = _compiled(setup, sides.decoder, best[1])
    return _outcome(setup, (worst, peak, flops), calls, (laps, best), savings, compiled)


def _setup(lab: Lab, device: torch.device) -> Setup:
    if device.type == "cuda":
        sizes = (1, 2, 4) if lab.quick else (1, 2, 4, 8, 16, 32)
        laps, shared = (2, (8,)) if lab.quick else (5, (100, 500))
        scale = SHRUNK if lab.quick else REAL
        return Setup(lab, scale, device, torch.float16, 32, 10, sizes, laps, shared)
    return Setup(lab, SHRUNK, device, torch.float32, 4, 3, (1, 4), 1, (8,))


def _check(setup: Setup) -> float:
    """Return the greatest difference of latents at tau = 0 in float32; raises DifferentWork."""
    exact = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        return setup.sides(torch.float32, 2, 3).check(slots=2, batch=2)
    finally:
        torch.backends.cudnn.allow_tf32 = exact
        if setup.device.type == "cuda":
            torch.cuda.empty_cache()


def _call_row(setup: Setup, decoder: Decoder, rows: int) -> tuple[int, float | None, float | None]:
    """Return rows of a call, rows per second, and GiB at the peak; None where memory runs out."""
    try:
        _forget_peak(setup)
        rate = rows / _seconds(setup, decoder, rows)
    except torch.OutOfMemoryError:
        return rows, None, None
    setup.lab.say(f"{rows} rows a call: {rate:.2f} rows/s")
    return rows, rate, _peak(setup)


@torch.no_grad()
def _seconds(setup: Setup, decoder: Decoder, rows: int) -> float:
    """Return seconds of one call, the median of several after a first."""
    latents = torch.randn(rows, *decoder.latent_shape, device=setup.device)
    timesteps = torch.full((rows,), 500, device=setup.device)
    embeds = {EMBEDDING: torch.randn(rows, setup.scale.width, device=setup.device)}
    decoder.predict(latents, timesteps, embeds)
    seconds = []
    for _ in range(5):
        began = clock(setup.device)
        decoder.predict(latents, timesteps, embeds)
        seconds.append(clock(setup.device) - began)
    return Spread(tuple(seconds)).median


def _against_stock(setup: Setup, sides: Sides) -> tuple[Laps, tuple[int, int]]:
    """Return laps of both sides, each at its best size, and those sizes."""
    lab, sizes = setup.lab, [size for size in setup.sizes if size <= setup.images]
    batches = search(lab, "stock", _forgiving(sides.theirs), sizes)
    slots = search(lab, "hierdiff", _forgiving(sides.ours), sizes)
    best = (min(batches, key=batches.__getitem__), min(slots, key=slots.__getitem__))
    both = {"stock": lambda: sides.theirs(best[0]), "hierdiff": lambda: sides.ours(best[1])}
    return alternate(both, setup.laps, lab.say), best


def _forgiving(side: Callable[[int], dict[str, float]]) -> Callable[[int], dict[str, float]]:
    def tried(size: int) -> dict[str, float]:
        try:
            return side(size)
        except torch.OutOfMemoryError:
            return {"whole": float("inf")}

    return tried


def _saving_row(setup: Setup, sides: Sides, count: int, slots: int) -> tuple[Cell, ...]:
    """Return N, evaluation ratio, seconds ratio, realised saving, GiB at the peak."""
    catalogue = make_catalogue(setup.scale, count, setup.steps)
    decoder = sides.decoder
    solver = make_solver("ddim", decoder.noise_schedule, setup.steps)
    _forget_peak(setup)
    runs = {
        name: Timed(_job(catalogue, saving, slots), decoder, solver)
        for name, saving in (("standard", 0.0), ("shared", SAVING))
    }
    take_turns(runs, turns=2 if setup.lab.quick else 10)
    plan = runs["shared"].job.plan
    wall = runs["shared"].seconds / runs["standard"].seconds
    setup.lab.say(f"N = {count}: {wall:.3f} of the seconds for {1 - plan.saving:.3f} of the work")
    return count, 1 - plan.saving, wall, (1 - wall) / plan.saving, _peak(setup)


def _job(catalogue: Catalogue, saving: float, slots: int) -> Any:
    plan = cut(catalogue.tree(), catalogue.recipe.steps, saving)
    return catalogue.job(plan, min(slots, len(catalogue)))


def _compiled(setup: Setup, decoder: Decoder, rows: int) -> dict[str, Any]:
    """Return rows per second with torch.compile beside those without, or why there are none."""
    plain = rows / _seconds(setup, decoder, rows)
    if setup.device.type != "cuda":
        return {"rows": rows, "plain": plain, "failed": "it is tried on a GPU only"}
    unet = decoder.pipeline.unet
    began = time.perf_counter()
    try:
        unet.compile(fullgraph=False, dynamic=False)
        _seconds(setup, decoder, rows)
        built = time.perf_counter() - began
        found = {"rows": rows, "plain": plain, "compiled": rows / _seconds(setup, decoder, rows)}
        return found | {"seconds": built}
    except (RuntimeError, HierdiffError) as error:
        return {"rows": rows, "plain": plain, "failed": str(error).splitlines()[0]}
    finally:
        unet._compiled_call_impl = None
        torch.compiler.reset()


def _forget_peak(setup: Setup) -> None:
    if setup.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setup.device)


def _peak(setup: Setup) -> float | None:
    if setup.device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(setup.device) / _GIB


def _outcome(
    setup: Setup,
    device: tuple[float, float, float],
    calls: list[tuple[int, float | None, float | None]],
    stock: tuple[Laps, tuple[int, int]],
    savings: list[tuple[Cell, ...]],
    compiled: dict[str, Any],
) -> Outcome:
    (worst, peak, flops), (laps, best) = device, stock
    rows = setup.images * setup.steps
    rates = {s: rows / laps.seconds(s, "denoise").median for s in ("stock", "hierdiff")}
    busiest = max(rate for _, rate, _ in calls if rate is not None)
    return Outcome(
        figures=(
            *_ratios(setup, laps),
            Figure("share of the matrix-product peak, the network alone", busiest * flops / peak,
                   ".1%"),
            Figure("share of the matrix-product peak, denoising with hierdiff",
                   rates["hierdiff"] * flops / peak, ".1%"),
            *_realised(setup, savings),
            *_compile_figures(compiled),
        ),
        tables=(
            Table("Rows per second", (Column("side"), Column("rows / s", ".2f"),
                  Column("TFLOP/s", ".2f")),
                  [(side, rate, rate * flops / 1e12) for side, rate in rates.items()]),
            _table_of_calls(calls, flops / peak),
            _table_of_sharing(savings),
        ),
        notes=(
            _how(setup, best, len(laps.laps)),
            f"A row is a guided pair, {flops / 1e12:.3f} TFLOP; the peak is that of the best "
            f"square matrix product, {peak / 1e12:.1f} TFLOP/s, measured in the same run.",
            f"In float32, without TF32, both make the same latents to {worst:.1e}; above 1e-04 "
            "there would be no figure. In half precision the stock pipeline keeps its latents in "
            "half precision, hierdiff in single.",
            *_excuses(compiled),
        ),
        data={"laps": laps.to_json(), "peak": peak, "flops": flops, "compile": compiled},
    )  # fmt: skip


def _how(setup: Setup, best: tuple[int, int], laps: int) -> str:
    return (
        f"{setup.images} pictures of {setup.scale.pixels} pixels, {setup.steps} steps of DDIM, "
        f"{str(setup.dtype).removeprefix('torch.')}; the stock pipeline at its best batch "
        f"({best[0]}), hierdiff at its best slots ({best[1]}), {laps} alternating laps."
    )


def _table_of_calls(calls: list[tuple[int, float | None, float | None]], share: float) -> Table:
    """Return the network alone; one row per second is that share of the peak."""
    columns = (Column("rows", "d"), Column("rows / s", ".2f"), Column("share of peak", ".1%"),
               Column("peak memory, GiB", ".2f"))  # fmt: skip
    rows = [(n, rate, None if rate is None else rate * share, memory) for n, rate, memory in calls]
    return Table("One call of the network, by its rows", columns, rows)


def _table_of_sharing(savings: list[tuple[Cell, ...]]) -> Table:
    columns = (Column("N", ",d"), Column("evaluations / standard", ".3f"),
               Column("seconds / standard", ".3f"), Column("realised", ".3f"),
               Column("peak memory, GiB", ".2f"))  # fmt: skip
    return Table(f"Sharing, {SAVING:.0%} of evaluations spared", columns, savings)


def _ratios(setup: Setup, laps: Laps) -> list[Figure]:
    goal = Goal(least=1.15) if setup.device.type == "cuda" else None
    words = {"denoise": "denoising alone", "whole": "with pictures"}
    found = {timed: laps.ratio("stock", "hierdiff", timed) for timed in words}
    return [
        Figure(
            f"hierdiff over stock, {words[timed]}",
            ratio.median,
            low=ratio.low,
            high=ratio.high,
            goal=goal,
        )
        for timed, ratio in found.items()
    ]


def _realised(setup: Setup, savings: list[tuple[Cell, ...]]) -> list[Figure]:
    found = []
    for count, _, _, realised, _ in savings:
        least = {100: 0.90, 500: 0.97}.get(int(count or 0))
        goal = None if least is None else Goal(least=least)
        found.append(Figure(f"realised saving, N = {count}", float(realised or 0), goal=goal))
    return found


def _excuses(compiled: dict[str, Any]) -> list[str]:
    return [f"torch.compile has no figure: {compiled['failed']}."] if "failed" in compiled else []


def _compile_figures(compiled: dict[str, Any]) -> list[Figure]:
    if "failed" in compiled:
        return []
    gained = compiled["compiled"] / compiled["plain"]
    words = f"torch.compile over none, one call of {compiled['rows']} rows"
    return [Figure(words, gained, ".2f", "x"),
            Figure("seconds to compile it", compiled["seconds"], ".0f", "s")]  # fmt: skip
