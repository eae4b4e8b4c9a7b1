"""/api/v1: figures over time, what each worker did, failures by cause, why a job waits, warnings, the audit
(docs/protocol.md, Insight)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zmws.core.table import no_such
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.given import json_object, query_of
from zmws.gateway.problems import Problem


async def series(visitor: Visitor) -> Response:
    """GET /series."""
    return await _asked(visitor, "zmws.series", {})


async def series_of_service(visitor: Visitor) -> Response:
    """GET /services/NAME/series."""
    return await _asked(visitor, "zmws.series", {"service": visitor.path["name"]})


async def failures(visitor: Visitor) -> Response:
    """GET /failures."""
    return await _asked(visitor, "zmws.failures", {})


async def failures_of_service(visitor: Visitor) -> Response:
    """GET /services/NAME/failures."""
    return await _asked(visitor, "zmws.failures", {"service": visitor.path["name"]})


async def lanes(visitor: Visitor) -> Response:
    """GET /lanes."""
    return json_answer(await visitor.ask("zmws.lanes", query_of(visitor.request, "zmws.lanes", ())))


async def _asked(visitor: Visitor, service: str, of: dict[str, Any]) -> Response:
    question = query_of(visitor.request, service, ("service",))
    return json_answer(await visitor.ask(service, {**question, **of}))


async def why(visitor: Visitor) -> Response:
    """GET /jobs/ID/why."""
    return json_answer(await visitor.ask("zmws.why", {"id": visitor.path["id"]}))


async def warnings(visitor: Visitor) -> Response:
    """GET /warnings."""
    return json_answer(await visitor.ask("zmws.warnings"))


async def audit(visitor: Visitor) -> Response:
    """GET /audit."""
    return await _asked(visitor, "zmws.audit", {})


async def mark(visitor: Visitor) -> Response:
    """POST /marks."""
    asked = await json_object(visitor.request)
    for name in asked:
        if name not in ("text", "service"):
            raise Problem(400, "bad_request", no_such(name, "field of a mark", ("text", "service")))
    return json_answer(await visitor.ask("zmws.mark", asked))
