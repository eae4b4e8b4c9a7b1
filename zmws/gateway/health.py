"""/healthz and /readyz (docs/http.md, Health)."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from zmws.errors import ZmwsError
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.metrics import PATIENCE_S
from zmws.gateway.problems import Problem


async def healthz(visitor: Visitor) -> Response:
    """This process answers."""
    return json_answer({"status": "ok"})


async def readyz(visitor: Visitor) -> Response:
    """The broker answers too, and takes jobs; else 503."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            stats = await visitor.desk.client.ask("zmws.stats")  # whoever asks
    except (ZmwsError, TimeoutError) as fault:
        raise Problem(503, "no_broker", str(fault) or "the broker does not answer") from None
    if stats["store_is_full"]:
        raise Problem(503, "disk_full", "the broker takes no new jobs: its store is full")
    if stats["store_waits_for"]:
        raise Problem(503, "store_waits", f"the broker's commits wait for {stats['store_waits_for']}")
    if visitor.desk.tokens_fault:
        text = f"the broker does not tell this gateway which tokens there are: {visitor.desk.tokens_fault}"
        raise Problem(503, "no_tokens", text)
    return json_answer({"status": "ready", "broker": stats["version"]})
