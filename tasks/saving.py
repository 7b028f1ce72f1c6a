"""What a night saved, in words that are true of what was spent, and why it shared nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spending:
    """The evaluations of a night."""

    planned: int
    standard: int  # without sharing
    spent: int  # on a device, repeated ones included, and those found done by earlier nights

    @property
    def repeated(self) -> int:
        """Evaluations beyond the plan: of attempts that were lost."""
        return max(0, self.spent - self.planned)

    @property
    def saving(self) -> float:
        """Share of the evaluations that was saved: the plan's, less what was repeated."""
        return 1 - max(self.planned, self.spent) / self.standard


def saved_text(spending: Spending) -> str:
    """Return what was saved: "50% saved", or what became of a saving that was planned."""
    if not spending.repeated:
        return f"{spending.saving:.0%} saved"
    planned = f"{1 - spending.planned / spending.standard:.0%} was planned"
    again = f"{spending.repeated:,} evaluations were repeated"
    if spending.saving <= 0:
        return f"nothing saved: {planned}, {again}"
    return f"{spending.saving:.0%} saved: {planned}, {again}"


def why_nothing(
    *,
    images: int,
    trees: int,
    steps: int,
    tau: float | None,
    saving: float | None,
    steps_per_image: float | None,
    tuned: str | None,
    bound: float | None,
) -> str:
    """Return why a plan shares nothing and what would; the settings are those of the plan."""
    if images == 1:
        return "one picture has nothing to share steps with"
    if steps == 1:
        return "a picture of one step has nothing to share"
    if trees == images:
        return (
            "every row has a recipe of its own, such as a guidance, and rows share only within an "
            "equal one; leave that column out"
        )
    if tuned:
        return f"that is the catalogue's own setting ({tuned}); `hierdiff tune` chooses another"
    if saving is not None or steps_per_image is not None:
        return "the budget allows every picture alone; a larger HIERDIFF_SAVING shares"
    if tau is not None:
        return (
            f"no two prompts are alike enough for HIERDIFF_TAU={tau:g}; HIERDIFF_SAVING=0.3 asks "
            "for a saving instead"
        )
    if bound:
        return (
            f"no two prompts are alike enough for HIERDIFF_LOSS={bound:g}; `hierdiff plan` says "
            "what HIERDIFF_SAVING=0.3 would risk"
        )
    return "HIERDIFF_LOSS=0 asks for nothing to be shared; HIERDIFF_SAVING=0.3 asks for a saving"
