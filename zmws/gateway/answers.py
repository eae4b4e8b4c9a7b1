"""Jobs and results as answers."""

from __future__ import annotations

import base64
from typing import Any

from starlette.responses import Response

from zmws.client.asynchronous import AsyncJob
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.problems import as_json

API = "/api/v1"
BYTES = "application/octet-stream"


def accepted(visitor: Visitor, job: AsyncJob, status: int = 202) -> Response:
    """A job that was accepted, with where to look for it."""
    at = visitor.url(f"{API}/jobs/{job.id}")
    told = {"id": job.id, "service": job.service, "existing": job.existing, "durability": job.durability}
    told["links"] = {"job": at, "result": f"{at}/result", "events": f"{at}/events"}
    return json_answer(told, status, {"location": at})


def result(value: Any) -> Response:
    """A result in its own type: JSON, or bytes; several frames as a list of `{"base64"}`."""
    headers = {"cache-control": "no-store"}
    if isinstance(value, bytes):
        return Response(value, 200, headers, BYTES)
    if isinstance(value, list) and value and all(isinstance(frame, bytes) for frame in value):
        value = [{"base64": base64.b64encode(frame).decode()} for frame in value]
    return Response(as_json(value), 200, headers, "application/json")
