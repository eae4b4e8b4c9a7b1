"""/: what there is."""

from __future__ import annotations

from starlette.responses import Response

from zmws import __version__
from zmws.gateway.answers import API
from zmws.gateway.desk import Visitor, json_answer


async def page(visitor: Visitor) -> Response:
    """GET /: where to go on."""
    told = {
        "zmws": __version__,
        "call": visitor.url("/SYNC-SERVICE?name=value"),
        "submit": visitor.url("/SERVICE?name=value"),
        "api": visitor.url(f"{API}/openapi.json"),
        "services": visitor.url(f"{API}/services"),
        "health": visitor.url("/readyz"),
    }
    return json_answer(told)
