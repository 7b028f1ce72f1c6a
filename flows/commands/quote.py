"""The price of a night before it is spent: evaluations, expected seconds, cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hierdiff_core.forest import Forest
from hierdiff_core.plain import sample_of
from hierdiff_core.quality import predict_quality
from tasks.catalogue_settings import PlannedCatalogue
from tasks.losses import Losses
from tasks.rejected import Rejected, by_kind
from tasks.report.expected import expect, time_text
from tasks.report.headline import planned_by
from tasks.saving import why_nothing
from tasks.settings import Settings
from tasks.stores import Stores


def price(
    stores: Stores, settings: Settings, planned: PlannedCatalogue, prompts: int
) -> dict[str, object]:
    """Return the price as JSON values; seconds and cost are null where no run has measured them."""
    forest = planned.forest
    plan, recipe = forest.plan, forest.groups[0].recipe
    sampled = sample_of(forest, settings.sample)
    areas = [each.recipe.height * each.recipe.width for each in forest.groups for _ in each.prompts]
    beside = plan.steps * sum(areas[leaf] for leaf in sampled)
    seconds, cost = expect(stores, settings, recipe.revision, forest.pixel_evaluations + beside)
    return {
        "prompts": prompts,
        "images": plan.size,
        "trees": len(forest.groups),
        "segments": len(plan.segments),
        "kept": forest.standing.kept,
        "joined": forest.standing.joined,
        "new": forest.standing.fresh,
        "evaluations_tonight": forest.evaluations,
        "evaluations": plan.evaluations,
        "evaluations_standard": plan.evaluations_standard,
        "sample": len(sampled),
        "sample_evaluations": len(sampled) * plan.steps,
        "forwards": forest.forwards,
        "forwards_standard": forest.forwards_standard,
        "saving": plan.saving,
        "steps_per_image": plan.evaluations / plan.size,
        "planner": plan.planner,
        "linkage": plan.linkage,
        "tau": plan.tau,
        "price": plan.price,
        "planned_by": planned_by(plan.planner, plan.linkage, plan.tau, plan.price),
        "nothing_shared": _nothing_shared(planned, settings.loss) or None,
        "tuned": planned.tuned or None,
        "steps": plan.steps,
        **_quality(forest, settings.loss),
        "device_seconds": seconds,
        "cost": cost,
        "currency": settings.currency if cost is not None else None,
        "model": recipe.model,
        "revision": recipe.revision,
    }


def _nothing_shared(planned: PlannedCatalogue, bound: float) -> str:
    plan, budget = planned.forest.plan, planned.budget
    if plan.evaluations < plan.evaluations_standard:
        return ""
    return why_nothing(
        images=plan.size,
        trees=len(planned.forest.trees),
        steps=plan.steps,
        tau=plan.tau,
        saving=budget.saving,
        steps_per_image=budget.steps_per_image,
        tuned=planned.tuned,
        bound=bound,
    )


def price_text(quoted: dict[str, object]) -> str:
    """Return the price as a few lines for people."""
    get = quoted.__getitem__
    seconds, cost = get("device_seconds"), get("cost")
    time = time_text(None if seconds is None else float(str(seconds)))
    lines = [
        f"night         {get('night')}",
        f"{get('prompts')} prompts, {get('images')} distinct images, {get('trees')} tree(s)",
        *_tonight(quoted),
        f"evaluations   {get('evaluations'):,} instead of {get('evaluations_standard'):,}",
        *_forwards_lines(quoted),
        *_sample_lines(quoted),
        f"saving        {get('saving'):.1%}",
        *([f"              {get('nothing_shared')}"] if get("nothing_shared") else []),
        f"per image     {get('steps_per_image'):.1f} of {get('steps')} steps",
        f"planned by    {get('planned_by')}",
        *_quality_lines(quoted),
        f"device time   {time}",
    ]
    if get("tuned") is not None:
        lines.append(f"setting       {get('tuned')}")
    if cost is not None:
        lines.append(f"cost          {cost:.2f} {get('currency')}")
    return "\n".join([*lines, *_rejected_lines(quoted["rejected"])])


def _rejected_lines(rejected: Any) -> Iterator[str]:
    if rejected:
        yield f"rejected      {len(rejected):,} row{'s' * (len(rejected) > 1)}"
    kinds = by_kind(Rejected(row["row"], row["reason"]) for row in rejected)
    yield from (f"  {kind.line()}" for kind in kinds)


def _quality(forest: Forest, bound: float) -> dict[str, object]:
    quality = predict_quality(forest)
    if quality is None:
        return {"loss": None, "loss_bound": bound, "told_apart": None, "worst": []}
    worst = [{"reference": row.name, "row": row.row, "loss": loss} for row, loss in quality.worst]
    found = {"loss": quality.mean, "loss_bound": bound, "told_apart": quality.told_apart}
    return {**found, "worst": worst}


def from_nothing(fresh: Forest | None) -> dict[str, object] | None:
    """Return the saving and the predicted loss of a night that stands on no other, if any."""
    if fresh is None:
        return None
    quality = predict_quality(fresh)
    return {"saving": fresh.plan.saving, "loss": None if quality is None else quality.mean}


def _quality_lines(quoted: dict[str, Any]) -> Iterator[str]:
    """Yield what pictures are predicted to lose, and which of them most."""
    losses = losses_of(quoted)
    if losses is None:
        yield "quality       not predicted, the model has no calibration; look at a first night"
        yield "              (what savings cost another model without one: docs/sharing.md)"
        return
    yield f"quality       predicted to lose {losses.mean:.1%} of what plain pictures miss"
    if losses.beyond:
        yield f"              beyond the bound of {losses.bound:.1%}: {_within(quoted)}"
    yield f"              predicted to be told apart: {losses.told_apart:,} of {losses.images:,}"
    if losses.told_apart and quoted["saving_unseen"] is not None:
        yield f"              the largest saving without that: {quoted['saving_unseen']:.1%}"
    if fresh := quoted["from_nothing"]:
        yield f"              from nothing: {fresh['loss']:.1%}, saving {fresh['saving']:.1%}"
    if quoted["worst"]:
        rows = ", ".join(f"{row['reference']} {row['loss']:.0%}" for row in quoted["worst"])
        yield f"  most        {rows}"


def losses_of(quoted: dict[str, Any]) -> Losses | None:
    """Return a price's predicted losses, None where nothing predicts them."""
    if quoted["loss"] is None:
        return None
    return Losses(quoted["loss"], quoted["told_apart"], quoted["images"], quoted["loss_bound"])


def _within(quoted: dict[str, Any]) -> str:
    keeps = "ask for a smaller saving to keep it"
    if quoted["saving_within"] is not None:
        keeps = f"a saving of {quoted['saving_within']:.1%} keeps it"
    return f"{keeps}, --accept-loss makes it all the same" if quoted["refused"] else keeps


def _forwards_lines(quoted: dict[str, object]) -> Iterator[str]:
    """Yield the passes of the network where guidance takes a second one in some evaluations."""
    if quoted["forwards_standard"] != quoted["evaluations_standard"]:
        yield "forwards      {forwards:,} instead of {forwards_standard:,}".format(**quoted)


def _sample_lines(quoted: dict[str, object]) -> Iterator[str]:
    if quoted["sample"]:
        line = "sample        {sample_evaluations:,} beside them, {sample:,} also without sharing"
        yield line.format(**quoted)


def _tonight(quoted: dict[str, object]) -> list[str]:
    """Return what is left of a night that stands on earlier ones, else nothing."""
    counts = {name: quoted[name] for name in ("kept", "joined", "new")}
    if not (counts["kept"] or counts["joined"]):
        return []
    kinds = "{kept:,} kept, {joined:,} from a stored split, {new:,} from noise".format(**counts)
    return [
        f"pictures      {kinds}",
        *_again_lines(quoted),
        f"tonight       {quoted['evaluations_tonight']:,} evaluations; the whole catalogue:",
    ]


def _again_lines(quoted: dict[str, object]) -> Iterator[str]:
    if quoted["again"]:
        yield f"again         {quoted['again']:,} others in place of rejected ones"
    if quoted["waiting"]:
        yield f"              {quoted['waiting']:,} were rejected too often (HIERDIFF_REMAKES)"
