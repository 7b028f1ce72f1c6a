"""What a tuning leaves behind: its figures as JSON, its frontier as PNG, its record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from hierdiff_core.evaluation.tune_choice import Choice, Half, Judged, prompts_to_decide
from hierdiff_core.evaluation.tune_plot import draw_choice
from hierdiff_core.evaluation.tune_words import sentences, words
from hierdiff_core.whole_file import write_whole
from tasks.catalogue_record import Tuned, chosen_fields
from tasks.evaluation.machine import describe_machine
from tasks.tuning.tune import Tuning


def record(tuning: Tuning, choice: Choice) -> Tuned:
    """Return a choice as a catalogue's settings keep it."""
    chosen, share = choice.chosen, choice.chosen.share
    return Tuned(
        **chosen_fields(chosen.setting, tuning.bench.recipe),
        judge=tuning.bench.judges[0],
        quality=choice.quality,
        score=chosen.measured.mean,
        share=share.value,
        share_low=share.low,
        share_high=share.high,
        evaluations=chosen.measured.per_image,
        evaluations_best=choice.reference.measured.per_image,
        prompts=len(tuning.prompts),
        told_on=len(tuning.halves[Half.TELLING]),
        tuned_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def figures(
    tuning: Tuning, choice: Choice, tuned: Tuned, catalogue: str, command: str
) -> dict[str, object]:
    """Return all figures of a tuning, as JSON values."""
    rung = choice.undecided
    return {
        "catalogue": catalogue,
        "command": command,
        "machine": describe_machine(),
        "recipe": tuning.bench.recipe.to_json(),
        "judges": [*tuning.bench.judges, f"fingerprint {tuning.fingerprint}"],
        "prompts": len(tuning.prompts),
        "rows_with_recipes_of_their_own": tuning.left_out,
        "sample": {half.value: len(places) for half, places in tuning.halves.items()},
        "chosen": tuned.to_json(),
        "sentences": list(sentences(choice, len(tuning.prompts))),
        "prompts_to_tell": None if rung is None else prompts_to_decide(rung, choice.quality),
        "told": _rows(choice.climbed),
        "tried": _rows(choice.tried),
    }


def write_figures(out: Path, found: Mapping[str, object]) -> Path:
    """Write the figures and return the file."""
    file = out / "tuning.json"
    write_whole(file, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    return file


def write_plot(out: Path, choice: Choice, catalogue: str, prompts: int) -> Path | None:
    """Draw the frontier and return the file; None where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return None
    file = out / "frontier.png"
    write_whole(file, draw_choice(choice, catalogue, prompts))
    return file


def _rows(settings: Sequence[Judged]) -> list[dict[str, object]]:
    return [
        {
            "setting": judged.setting.to_json(),
            "words": words(judged.setting),
            "evaluations_per_image": judged.measured.per_image,
            "score": judged.measured.mean,
            "share": judged.share.to_json(),
            "verdict": judged.verdict.value,
        }
        for judged in settings
    ]
