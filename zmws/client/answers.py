"""From a reply to a value or an exception, the same for both fronts; and what requests are made of."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from zmws import ids
from zmws.client.asked import waited
from zmws.client.given import filters_given, options_given
from zmws.core.states import CANCELLED, COMPLETE, EXPIRED
from zmws.errors import JobCancelled, JobFailed, JobTimeout, OptionError, Refused, ServiceUnknown, ZmwsError
from zmws.wire import values
from zmws.wire.at_client import Reply

JOB_ENDS = frozenset({"job_failed", "bad_params", "bad_reply", "worker_lost", "timeout"})

# Of zmws.cancel, .retry and .delete.
FILTERS = ("service", "state", "group", "since", "before", "parent", "chain", "batch", "all")

T = TypeVar("T")
# What takes several questions, for both fronts: yields futures, is sent their answers, returns a value.
Steps = Generator[Future[Any], Any, T]


def body_of(params: Any) -> tuple[bytes, ...]:
    """Parameters as frames. Raises BadValue for what JSON cannot hold."""
    return values.encode_value(params, "params")


def options_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a job with an id of its own, so that a repeat is the same job. Raises OptionError."""
    given = options_given(options)
    given.setdefault("id", ids.new_id())
    return given


def filter_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filter of a question that acts on many jobs. Raises TypeError for a name that is none, and
    ValueError for an empty one: a slip of the keyboard must not cancel everything."""
    wrong = sorted(set(given) - set(FILTERS))
    if wrong:
        raise TypeError(f"there is no filter '{wrong[0]}'; there are {', '.join(FILTERS)}")
    kept = {name: value for name, value in given.items() if value is not None and value is not False}
    if not kept:
        raise ValueError(f"name at least one of {', '.join(FILTERS[:-1])}, or all=True")
    return filters_given(kept)


def result_of(reply: Reply, job_id: str) -> Any:
    """The value of a synchronous call. Raises JobFailed, JobTimeout, Refused."""
    if reply.kind == "final":
        return values.value_of(reply.body)
    if reply.kind == "failed":
        raise error_of(error_in(reply.body), job_id)
    if reply.kind == "answer":  # of a service inside the broker
        return answer_of(reply)[1] if len(reply.body) == 2 else _json(reply.body[0] if reply.body else b"")
    raise ZmwsError(f"the broker answered a call with '{reply.kind}'")


def accepted(reply: Reply) -> tuple[str, dict[str, Any]]:
    """The id of an accepted job, and what the acknowledgement says of it. Raises Refused."""
    if reply.kind == "failed":
        raise error_of(error_in(reply.body), None)
    if reply.kind != "accepted":
        raise ZmwsError(f"the broker answered a submit with '{reply.kind}'")
    _, _, rest = reply.body[0].decode("utf-8", "replace").partition(" ")
    job_id = rest.partition(" ")[0]
    if not job_id:
        raise ZmwsError("the broker's acknowledgement names no job")
    note = reply.body[1][len(values.OPTS_JSON) :] if len(reply.body) > 1 else b"{}"
    return job_id, values.json_object(note) or {}


def answer_of(reply: Reply) -> tuple[int, Any]:
    """Status and JSON of a `zmws.*` service. Raises Refused from 400 on."""
    if reply.kind == "failed":
        raise error_of(error_in(reply.body), None)
    if len(reply.body) != 2 or not reply.body[0].isdigit() or len(reply.body[0]) != 3:
        raise ZmwsError("the broker's answer is not a status and a JSON frame")
    status, value = int(reply.body[0]), _json(reply.body[1])
    if status >= 400:
        if not isinstance(value, dict):
            raise ZmwsError(f"the broker refused with {status}, and does not say why")
        code, text = str(value.get("code")), str(value.get("error"))
        raise ServiceUnknown(text) if code == "unknown_service" else Refused(code, text)
    return status, value


def _json(frame: bytes) -> Any:
    """The JSON of an answer, however deep. Raises ZmwsError."""
    try:
        return json.loads(frame)
    except (ValueError, RecursionError) as wrong:
        raise ZmwsError(f"the broker's answer is not JSON: {wrong}") from None


def finished(steps: Steps[T]) -> T:
    """Take the steps one after the other, waiting for each; what they return."""
    asked: Future[Any] | None = None
    try:
        asked = next(steps)
        while True:
            try:
                answer = waited(asked)
            except Exception as fault:
                asked = steps.throw(fault)
            else:
                asked = steps.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()
        asked = None  # the traceback of what is raised must not hold what holds that


def outcome_of(record: Mapping[str, Any]) -> Any:
    """The result in a job's record. Raises JobFailed, JobCancelled or JobTimeout for other ends."""
    if record["state"] == COMPLETE:
        return values.result_from(record["result"], values.kind_of(record, "result"))
    error = dict(record.get("error") or {})
    if record["state"] == CANCELLED:
        error["code"] = "cancelled"
    if record["state"] == EXPIRED:
        error["code"] = "expired"
    raise error_of(error, str(record["id"]), ended=True)


def error_in(body: tuple[bytes, ...]) -> dict[str, Any]:
    """The ERROR of a FAIL."""
    frame = body[0] if body else b""
    return values.json_object(frame.removeprefix(values.PARAM_JSON)) or {}


def error_of(error: Mapping[str, Any], job_id: str | None, ended: bool = False) -> ZmwsError:
    """The exception that an ERROR stands for. `ended`: it is of a job that was made and ended."""
    code, text = str(error.get("code") or "job_failed"), str(error.get("error") or "the job failed")
    if code == "unknown_service":
        return ServiceUnknown(text)
    if code == "bad_option":
        return OptionError(_first_quoted(text), text)
    if code == "expired":
        return JobTimeout(text, job_id, code="expired")
    if code == "cancelled":
        return JobCancelled(text, code="cancelled", job_id=job_id, attempts=error.get("attempts"))
    if ended or code in JOB_ENDS or "attempts" in error:
        return JobFailed.of(dict(error), job_id)
    return Refused(code, text)


def _first_quoted(text: str) -> str:
    """The option that a refusal speaks of: it is the first that is named in it."""
    return text.partition("'")[2].partition("'")[0]
