"""/: what there is."""

from __future__ import annotations

from starlette.responses import Response

from zmws import __version__
from zmws.gateway.answers import API
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.pages.frame import go_on, is_browser


async def page(visitor: Visitor) -> Response:
    """GET /: where to go on; a browser is led to the pages."""
    if is_browser(visitor.request):
        return go_on(visitor, "/ui/")
    told = {
        "zmws": __version__,
        "call": visitor.url("/SYNC-SERVICE?name=value"),
        "submit": visitor.url("/SERVICE?name=value"),
        "api": visitor.url(f"{API}/openapi.json"),
        "services": visitor.url(f"{API}/services"),
        "pages": visitor.url("/ui/"),
        "health": visitor.url("/readyz"),
    }
    return json_answer(told)
