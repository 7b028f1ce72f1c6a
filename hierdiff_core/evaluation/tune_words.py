"""A tuning in words: the chosen setting, its score with its interval, and its cost."""

from __future__ import annotations

from collections.abc import Iterator

from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.setting import Setting, solver_label
from hierdiff_core.evaluation.tune_choice import Choice, Judged, prompts_to_decide
from hierdiff_core.plan import CALIBRATED


def words(setting: Setting) -> str:
    """Return a setting in words, such as `do not share: DPM-Solver++, 12 steps`."""
    steps = f"{solver_label(setting.solver)}, {setting.steps} steps"
    if not setting.shares:
        return f"do not share: {steps}"
    calibrated = setting.method == CALIBRATED
    how = "by the model's calibration" if calibrated else f"{setting.method} linkage"
    return f"share: {how}, {steps}, saving {100 * (setting.saving or 0):.3g} %"


def sentences(choice: Choice, prompts: int) -> Iterator[str]:
    """Yield the sentences on a choice for a catalogue of `prompts` prompts, the choice first."""
    chosen, reference = choice.chosen, choice.reference
    yield words(chosen.setting)
    yield (
        f"score {chosen.measured.mean:.3f}, {_percent(chosen.share)} of the best standard "
        f"setting's {reference.measured.mean:.3f} ({words(reference.setting)}); wanted "
        f"{100 * choice.quality:g} %, measured on {len(chosen.measured.scores)} prompts that "
        "it was not chosen on"
    )
    yield f"{chosen.measured.per_image:.2f} evaluations per image{_instead(choice)}"
    yield from _unsure(choice, prompts)


def _instead(choice: Choice) -> str:
    """Return the saving over the best standard setting and over the cheapest one that holds."""
    # A setting that is both is listed once, as the best.
    rivals = {
        choice.cheapest_standard.setting: "the cheapest standard setting that holds",
        choice.reference.setting: "the best standard setting",
    }
    known = {each.setting: each.measured for each in (choice.reference, choice.cheapest_standard)}
    savings = []
    for setting, name in rivals.items():
        if setting != choice.chosen.setting:
            saving = 1 - choice.chosen.measured.per_image / known[setting].per_image
            savings.append(f"{100 * saving:.0f} % below {name} ({known[setting].per_image:g})")
    return f", {' and '.join(savings)}" if savings else ": that of the best standard setting"


def _unsure(choice: Choice, prompts: int) -> Iterator[str]:
    rung = choice.undecided
    if rung is None:
        return
    needed = prompts_to_decide(rung, choice.quality)
    enough = "more prompts than can be asked for" if needed is None else f"about {needed:,} prompts"
    if needed is not None and needed > prompts:
        enough += f", more than the catalogue's {prompts:,},"
    yield (
        f"cheaper may be possible, but the sample is too small to tell: {words(rung.setting)}, "
        f"{rung.measured.per_image:.2f} evaluations per image, has {_percent(rung.share)}; "
        f"{enough} would decide it"
    )


def line(judged: Judged) -> tuple[str, str, str, str]:
    """Return a row of the table: setting, evaluations per image, share of the best, verdict."""
    return (
        words(judged.setting),
        f"{judged.measured.per_image:.2f}",
        _percent(judged.share),
        judged.verdict.value,
    )


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
