"""Rows of tables as pages show them: of services, of causes, of jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from zmws.core.states import RUNNING, SCHEDULED, WAITING
from zmws.gateway.desk import Visitor
from zmws.gateway.looks import or_none
from zmws.gateway.pages import svg
from zmws.gateway.pages.shown import between

_SPARK_FRESH_S = 5.0  # of a service that does something
_IDLE_FRESH_S = 60.0


def urgency(row: dict[str, Any]) -> tuple[Any, ...]:
    """What is to be looked at first: jobs that nobody does, then what waits, runs, and has failed."""
    stuck = bool(row["waiting"]) and (not row["workers"] or row["paused"])
    return (not stuck, -row["waiting"], -row["running"], -row["failed"], row["service"])


async def with_sparks(visitor: Visitor, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of services, each with a small plot of its ends in the last minutes."""
    looks = visitor.desk.looks
    asked = []
    for row in rows:
        # Of one that is idle the plot only moves on: what has ended tells whether there is anything new.
        counted = [row[name] for name in ("complete", "failed", "calls_complete", "calls_failed")]
        fresh_s = _SPARK_FRESH_S if row["running"] else _IDLE_FRESH_S
        question = {"service": row["service"], "figures": "complete"}
        asked.append(looks.ask("zmws.series", question, fresh_s, str(counted)))
    return [
        {**row, "spark": _spark(told, row["service"])}
        for row, told in zip(rows, await asyncio.gather(*map(or_none, asked)), strict=True)
    ]


def _spark(told: dict[str, Any] | None, service: str) -> Any:
    if told is None or told["service"] != service:  # it has no figures of its own
        return None
    done = told["figures"]["complete"]
    return svg.spark(done[-300:], "complete") if any(done[-300:]) else None


def causes_shown(told: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Causes for which jobs are failed now, each with a picture of its last 24 hours."""
    causes = [] if told is None else told["causes"]
    return [{**one, "picture": svg.columns(one["trend"], "failed")} for one in causes if one["count"]]


def job_row(row: dict[str, Any]) -> dict[str, Any]:
    """What a list says of a job beside its record: how long it has been in its state, and how long it ran."""
    ran = between(row["started_at"], row["ended_at"]) if row["ended_at"] or row["state"] == RUNNING else None
    began = {RUNNING: "started_at", WAITING: "ready_at", SCHEDULED: None}.get(row["state"], "ended_at")
    return {**row, "state_since": row[began] if began else None, "ran_s": ran}
