"""What is told of what went wrong: `application/problem+json` (RFC 9457), with our `code` and the job's `id`.

Rule: each code of docs/errors.md has its status here; one that has none is 500.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from zmws.errors import (
    BadJson,
    BadParams,
    BadValue,
    BrokerUnreachable,
    JobCancelled,
    JobFailed,
    JobTimeout,
    Refused,
    ZmwsError,
)

TYPE = "https://github.com/zmws/zmws/blob/main/docs/errors.md#"
RETRY_AFTER_S = 1

_STATUS = {
    "bad_service": 400,
    "bad_option": 400,
    "bad_request": 400,
    "bad_params": 400,
    "not_allowed": 403,
    "unknown_service": 404,
    "unknown_job": 404,
    "unknown_worker": 404,
    "unknown_batch": 404,
    "unknown_schedule": 404,
    "id_conflict": 409,
    "batch_closed": 409,
    "exists": 409,
    "not_possible": 409,
    "token_dead": 409,
    "changed": 412,
    "too_large": 413,
    "queue_full": 429,
    "rate_limited": 429,
    "too_many_lists": 429,
    "too_many_waits": 429,
    "too_many_jobs": 429,
    "too_many_batches": 429,
    "too_many_schedules": 429,
    "broker_fault": 500,
    "disk_full": 503,
    "no_answer": 503,
}
_LATER = (429, 503)  # worth trying again


class Problem(Exception):
    """The answer to a request that went wrong."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """`code`: one word of docs/errors.md; `more`: further members, left out where they are None."""
        super().__init__(detail)
        self.status, self.code = status, code
        self.headers = dict(headers or {})
        self.more = {name: value for name, value in more.items() if value is not None}

    def body(self) -> dict[str, Any]:
        """As RFC 9457 has it."""
        told = {"type": f"{TYPE}{self.code}", "title": HTTPStatus(self.status).phrase, "status": self.status}
        return {**told, "detail": str(self), "code": self.code, **self.more}

    def response(self) -> Response:
        """The answer."""
        headers = {"cache-control": "no-store", **self.headers}
        if self.status in _LATER:
            headers.setdefault("retry-after", str(RETRY_AFTER_S))
        return Response(as_json(self.body()), self.status, headers, "application/problem+json")


def problem_of(fault: Exception, job_id: str | None = None) -> Problem | None:
    """What is to be told of a fault; None where it is one of our own. `job_id`: of the job that was asked
    for."""
    if isinstance(fault, Problem):
        return fault
    if isinstance(fault, HTTPException):
        code = {404: "no_such_page", 405: "no_such_method"}.get(fault.status_code, "bad_request")
        detail = fault.detail if fault.status_code not in (404, 405) else _PAGES[fault.status_code]
        return Problem(fault.status_code, code, detail, fault.headers)
    if isinstance(fault, BrokerUnreachable):
        return Problem(503, "no_broker", str(fault), id=job_id, maybe_accepted=fault.maybe_accepted)
    if isinstance(fault, JobTimeout):
        return Problem(504, fault.code, str(fault), id=fault.job_id or job_id)
    if isinstance(fault, JobFailed):
        return Problem(500, fault.code, str(fault), **error_members(fault, job_id))
    if isinstance(fault, Refused):
        return Problem(_STATUS.get(fault.code, 500), fault.code, str(fault), id=job_id)
    if isinstance(fault, BadParams | BadJson | BadValue):
        return Problem(400, "bad_request", str(fault))
    if isinstance(fault, ZmwsError):
        return Problem(503, "no_broker", str(fault), id=job_id)
    return None


_PAGES = {
    404: "there is no such page; /api/v1/openapi.json lists what there is",
    405: "this page does not take that method; 'Allow' says which it takes",
}


def error_members(fault: JobFailed, job_id: str | None) -> dict[str, Any]:
    """The ERROR of a job that failed, as members of a problem."""
    state = "cancelled" if isinstance(fault, JobCancelled) else "failed"
    told = {"error": str(fault), "exception": fault.type, "traceback": fault.traceback}
    return {"id": fault.job_id or job_id, "state": state, "attempts": fault.attempts, **told}


def status_of(code: str) -> int:
    """The status of a refusal with this code."""
    return _STATUS.get(code, 500)


def as_json(value: Any) -> bytes:
    """JSON in UTF-8; what UTF-8 cannot hold (half a surrogate pair) is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
