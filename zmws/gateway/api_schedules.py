"""/api/v1/schedules: recurring jobs (docs/http.md)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zmws.core.schedule import SCHEDULE
from zmws.core.table import no_such
from zmws.gateway.answers import API
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.given import json_object
from zmws.gateway.masks import schedule_for_viewers
from zmws.gateway.problems import Problem


async def schedules(visitor: Visitor) -> Response:
    """GET /schedules."""
    told = await visitor.ask("zmws.schedules")
    return json_answer({"schedules": [_seen(visitor, row) for row in told["schedules"]]})


async def show(visitor: Visitor) -> Response:
    """GET /schedules/NAME."""
    told = await visitor.ask("zmws.schedules", {"name": visitor.path["name"]})
    return json_answer(_seen(visitor, told["schedules"][0]))


def _seen(visitor: Visitor, row: dict[str, Any]) -> dict[str, Any]:
    return schedule_for_viewers(row) if visitor.is_masked else row


async def add(visitor: Visitor) -> Response:
    """POST /schedules: a new one; with `replace` also in the place of the one that has its name."""
    asked = await json_object(visitor.request)
    return await _added(visitor, asked)


async def put(visitor: Visitor) -> Response:
    """PUT /schedules/NAME: this one, whether there was one or not."""
    asked = await json_object(visitor.request)
    name = visitor.path["name"]
    if asked.setdefault("name", name) != name:
        raise Problem(400, "bad_request", f"'name' is another than that of the address, {name[:80]!a}")
    if "replace" in asked:
        raise Problem(400, "bad_request", "PUT replaces: give no 'replace'")
    return await _added(visitor, {**asked, "replace": True})


async def _added(visitor: Visitor, asked: dict[str, Any]) -> Response:
    for name in asked:
        if name not in SCHEDULE and name != "replace":
            raise Problem(400, "bad_request", no_such(name, "field of a schedule", (*SCHEDULE, "replace")))
    known = set()
    if asked.get("replace"):
        known = {row["name"] for row in (await visitor.ask("zmws.schedules"))["schedules"]}
    row = await visitor.ask("zmws.schedule", {**asked, "do": "add"})
    at = visitor.url(f"{API}/schedules/{row['name']}")
    return json_answer(row, 200 if row["name"] in known else 201, {"location": at})


async def pause(visitor: Visitor) -> Response:
    """POST /schedules/NAME/pause."""
    return json_answer(await _told(visitor, "pause"))


async def resume(visitor: Visitor) -> Response:
    """POST /schedules/NAME/resume."""
    return json_answer(await _told(visitor, "resume"))


async def run(visitor: Visitor) -> Response:
    """POST /schedules/NAME/run: once more, now."""
    told = await _told(visitor, "run")
    at = visitor.url(f"{API}/jobs/{told['id']}")
    return json_answer({**told, "links": {"job": at, "result": f"{at}/result"}}, 202, {"location": at})


async def remove(visitor: Visitor) -> Response:
    """DELETE /schedules/NAME."""
    await _told(visitor, "remove")
    return json_answer({"name": visitor.path["name"]})


async def _told(visitor: Visitor, verb: str) -> Any:
    return await visitor.ask("zmws.schedule", {"do": verb, "name": visitor.path["name"]})
