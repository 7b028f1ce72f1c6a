"""The business date: the day that a night is for, in the zone of its schedule."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo


def date_in_zone(zone: str, moment: datetime | None = None) -> date:
    """Return the date in a zone, now or at a moment; one without a zone is taken as UTC."""
    moment = datetime.now(UTC) if moment is None else moment
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(ZoneInfo(zone)).date()
