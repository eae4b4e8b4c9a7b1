"""/api/v1/services, /workers, /stats (docs/http.md)."""

from __future__ import annotations

from starlette.responses import Response

from zmws.core.options import LIMITS
from zmws.core.table import no_such
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.given import json_object, query_of
from zmws.gateway.guard import joined
from zmws.gateway.problems import Problem

_CHANGES = (*LIMITS, "paused")


async def services(visitor: Visitor) -> Response:
    """GET /services."""
    return json_answer(await visitor.ask("zmws.services"))


async def show(visitor: Visitor) -> Response:
    """GET /services/NAME; its ETag is for If-Match of a change."""
    row = await visitor.ask("zmws.service", {"service": visitor.path["name"]})
    answer = json_answer(row, 200, {"etag": f'"{row["version"]}"'})
    return answer


async def change(visitor: Visitor) -> Response:
    """PATCH /services/NAME: paused, and limits; null: as the configuration says."""
    asked = await json_object(visitor.request)
    for name in asked:
        if name not in _CHANGES:
            raise Problem(
                400, "bad_request", no_such(name, "field of a service that can be changed", _CHANGES)
            )
    if "paused" in asked and asked["paused"] is None:
        raise Problem(400, "bad_request", "'paused' must be true or false")
    if not asked:
        raise Problem(400, "bad_request", f"name at least one of {', '.join(_CHANGES)}")
    question = {"service": visitor.path["name"], **asked}
    match = [one.strip() for one in (joined(visitor.request.headers, "if-match") or "*").split(",")]
    if "*" not in match:
        known = await visitor.ask("zmws.service", {"service": visitor.path["name"]})
        wanted = [one.removeprefix("W/").strip('"') for one in match]  # a proxy that packs weakens it
        question["version"] = known["version"] if known["version"] in wanted else "another"
    row = await visitor.ask("zmws.limit", question)
    return json_answer(row, 200, {"etag": f'"{row["version"]}"'})


async def purge(visitor: Visitor) -> Response:
    """POST /services/NAME/purge."""
    return json_answer(await visitor.ask("zmws.purge", {"service": visitor.path["name"]}, 600.0))


async def peek(visitor: Visitor) -> Response:
    """GET /services/NAME/peek: the jobs that are next."""
    question = query_of(visitor.request, "zmws.peek", ("service",))
    return json_answer(await visitor.ask("zmws.peek", {**question, "service": visitor.path["name"]}))


async def workers(visitor: Visitor) -> Response:
    """GET /workers."""
    return json_answer(await visitor.ask("zmws.workers"))


async def drain(visitor: Visitor) -> Response:
    """POST /workers/ID/drain."""
    return json_answer(await visitor.ask("zmws.drain", {"worker": visitor.path["id"]}))


async def stats(visitor: Visitor) -> Response:
    """GET /stats."""
    return json_answer(await visitor.ask("zmws.stats"))
