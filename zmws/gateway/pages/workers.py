"""/ui/workers: who works, at what, and since when; drain."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from zmws.gateway.desk import Visitor
from zmws.gateway.looks import patiently
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.lanes import lanes_of, names_of

SHOWN = 80
LANES_SHOWN = 25


async def page(visitor: Visitor) -> Response:
    """GET /ui/workers?service=."""
    looks = visitor.desk.looks
    service = visitor.request.query_params.get("service", "")
    rows, lanes, names = await asyncio.gather(
        looks.ask("zmws.workers"),
        lanes_of(visitor, LANES_SHOWN, service),
        names_of(visitor),
    )
    found = [row for row in rows if not service or service in row["services"]]
    found.sort(key=lambda row: (_ORDER.get(row["state"], 0), row["services"], row["pid"] or 0))
    values = {
        "title": "Workers",
        "current": "/ui/workers",
        "live": "",
        "workers": [{**row, "name": names.get((row["host"], row["pid"]))} for row in found[:SHOWN]],
        "more": max(0, len(found) - SHOWN),
        "count": len(found),
        "lanes": lanes,
        "service": service,
    }
    return answer(visitor, "workers.html", values)


# What is wrong comes first.
_ORDER = {"busy": 1, "idle": 2, "draining": 1}


async def drain(visitor: Visitor) -> Response:
    """POST /ui/workers/ID/drain."""
    await patiently(visitor.ask("zmws.drain", {"worker": visitor.path["id"]}))
    return go_on(visitor, "/ui/workers", "draining")
