"""placeholder"""

from __future__ import annotations

from starlette.responses import Response

from zmws.gateway.desk import Visitor, json_answer


async def page(visitor: Visitor) -> Response:
    return json_answer({})
