"""Sentences written from numbers, so that no conclusion outlives the figures it came from.

Here stands what the paper reports, and what our goals are.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper.prompt_sets import PaperSet
from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.page import percent, share
from hierdiff_core.evaluation.plan_ladder import LARGE
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.sections.frontier import Frontier, against

RANDOM_FACTOR = 5  # the tree shall save so many times what blind sharing saves
RIGHT = 0.85  # of the pictures shall have each attribute right


def with_goal(sentence: str, goal: str, hit: bool) -> str:
    """Return a sentence with a goal, and whether it is hit."""
    return _more(sentence, f"; the goal, {goal}, is {'hit' if hit else 'missed'}")


def over_reference(sentence: str, found: Frontier, at_papers: Measured | None = None) -> str:
    """Return the answer to (a) beside the paper's figure, where there is one.

    Where that is missed, `at_papers` (sharing at the paper's own saving) shows why.
    """
    prompts, saving = found.prompts, found.savings["paper"]
    if saving is None or not isinstance(prompts, PaperSet) or prompts.paper_saving is None:
        return sentence
    paper = f"the paper's {percent(prompts.paper_saving)} on {prompts.paper}"
    if saving.value >= prompts.paper_saving:
        return _more(sentence, f": at least {paper}")
    cause = ""
    if at_papers is not None:
        cause = f"; at that saving it scores {against(at_papers, found.reference)}"
    if saving.high >= prompts.paper_saving:
        return _more(sentence, f": below {paper}, which lies inside the interval{cause}")
    return _more(sentence, f": the goal, {paper}, is missed{cause}")


def over_best(sentence: str, found: Frontier) -> str:
    """Return the answer to (b), and whether the goal holds on a large set: that sharing pays."""
    prompts, saving = found.prompts, found.savings["over_best"]
    report = isinstance(prompts, PaperSet) and not prompts.development
    if saving is None or not report or len(prompts) < LARGE:
        return sentence
    return _more(sentence, "; goal met" if saving.value > 0 else "; goal missed")


def attributes_right(name: str, rates: dict[str, float]) -> str:
    """Return whether a setting has every attribute right as often as is wanted."""
    below = {name: rate for name, rate in rates.items() if rate < RIGHT}
    said = f"With {name}"
    if not below:
        return (
            f"{said}, every attribute is right at least {RIGHT:.0%} of the time: the goal is met."
        )
    missed = ", ".join(f"{name} {rate:.0%}" for name, rate in below.items())
    return f"{said}, the goal of {RIGHT:.0%} for every attribute is missed by {missed}."


def _more(sentence: str, more: str) -> str:
    return sentence.removesuffix(".") + more + "."


def against_random(
    prompts: PromptSet,
    tree: Estimate,
    blind: Estimate,
    alike: tuple[Measured, Measured] | None = None,
) -> str:
    """Return whether the tree saves the wanted multiple of what random embeddings save.

    `alike`, the tree and random embeddings at one saving, shows what telling prompts apart is for.
    """
    said = f"`{prompts.name}`: the tree saves {share(tree)}, random embeddings {share(blind)}"
    shown = ""
    if alike is not None:
        saving = percent(alike[0].setting.saving or 0.0)
        shown = f"; at a saving of {saving} the tree scores {against(*alike)}"
    if tree.value <= 0:
        return f"{said}: the tree saves nothing at equal score (goal missed){shown}."
    if blind.value <= 0:
        return f"{said}: sharing without knowing the prompts saves nothing{shown}."
    factor = tree.value / blind.value
    verdict = "met" if factor >= RANDOM_FACTOR else "missed"
    return f"{said}: {factor:.1f} times as much (goal of {RANDOM_FACTOR} times {verdict}){shown}."


def undecided(scores: Sequence[float]) -> str:
    """Return why random embeddings can save at all, from the mean score of x_0 after each step."""
    half = len(scores) // 2
    return (
        f"After {half} of {len(scores)} steps alone the predicted picture scores "
        f"{scores[half - 1]:.3f} of the {scores[-1]:.3f} that it ends with: the steps up to there "
        "leave much to those after them, and so can be shared with any prompt."
    )


def few_steps(scores: list[float], steps: int) -> str:
    """Return how soon a picture is decided, from the mean score of x_0 after each step."""
    last = scores[-1]
    soon = next(at for at, each in enumerate(scores, start=1) if each >= 0.95 * last)
    late = "late" if soon > 0.6 * steps else "early" if soon <= 0.3 * steps else "midway"
    means = {
        "early": "few steps are enough for it, and prompts must part early to differ",
        "midway": "later steps add little to it, earlier ones can be shared in part",
        "late": "steps can be shared for long, and taking fewer of them costs",
    }
    return (
        f"The predicted picture reaches 95 % of its final score after {soon} of {steps} steps "
        f"({late}): {means[late]}."
    )
