"""/ui/: how it goes, what is wrong, and what everybody does."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from zmws.gateway.desk import Visitor
from zmws.gateway.pages import plots, svg
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.lanes import lanes_of
from zmws.gateway.pages.looks import or_none
from zmws.gateway.pages.shown import number, span

SERVICES_SHOWN = 15
LANES_SHOWN = 12
_SPARK_FRESH_S = 5.0  # of a service that does something
_IDLE_FRESH_S = 60.0
_COMMITS_FRESH_S = 60.0  # there is a new one each minute
_FIGURES = "complete,failed,oldest_s,slots"


async def root(visitor: Visitor) -> Response:
    """GET /ui."""
    return go_on(visitor, "/ui/")


async def page(visitor: Visitor) -> Response:
    """GET /ui/."""
    looks = visitor.desk.looks
    stats, rows, warnings, told, commits, lanes = await asyncio.gather(
        looks.ask("zmws.stats"),
        looks.ask("zmws.services"),
        looks.ask("zmws.warnings"),
        looks.ask("zmws.series", {"figures": _FIGURES}),
        looks.ask("zmws.series", {"step": "minute", "figures": "commit_p99"}, _COMMITS_FRESH_S),
        lanes_of(visitor, LANES_SHOWN),
    )
    services = sorted(rows, key=urgency)[:SERVICES_SHOWN]
    values = {
        "title": "Overview",
        "current": "/ui/",
        "live": "",
        "tiles": _tiles(stats, rows, told, commits),
        "warnings": warnings,
        "plots": [plots.ends(told), plots.oldest(told)],
        "lanes": lanes,
        "services": await with_sparks(visitor, services),
        "services_more": len(rows) - len(services),
    }
    return answer(visitor, "overview.html", values)


def urgency(row: dict[str, Any]) -> tuple[Any, ...]:
    """What is to be looked at first: jobs that nobody does, then what waits, runs, and has failed."""
    stuck = bool(row["waiting"]) and (not row["workers"] or row["paused"])
    return (not stuck, -row["waiting"], -row["running"], -row["failed"], row["service"])


def _tiles(
    stats: dict[str, Any], rows: list[dict[str, Any]], told: dict[str, Any], commits: dict[str, Any]
) -> list[tuple[str, str, str]]:
    """The name, the value and the colour of each."""
    ages = [row["oldest_s"] for row in rows if row["oldest_s"] is not None]
    running, slots = sum(row["running"] for row in rows), plots.last(told["figures"]["slots"])
    rates = stats["rates"]
    return [
        ("waiting", number(sum(row["waiting"] for row in rows)), "waiting"),
        ("running of slots", f"{number(running)} / {number(slots)}", "running"),
        ("done", plots.rate(rates["complete"]), "complete"),
        ("failed", plots.rate(rates["failed"]), "failed"),
        ("oldest waiting", span(max(ages, default=None)), ""),
        ("commit p99", span(plots.last(commits["figures"]["commit_p99"])), ""),
    ]


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
