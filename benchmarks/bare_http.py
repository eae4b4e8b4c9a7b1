"""The least that HTTP costs in this stack: starlette that returns a constant. `python bare_http.py PORT`."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def constant(request: Request) -> JSONResponse:
    """The constant."""
    return JSONResponse({"a": "1"})


if __name__ == "__main__":
    app = Starlette(routes=[Route("/", constant)])
    quiet = {"access_log": False, "log_level": "warning", "lifespan": "off"}
    # The same loop and the same parser as the gateway has.
    uvicorn.run(app, port=int(sys.argv[1]), http="h11", loop="asyncio", ws="none", **quiet)
