"""Sentences written from numbers, so that no conclusion outlives the figures it came from.

Knows what the paper reports and what the goals are; measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.prompt_sets import REPORT, PromptSet
from hierdiff_core.evaluation.setting import label
from hierdiff_core.evaluation.told import percent, share

LARGE = 500  # prompts from which on sharing is wanted to pay against any standard setting
RANDOM_FACTOR = 5  # the tree shall save so many times what blind sharing saves


def over_reference(
    prompts: PromptSet,
    saving: Estimate | None,
    reference: Measured,
    at_papers: Measured | None = None,
) -> str:
    """Return the answer to (a), beside the paper's figure where there is one.

    Where that is missed, `at_papers` (sharing at the paper's own saving) shows why.
    """
    name = label(reference.setting)
    if saving is None:
        return f"`{prompts.name}`: what sharing saves over {name} is not measured yet."
    said = f"`{prompts.name}` (a): sharing saves {share(saving)} over {name} at equal score"
    if prompts.paper_saving is None:
        return f"{said}."
    paper = f"the paper's {percent(prompts.paper_saving)} on {prompts.paper}"
    if saving.value >= prompts.paper_saving:
        return f"{said}: at least {paper}."
    cause = ""
    if at_papers is not None:
        cause = f"; at that saving it scores {_against(at_papers, reference)}"
    if saving.high >= prompts.paper_saving:
        return f"{said}: below {paper}, which lies inside the interval{cause}."
    return f"{said}: the goal, {paper}, is missed{cause}."


def over_best(
    prompts: PromptSet,
    saving: Estimate | None,
    rival: Measured,
    shared: Sequence[Measured] = (),
) -> str:
    """Return the answer to (b), and whether the goal holds on a large set.

    Where sharing does not pay, the best of what is no dearer than the rival shows why.
    """
    name = f"{label(rival.setting)} ({rival.per_image:g} evaluations, score {rival.mean:.3f})"
    if saving is None:
        return f"`{prompts.name}` (b): sharing is not measured yet against {name}."
    if math.isinf(saving.value):
        said = f"does not pay: no measured sharing reaches the score of {name}"
    elif saving.low > 0:
        said = f"pays: it saves {share(saving)} over {name}"
    elif saving.value > 0:
        said = f"may pay: it saves {share(saving)} over {name}, and the interval holds 0"
    else:
        more = f"{percent(-saving.value)} more than" if saving.value else "as many evaluations as"
        said = f"does not pay: at equal score it takes {more} {name}"
    wanted = prompts.purpose == REPORT and len(prompts) >= LARGE
    goal = "" if not wanted else "; goal met" if saving.value > 0 else "; goal missed"
    affordable = [each for each in shared if each.per_image <= rival.per_image]
    cause = ""
    if saving.value <= 0 and affordable:
        best = max(affordable, key=lambda each: each.mean)
        cause = (
            f"; the best sharing that is no dearer, {label(best.setting)} "
            f"({best.per_image:.1f} evaluations), scores {_against(best, rival)}"
        )
    return f"`{prompts.name}` (b): sharing {said}{goal}{cause}."


def _against(ours: Measured, theirs: Measured) -> str:
    gap = estimate_mean(ours.scores - theirs.scores)
    interval = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
    return f"{ours.mean:.3f} against {theirs.mean:.3f} (difference {gap.value:+.3f} {interval})"


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
        shown = f"; at a saving of {saving} the tree scores {_against(*alike)}"
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
