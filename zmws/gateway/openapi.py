"""/api/v1/openapi.json: all of this for programs (OpenAPI 3.1), with the parameters that workers told.

Rule: what the gateway itself knows is told in any case; what the broker has to be asked for, if it answers
      soon.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from zmws import __version__
from zmws.errors import ZmwsError
from zmws.gateway.answers import API
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.openapi_parts import PROBLEMS
from zmws.gateway.openapi_paths import PATHS, short_way
from zmws.gateway.openapi_schemas import SCHEMAS, Schema, ref
from zmws.wire.names import is_reserved

SERVICES_MAX = 100  # whose parameters are told
_FRESH_S = 5.0  # what was asked for so long ago is asked again
_ASK_S = 2.0  # for all of them
_ABOUT = f"""Jobs for workers in any language (docs/http.md).

HEAD is answered wherever GET is, but not by the short way, where a GET submits. Any other method is 405, with
`Allow`; OPTIONS from a page of `origins` is 204. What is no HTTP, or has a head without an end, is 400 in
plain text. Where a token is sent, it must be one of this gateway's, also where none is needed.
`?wait=` and `Prefer: wait=` are cut to `wait_max`.

At most {SERVICES_MAX} services are told here by name, with the JSON Schema of their parameters as their
workers told it; {API}/services has them all."""
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "zmws gateway token new NAME --role ROLE"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "description": "what POST /login gives",
    },
}


async def page(visitor: Visitor) -> Response:
    """GET /openapi.json."""
    needs_token = visitor.desk.guard.needs_token
    known = visitor.desk.told_params
    if time.monotonic() - known[0] >= _FRESH_S:
        known = visitor.desk.told_params = (time.monotonic(), await _told(visitor))
    cookie = visitor.desk.guard.cookie
    return json_answer(document(visitor.visit.prefix, needs_token, known[1], cookie))


def document(prefix: str, needs_token: bool, told: Mapping[str, Schema], cookie: str) -> dict[str, Any]:
    """The document. `prefix`: what the visitor has to put before paths; `needs_token`: nobody may come in
    without one; `told`: the schemas of parameters by service; `cookie`: the name of the login's."""
    paths, schemas = dict(PATHS), dict(SCHEMAS)
    for name, schema in told.items():
        key = _key(name, schemas)
        schemas[key] = {"title": f"The parameters of {name}", **_moved(schema, key)}
        paths |= {path: one for path, one in _of_service(name, key).items() if path not in PATHS}
    return {
        "openapi": "3.1.0",
        "info": {"title": "zmws", "version": __version__, "description": _ABOUT},
        "servers": [{"url": prefix or "/"}],
        "security": [*([] if needs_token else [{}]), *({name: []} for name in _SCHEMES)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): problem for status, problem in PROBLEMS.items()},
            "securitySchemes": {**_SCHEMES, "cookie": {**_SCHEMES["cookie"], "name": cookie}},
        },
    }


async def _told(visitor: Visitor) -> dict[str, Schema]:
    """The schemas that workers told, by service: as many as the broker tells in time."""
    found: dict[str, Schema] = {}

    async def look(name: str) -> None:
        params = (await visitor.ask("zmws.service", {"service": name}))["params"]
        if isinstance(params, dict):
            found[name] = params

    try:
        async with asyncio.timeout(_ASK_S):
            rows = await visitor.ask("zmws.services")
            names = [row["service"] for row in rows if not is_reserved(row["service"])]
            await asyncio.gather(*map(look, names[:SERVICES_MAX]), return_exceptions=True)
    except (ZmwsError, TimeoutError):
        pass  # the rest is told all the same
    return dict(sorted(found.items()))


def _of_service(name: str, key: str) -> dict[str, Any]:
    """The paths of one service."""
    return short_way(name, quote(name, safe="!$&'()*+,;=:@"), ref(key), "services with a schema")


def _key(name: str, taken: Mapping[str, Any]) -> str:
    """A name for a component, which may not have every character that a service's may."""
    key = "params." + re.sub(r"[^A-Za-z0-9._-]", "_", name)
    while key in taken:
        key += "_"
    return key


def _moved(schema: Any, key: str) -> Any:
    """A schema whose references to its own parts still hold, now that it is a part of the document."""
    if isinstance(schema, list):
        return [_moved(one, key) for one in schema]
    if not isinstance(schema, dict) or isinstance(schema.get("$id"), str):
        return schema
    moved = {name: _moved(value, key) for name, value in schema.items()}
    at = moved.get("$ref")
    if isinstance(at, str) and (at == "#" or at.startswith("#/")):
        moved["$ref"] = f"#/components/schemas/{key}{at[1:]}"
    return moved
