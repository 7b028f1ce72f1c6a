"""What a plan is expected to take: device time as earlier runs measured it, and its cost."""

from __future__ import annotations

from tasks.ledger import RunSummary, seconds_per_pixel
from tasks.losses import loss_text
from tasks.report.artifacts import markdown_text
from tasks.report.headline import duration, planned_by
from tasks.settings import Settings
from tasks.stores import Stores


def expect(
    stores: Stores, settings: Settings, revision: str, pixel_evaluations: int
) -> tuple[float | None, float | None]:
    """Return device seconds and cost; None before a first run or without a price.

    They grow with the pixels: an evaluation of a picture twice as wide takes twice as long, which
    is the least for a large one.
    """
    with stores.session() as session:
        one = seconds_per_pixel(session, revision)
    seconds = None if one is None else one * pixel_evaluations
    hourly = settings.gpu_price_per_hour
    return seconds, None if seconds is None or hourly is None else seconds / 3600 * hourly


def time_text(seconds: float | None) -> str:
    """Return the expected device time, for people."""
    return "unknown before the first run" if seconds is None else duration(seconds)


def plan_markdown(stores: Stores, settings: Settings, facts: RunSummary, why: str) -> str:
    """Return a plan as Markdown, before anything is spent on it.

    `why` is why it shares nothing; empty where it shares.
    """
    tonight = facts.evaluations_planned - facts.evaluations_reused
    pixels = tonight * facts.recipe.height * facts.recipe.width
    seconds, cost = expect(stores, settings, facts.recipe.revision, pixels)
    saving = 1 - facts.evaluations_planned / facts.evaluations_standard
    rows = [
        ("images", f"{facts.images_expected:,} for {facts.prompts:,} prompts"),
        ("evaluations", f"{facts.evaluations_planned:,} of {facts.evaluations_standard:,}"),
        ("done by earlier nights", f"{facts.evaluations_reused:,}"),
        ("saving", f"{saving:.0%}" + (f": nothing is shared, {why}" if why else "")),
        ("planned by", planned_by(facts.planner, facts.linkage, facts.tau, facts.price)),
        ("quality", loss_text(facts.losses)),
        ("device time", time_text(seconds)),
        ("rejected rows", f"{len(facts.rejected):,}"),
    ]
    if facts.tuned is not None:
        rows.append(("setting", facts.tuned))
    if cost is not None:
        rows.append(("cost", f"{cost:.2f} {settings.currency}"))
    title = f"# {markdown_text(facts.catalogue)} · {facts.business_date:%Y\\-%m\\-%d}: the plan"
    table = [f"| {name} | {markdown_text(text)} |" for name, text in rows]
    return "\n".join([title, "", "| | |", "|---|---|", *table]) + "\n"
