"""Tuning: a catalogue's rows, a sample of them in two halves, and the measurements on it.

Rows come from `tasks.tuning.rows`, the choice is made in `hierdiff_core.evaluation.tune_choice`.
Trees are planned over the whole catalogue, since what sharing saves depends on it; pictures are
made and judged for the sample only. A result is kept by its content, so a tuning that was stopped
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.digest import digest
from hierdiff_core.errors import HierdiffError, InvalidSetting
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.tune_choice import Half
from hierdiff_core.evaluation.tune_grid import TUNE_GRIDS, Candidates, make_candidates
from hierdiff_core.evaluation.unit import Trial, Unit, make_unit
from hierdiff_core.plan import CALIBRATED
from hierdiff_core.prompt import Prompt, embedding_key, negative_key
from tasks.embed import LedgerCache
from tasks.errors import EmptyBatch
from tasks.evaluation.crew import Bench, find_missing, make_all
from tasks.evaluation.work_folder import WorkFolder
from tasks.settings import Settings
from tasks.stages import Source
from tasks.stores import Stores
from tasks.tuning.rows import Report, check_solvers, embed_rows, read_tunable

LEAST = 8  # prompts that a choice needs


@dataclass(frozen=True)
class Wanted:
    """The options of a tuning."""

    judges: tuple[str, ...]
    quality: float
    sample: int
    grid: str
    solvers: tuple[str, ...]  # none: the grid's
    work: Path


@dataclass(frozen=True)
class Tuning:
    """A catalogue that is being tuned."""

    stores: Stores
    bench: Bench
    prompts: tuple[Prompt, ...]  # distinct, of one recipe, ascending by text
    halves: Mapping[Half, tuple[int, ...]]  # places of the sample's prompts
    candidates: Candidates
    left_out: int  # rows that ask for another recipe than the settings'

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The prompts."""
        return tuple(each.text for each in self.prompts)

    @cached_property
    def fingerprint(self) -> str:
        """A digest that distinguishes the judges from others; loads them."""
        # One that stays when rows come and go.
        return self.bench.fingerprint(min(self.texts, key=_draw))

    def measure(
        self, settings: Sequence[Setting], half: Half, workers: int, report: Report
    ) -> dict[Setting, Measured]:
        """Return the results of the settings on a half; those that were missing are measured."""
        units = self._units(settings, half)
        keys = self.bench.keys(list(units.values()), self.fingerprint)
        missing = {job: keys[job] for job in find_missing(self.bench.folder, keys)}
        if missing:
            self._embed(report)
        done, total = 0, sum(job.weight for job in missing)
        for job in make_all(self.bench, missing, workers):
            done += job.weight
            report(f"the {half.value} half", done, total)
        return self._read(units, keys)

    def price(self) -> dict[str, int]:
        """Return the most evaluations that are left, by part; embeds and denoises nothing.

        Of the reporting half, all standard settings count, which is more than any ladder has.
        """
        alone = self.candidates.standards
        shared = [each for ladder in self.candidates.ladders for each in ladder]
        parts = {
            "standard settings": (alone, Half.CHOOSING),
            "sharing, at the most": (shared, Half.CHOOSING),
            "telling, at the most": (alone, Half.TELLING),
        }
        return {name: self._left(*part) for name, part in parts.items()}

    def _left(self, settings: Sequence[Setting], half: Half) -> int:
        units = self._units(settings, half)
        keys = self.bench.keys(list(units.values()), self.fingerprint)
        return sum(job.weight for job in find_missing(self.bench.folder, keys))

    def _units(self, settings: Sequence[Setting], half: Half) -> dict[Setting, Unit]:
        return {each: make_unit(self.texts, self.halves[half], each) for each in settings}

    def _read(
        self, units: Mapping[Setting, Unit], keys: Mapping[Trial, str]
    ) -> dict[Setting, Measured]:
        found = {}
        for setting, unit in units.items():
            outcome = self.bench.folder.load(keys[unit])
            if outcome is not None and not outcome.missing:
                found[setting] = Measured(setting, outcome.per_image, outcome.main)
        return found

    def _embed(self, report: Report) -> None:
        """Embed what is new, and hand all of it to the processes that make pictures."""
        subject, ledger = self.bench.subject, LedgerCache(self.stores)
        keys = [*map(embedding_key, self.prompts), negative_key(self.bench.recipe)]
        if len(subject.cache.find(keys)) == len(set(keys)):
            return
        embed_rows(self.stores, self.prompts, subject.models, report)
        subject.cache.keep(ledger.find(keys))


def prepare(stores: Stores, settings: Settings, source: Source, wanted: Wanted) -> Tuning:
    """Return a catalogue ready to be tuned; nothing is spent yet.

    Raises what `read_tunable` raises, EmptyBatch and InvalidSetting for what cannot be tuned, and
    for judges what loading them and their first call raise.
    """
    if not 0 < wanted.quality <= 1:
        hint = "use a number above 0, at most 1"
        raise InvalidSetting(setting="--quality", value=wanted.quality, hint=hint)
    grid = TUNE_GRIDS[wanted.grid]
    check_solvers(grid, wanted.solvers)
    rows = read_tunable(settings, source)
    recipe = rows.recipe
    methods = grid.linkages if find_calibration(recipe) is None else (*grid.linkages, CALIBRATED)
    bench = Bench(recipe, wanted.judges, settings.device, WorkFolder(wanted.work))
    tuning = Tuning(
        stores,
        bench,
        rows.prompts,
        split(rows.prompts, wanted.sample),
        make_candidates(grid, wanted.solvers, methods, recipe.initial_noise),
        rows.left_out,
    )
    _check_judges(tuning)
    return tuning


def split(prompts: Sequence[Prompt], most: int) -> dict[Half, tuple[int, ...]]:
    """Return the places of a sample's two halves, drawn by the digest of the texts.

    A catalogue that has changed a little keeps most of its sample. Raises EmptyBatch for fewer
    than LEAST prompts.
    """
    if len(prompts) < LEAST:
        reason = f"a choice needs at least {LEAST} different prompts, there are {len(prompts)}"
        raise EmptyBatch(reason=reason)
    order = sorted(range(len(prompts)), key=lambda at: _draw(prompts[at].text))
    chosen = order[: max(LEAST, most)]
    return {
        Half.CHOOSING: tuple(sorted(chosen[0::2])),
        Half.TELLING: tuple(sorted(chosen[1::2])),
    }


def _draw(text: str) -> str:
    return digest("tuning", text)


def _check_judges(tuning: Tuning) -> None:
    """Let the judges score once, and read the sample, before anything is spent."""
    places = [place for half in tuning.halves.values() for place in half]
    try:
        tuning.bench.panel.check([tuning.texts[place] for place in places])
        _ = tuning.fingerprint
    except HierdiffError as error:
        if error.facts.get("setting") != "pictures":
            raise
        recipe = tuning.bench.recipe
        size = f"{recipe.width} x {recipe.height}"
        hint = f"it cannot judge pictures of {size}; use clip:MODEL or vqascore:MODEL"
        raise InvalidSetting(setting="--judge", value=tuning.bench.judges[0], hint=hint) from None
