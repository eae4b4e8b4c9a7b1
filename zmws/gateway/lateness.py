"""How late the last job of a schedule began, or is by now: for the pages and for Prometheus.

Rule: of a job that nobody has begun the time goes on; of one that was made by hand from when it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zmws.core.states import WAITING


def late_s(row: Mapping[str, Any], now: datetime | None = None) -> float | None:
    """Seconds, None where there is nothing to be late. `row`: of zmws.schedules."""
    if row["late_s"] is not None:
        return float(row["late_s"])
    last = row["last"]
    if last is None or last["state"] != WAITING or last["started_at"] is not None:
        return None
    since = row["fired_at"] if ":run-" in last["id"] else row["last_at"]
    if since is None:
        return None
    passed = (now or datetime.now(UTC)) - datetime.fromisoformat(since)
    return max(0.0, passed.total_seconds())
