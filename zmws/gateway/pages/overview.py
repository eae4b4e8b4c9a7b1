"""/ui/: how it goes, what is wrong, and what everybody does."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from zmws.gateway.desk import Visitor
from zmws.gateway.pages import plots
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.lanes import lanes_of
from zmws.gateway.pages.rows import urgency, with_sparks
from zmws.gateway.pages.shown import number, span

SERVICES_SHOWN = 15
LANES_SHOWN = 12
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
