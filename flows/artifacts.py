"""Artifacts of a night on the Prefect server: its plan, and what came of it.

Each kind has one key for a catalogue, so that its nights follow each other there.
"""

from __future__ import annotations

import uuid

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.names import artifact_key, night_name
from tasks.ledger import summarise
from tasks.report.data import ReportData
from tasks.report.expected import plan_markdown
from tasks.report.gather import nothing_shared
from tasks.report.page import subtree_table, summary_markdown
from tasks.settings import Settings
from tasks.stores import Stores


def show_plan(stores: Stores, settings: Settings, run: uuid.UUID) -> None:
    """Show what a run will take, before anything is spent on it."""
    with stores.session() as session:
        facts = summarise(session, run)
    create_markdown_artifact(
        plan_markdown(stores, settings, facts, nothing_shared(facts)),
        key=artifact_key("plan", facts.catalogue),
        description=f"{night_name(facts.catalogue, facts.business_date)}: the plan",
    )


def show_result(data: ReportData, link: str) -> None:
    """Show what a night made, and link its report."""
    night = night_name(data.catalogue, data.business_date)
    create_markdown_artifact(
        summary_markdown(data, link),
        key=artifact_key("night", data.catalogue),
        description=f"{night}: the result",
    )
    create_table_artifact(
        subtree_table(data),
        key=artifact_key("subtrees", data.catalogue),
        description=f"{night}: the subtrees",
    )
    create_link_artifact(
        link,
        link_text="gallery and plan",
        key=artifact_key("report", data.catalogue),
        description=f"{night}: the report" + _until(data),
    )


def _until(data: ReportData) -> str:
    return f", whose links work until {data.links_end}" if data.links_end else ""
