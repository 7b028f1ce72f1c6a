"""Publishing: a night's pictures are checked, and its manifest and report written.

The content of a report is gathered in `gather` and rendered in `page`.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from itertools import groupby

from sqlalchemy.orm import Session

from hierdiff_core.prompt import content_key
from tasks.handover.pictures import gather
from tasks.handover.tables import write_tables
from tasks.ledger import (
    StoredRendition,
    count_accepted,
    load_images,
    load_pairs,
    load_plan,
    load_renditions,
    load_run_prompts,
    note_published,
    open_subtrees,
    reopen_subtrees,
    set_run_state,
    shards_of,
    summarise,
)
from tasks.object_keys import manifest_key, report_key
from tasks.renditions import make_renditions, rendition_key
from tasks.report.check import Checked, check_night
from tasks.report.expense import cost_of, expense_of, kwh, not_measured
from tasks.report.gather import gather_report, measured_of, paid_seconds
from tasks.report.links import make_link
from tasks.report.page import ReportData, render_report
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import Stores


@dataclass(frozen=True)
class Published:
    """The result of a night."""

    data: ReportData
    report: str  # key of the HTML file
    manifest: str  # key of the JSON file
    missing: int  # pictures
    open_subtrees: tuple[int, ...]  # what a retry would run

    @property
    def complete(self) -> bool:
        """Whether every picture is there."""
        return not self.missing and not self.open_subtrees


def publish(
    stores: Stores, settings: Settings, run: uuid.UUID, known: Checked | None = None
) -> Published:
    """Check every picture, make renditions, write manifest and report, and close the run.

    Each picture is read and compared with its digest, but for those `known` to be whole. One that
    is damaged or gone is taken back, so that a retry makes it again; nothing that the tables
    promise is trusted unchecked. Raises UnreachableStorage and UnmakeableRendition, the run then
    being as it was.
    """
    checked = check_night(stores, run, known)
    with stores.session() as session:
        stored, plan = load_images(session, run), load_plan(session, run).plan
        missing = _wanted(session, run) - set(stored)
        ends = [plan.leaf_segment(leaf).id for leaf in missing]
        reopen_subtrees(session, run, shards_of(session, run, ends))
        waiting = open_subtrees(session, run)
    state = RunState.FAILED if missing or waiting else RunState.COMPLETED
    make_renditions(stores, settings, run)
    manifest = write_manifest(stores, settings, run)
    data = gather_report(stores, settings, run, checked=checked, state=state)
    page = render_report(data).encode()
    report = stores.bucket.put(report_key(run), page, "text/html; charset=utf-8")
    with stores.session() as session:
        note_published(session, run, manifest, report)
        set_run_state(session, run, state)
    return Published(data, report_key(run), manifest_key(run), len(missing), waiting)


def report_url(stores: Stores, settings: Settings, key: str) -> str:
    """Return a link to a report: under the public address, or signed for a week."""
    return make_link(stores, settings)(key, "report.html")


def _wanted(session: Session, run: uuid.UUID) -> set[int]:
    """Return the leaves of a run that its rows ask for: all but those that were forgotten."""
    asked = {content_key(prompt) for prompt in load_run_prompts(session, run)}
    leaves = load_plan(session, run).leaves
    return {number for number, leaf in enumerate(leaves) if leaf.content_key in asked}


def write_manifest(stores: Stores, settings: Settings, run: uuid.UUID) -> str:
    """Write which picture each asked-for row got, and its tables; return the file's sha256."""
    tables = write_tables(stores.bucket, run, gather(stores, settings, run))
    with stores.session() as session:
        facts, night = summarise(session, run), load_plan(session, run)
        prompts, images = load_run_prompts(session, run), load_images(session, run)
        files, pairs = load_renditions(session, run), load_pairs(session, run)
        accepted = count_accepted(session, facts.catalogue, run)
    used = kwh(facts.energy)
    cost = cost_of(paid_seconds(facts), used, settings.gpu_price_per_hour, settings.kwh_price)
    renditions = {leaf: list(some) for leaf, some in groupby(files, lambda each: each.leaf)}
    leaf_of = {leaf.content_key: number for number, leaf in enumerate(night.leaves)}
    rows = []
    for prompt in prompts:
        leaf = leaf_of.get(content_key(prompt))
        image = None if leaf is None else images.get(leaf)
        entry: dict[str, object] = {"row": prompt.row, "reference": prompt.reference}
        entry |= {"number": prompt.number, "name": prompt.name}
        if prompt.drawn_seed is not None:
            entry["seed"] = prompt.drawn_seed
        entry["prompt"] = prompt.text
        if leaf is not None:
            entry["loss"] = night.leaves[leaf].loss
        if leaf in pairs:
            entry["measured"] = {"loss": pairs[leaf].loss, "distance": pairs[leaf].distance}
        if image is not None:
            entry |= {"key": image.key, "sha256": image.sha256, "bytes": image.bytes}
            entry |= {"width": image.width, "height": image.height}
            if leaf in renditions:
                entry["renditions"] = [_file_entry(each) for each in renditions[leaf]]
        rows.append(entry)
    body = {
        "run": str(run),
        "catalogue": facts.catalogue,
        "business_date": facts.business_date.isoformat(),
        "recipe": facts.recipe.to_json(),
        "planner": facts.planner,
        "linkage": facts.linkage,
        "tau": facts.tau,
        "price": facts.price,
        "evaluations": facts.evaluations_planned,
        "evaluations_standard": facts.evaluations_standard,
        "loss": None if facts.losses is None else facts.losses.mean,
        "measured": None
        if (found := measured_of(night, pairs.values())) is None
        else asdict(found),
        "energy": None
        if used is None
        else {"unit": "kWh", **asdict(expense_of(facts, used, accepted))},
        "energy_not_measured": list(not_measured(facts.energy)),
        "cost": None
        if cost is None
        else {"currency": settings.currency, **asdict(expense_of(facts, cost, accepted))},
        "images": rows,
        "set_aside": [
            {
                "row": each.row,
                "reference": each.reference,
                "reason": each.reason,
                "attempts": each.failures,
            }
            for each in facts.set_aside
        ],
        "rejected_often": [asdict(each) for each in facts.rejected_often],
        "rejected": [{"row": each.row, "reason": each.reason} for each in facts.rejected],
        "tables": tables,
    }
    text = json.dumps(body, ensure_ascii=False, indent=1)
    return stores.bucket.put(manifest_key(run), text.encode(), "application/json")


def _file_entry(file: StoredRendition) -> dict[str, object]:
    entry: dict[str, object] = {"name": file.name, "made_as": file.made_as}
    entry |= {"key": rendition_key(file), "sha256": file.sha256, "bytes": file.bytes}
    return entry | {"width": file.width, "height": file.height}
