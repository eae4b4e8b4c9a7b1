"""/ui/failures: failed jobs by the cause of it; retry or delete all of one."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from zmws.gateway.desk import Visitor
from zmws.gateway.looks import or_none
from zmws.gateway.pages.frame import answer
from zmws.gateway.pages.rows import causes_shown

SHOWN = 50
PAGES_READ_MAX = 20  # of the broker, for one of ours


async def _causes(visitor: Visitor, question: dict[str, Any]) -> dict[str, Any]:
    """A page of causes for which jobs are failed now: those of which none is any more are passed over."""
    causes: list[dict[str, Any]] = []
    for _ in range(PAGES_READ_MAX):
        told = await visitor.desk.looks.ask("zmws.failures", question)
        causes += [one for one in told["causes"] if one["count"]]
        question = {**question, "cursor": told["next"]}
        if told["next"] is None or len(causes) >= SHOWN:
            break
    return {"causes": causes, "next": told["next"]}


async def page(visitor: Visitor) -> Response:
    """GET /ui/failures?service=&cursor=."""
    query, looks = visitor.request.query_params, visitor.desk.looks
    service, cursor = query.get("service", ""), query.get("cursor", "")
    question: dict[str, Any] = {"limit": SHOWN}
    question |= {name: text for name, text in (("service", service), ("cursor", cursor)) if text}
    told, rows = await asyncio.gather(_causes(visitor, question), or_none(looks.ask("zmws.services")))
    failed = {row["service"]: row["failed"] for row in rows or () if row["failed"]}
    values = {
        "title": "Failures",
        "current": "/ui/failures",
        "live": "" if not cursor else None,
        "causes": causes_shown(told),
        "next": told["next"],
        "service": service,
        "services": sorted(failed),
        "failed": failed.get(service, 0) if service else sum(failed.values()),
    }
    return answer(visitor, "failures.html", values)
