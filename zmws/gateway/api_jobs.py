"""/api/v1/jobs: submit, look, wait, cancel, retry, copy, delete (docs/http.md)."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from zmws.client.answers import outcome_of
from zmws.client.asynchronous import AsyncJob
from zmws.core.options import JOB_OPTIONS
from zmws.core.question import FILTER_KEYS
from zmws.core.states import COMPLETE, FINAL_STATES
from zmws.core.table import no_such
from zmws.errors import BadJson, JobFailed, JobTimeout, Refused, ZmwsError
from zmws.gateway.answers import API, accepted, result
from zmws.gateway.desk import WAIT_PART_S, Visitor, json_answer
from zmws.gateway.given import (
    JSON_TYPES,
    NDJSON_TYPES,
    check_service,
    content_type,
    json_body,
    json_object,
    preferred_wait,
    query_of,
    wait_of,
)
from zmws.gateway.guard import joined
from zmws.gateway.keys import as_id, check_id, check_same, job_id_of, own_id, reused
from zmws.gateway.masks import masked, record_for_viewers
from zmws.gateway.problems import Problem, error_members, problem_of, status_of
from zmws.wire.values import field_of, json_in

_FIELDS = ("service", "params", "params_base64")


# ---------------------------------------------------------------- submit


async def submit(visitor: Visitor) -> Response:
    """POST /jobs."""
    asked = await json_object(visitor.request)
    service, params, options = job_of(asked)
    key_id = own_id(visitor, options)
    wait_s = preferred_wait(visitor.request, visitor.desk.settings.wait_max)
    try:
        bound = visitor.bound(service, options)
        job: AsyncJob = await visitor.desk.client.submit(service, params, **bound)
    except Refused as refused:
        if refused.code == "id_conflict" and key_id is not None:
            raise reused() from None
        raise _with_id(refused, options["id"]) from None
    except ZmwsError as fault:
        raise _with_id(fault, options["id"]) from None
    if job.existing and key_id == job.id:
        await check_same(visitor, job.id, service, params)
    if wait_s is None:
        return accepted(visitor, job, 200 if job.existing else 202)
    try:
        record = await _ended(visitor, job.id, wait_s)
    except ZmwsError as fault:
        raise _with_id(fault, job.id) from None
    except Problem:  # nobody more may wait here: it was accepted all the same
        return accepted(visitor, job, 200 if job.existing else 202)
    applied = {"preference-applied": f"wait={wait_s:g}"}
    if record is None:
        answer = accepted(visitor, job, 200 if job.existing else 202)
        answer.headers.update(applied)
        return answer
    return json_answer(record, 200, {"location": visitor.url(f"{API}/jobs/{job.id}"), **applied})


def _with_id(fault: ZmwsError, job_id: Any) -> Problem:
    problem = problem_of(fault, job_id if isinstance(job_id, str) else None)
    assert problem is not None
    return problem


def job_of(asked: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Service, parameters and options of a job. Raises Problem."""
    service = asked.get("service")
    if not isinstance(service, str):
        raise Problem(400, "bad_request", "'service' must name the service, a text")
    check_service(service)
    for name in asked:
        if name not in JOB_OPTIONS and name not in _FIELDS:
            text = no_such(name, "field of a job", (*_FIELDS, *JOB_OPTIONS))
            raise Problem(400, "bad_option", text)
    params = asked.get("params")
    if (coded := asked.get("params_base64")) is not None:
        if params is not None:
            raise Problem(400, "bad_request", "give 'params' or 'params_base64', not both")
        params = _bytes(coded)
    return service, params, {name: asked[name] for name in JOB_OPTIONS if asked.get(name) is not None}


def _bytes(coded: Any) -> bytes:
    try:
        return base64.b64decode(coded, validate=True)
    except (TypeError, ValueError):
        raise Problem(400, "bad_request", "'params_base64' is not base64") from None


async def submit_many(visitor: Visitor) -> Response:
    """POST /jobs/many: a verdict for each, in their order."""
    jobs = await many_of(visitor)
    key_id = job_id_of(visitor.request, visitor.who)
    return json_answer(await verdicts_on(visitor, jobs, lambda n: f"{key_id}:{n}" if key_id else None))


async def verdicts_on(
    visitor: Visitor, jobs: list[Any], key_of: Callable[[int], str | None], batch: str | None = None
) -> list[dict[str, Any]]:
    """Submit many jobs; what became of each, in their order. `key_of`: what the id of one that names none is
    made of, by its place from 0, so that a repeat is the same job; `batch`: all are members of that one."""
    made: list[dict[str, Any]] = []
    asked: list[tuple[int, dict[str, Any]]] = []
    for n, one in enumerate(jobs):
        made.append({})
        try:
            if isinstance(one, Problem):
                raise one
            if not isinstance(one, dict):
                raise Problem(400, "bad_request", "each job is an object with a 'service'")
            service, params, options = job_of(one)
            check_id(visitor, options.get("id"))
            if batch is not None and options.setdefault("batch", batch) != batch:
                raise Problem(400, "bad_option", f"'batch' is another than '{batch}', to which it is added")
            if (key := key_of(n)) is not None:
                options.setdefault("id", as_id(key))
            asked.append((n, {"service": service, "params": params, **visitor.bound(service, options)}))
        except Problem as wrong:
            made[n] = _verdict(wrong.status, wrong.code, str(wrong))
    verdicts = await visitor.desk.client.submit_many([job for _, job in asked])
    visitor.desk.looks.clear()
    for (n, job), verdict in zip(asked, verdicts, strict=True):
        if isinstance(verdict, Refused):
            made[n] = _verdict(status_of(verdict.code), verdict.code, str(verdict))
            continue
        told = {"id": verdict.id, "existing": verdict.existing, "durability": verdict.durability}
        made[n] = {"status": 200 if verdict.existing else 202, **told}
        if verdict.existing and (key := key_of(n)) is not None and verdict.id == as_id(key):
            try:
                await check_same(visitor, verdict.id, job["service"], job["params"])
            except Problem as wrong:
                made[n] = _verdict(wrong.status, wrong.code, str(wrong))
    return made


def _verdict(status: int, code: str, text: str) -> dict[str, Any]:
    return {"status": status, "code": code, "error": text}


async def many_of(visitor: Visitor) -> list[Any]:
    """The jobs of a list, or of lines; a line that is no JSON is a Problem in its place. Raises Problem."""
    most = visitor.desk.settings.jobs_max
    if content_type(visitor.request) not in NDJSON_TYPES:
        found = await json_body(visitor.request, (*JSON_TYPES, *NDJSON_TYPES))
        if not isinstance(found, list):
            raise Problem(
                400, "bad_request", "the body must be a JSON list of jobs, or a job a line (NDJSON)"
            )
        check_count(visitor, found)
        return found
    body = await visitor.request.body()
    if body.count(b"\n") > most:
        raise _too_many(body.count(b"\n"), most)
    jobs: list[Any] = []
    for line in body.split(b"\n"):
        if line.strip():
            try:
                jobs.append(json_in(line))
            except BadJson as wrong:
                jobs.append(Problem(400, "bad_request", f"the line is not JSON: {wrong}"))
    return jobs


def check_count(visitor: Visitor, jobs: list[Any]) -> None:
    """One request brings no more jobs than the settings allow. Raises Problem."""
    most = visitor.desk.settings.jobs_max
    if len(jobs) > most:
        raise _too_many(len(jobs), most)


def _too_many(count: int, most: int) -> Problem:
    return Problem(
        413, "too_many_jobs", f"{count:,} jobs in one request; at most {most:,} are taken (jobs_max)"
    )


# ---------------------------------------------------------------- look


async def page_of_jobs(visitor: Visitor) -> Response:
    """GET /jobs."""
    query = visitor.request.query_params
    question = query_of(visitor.request, "zmws.jobs", ("places",))
    if "q" in question and not visitor.who.may(()):
        question["places"] = "names"  # what a mask hides is not to be found out by searching for it
    page = await visitor.ask("zmws.jobs", question)
    headers = {}
    if page["next"] is not None:
        more = urlencode(
            [*((n, v) for n, v in query.multi_items() if n != "cursor"), ("cursor", page["next"])]
        )
        headers["link"] = f'<{visitor.url(f"{API}/jobs")}?{more}>; rel="next"'
    return json_answer(page, 200, headers)


def filter_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a filter that are given. Raises Problem for others."""
    for name in given:
        if name not in FILTER_KEYS:
            raise Problem(400, "bad_request", no_such(name, "filter of jobs", FILTER_KEYS))
    return {name: given[name] for name in FILTER_KEYS if given.get(name) is not None}


async def family(visitor: Visitor) -> Response:
    """GET /jobs/ID/family: the jobs that followed from each other's ends, of which one is this."""
    question = query_of(visitor.request, "zmws.family", ("id",))
    return json_answer(await visitor.ask("zmws.family", {**question, "id": visitor.path["id"]}))


async def show(visitor: Visitor) -> Response:
    """GET /jobs/ID."""
    record = await visitor.ask("zmws.job", {"id": visitor.path["id"]})
    return with_etag(visitor, record_for_viewers(record) if visitor.is_masked else record, weak=True)


def with_etag(visitor: Visitor, value: Any, weak: bool = False, tag: str | None = None) -> Response:
    """A value with its ETag, or 304 if the visitor has it. `tag`: instead of what the value says."""
    told = json.dumps(value, sort_keys=True).encode() if tag is None else tag.encode()
    etag = f'"{hashlib.blake2b(told, digest_size=12).hexdigest()}"' if tag is None else f'"{tag}"'
    etag = f"W/{etag}" if weak else etag
    headers = {"etag": etag, "cache-control": "no-cache"}
    known = joined(visitor.request.headers, "if-none-match")
    if known is not None and (known.strip() == "*" or _bare(etag) in map(_bare, known.split(","))):
        return Response(status_code=304, headers=headers)
    return json_answer(value, 200, headers)


def _bare(etag: str) -> str:
    return etag.strip().removeprefix("W/")


async def get_result(visitor: Visitor) -> Response:
    """GET /jobs/ID/result."""
    job_id, wait_s = visitor.path["id"], wait_of(visitor.request, visitor.desk.settings.wait_max)
    record = await _ended(visitor, job_id, wait_s)
    if record is None:
        state = (await visitor.ask("zmws.job", {"id": job_id}))["state"] if not wait_s else None
        told = {"id": job_id, **({"state": state} if state else {})}
        return json_answer(told, 202, {"retry-after": "1"})
    if record["state"] == COMPLETE:
        return result(masked(outcome_of(record)) if visitor.is_masked else outcome_of(record))
    try:
        outcome_of(record)
    except JobFailed as fault:
        more = {**error_members(fault, job_id), "state": record["state"]}
        raise Problem(409, fault.code, str(fault), **more) from None
    except JobTimeout as fault:
        raise Problem(409, fault.code, str(fault), id=job_id, state=record["state"]) from None
    raise AssertionError(record["state"])


async def _ended(visitor: Visitor, job_id: str, wait_s: float) -> dict[str, Any] | None:
    """The record of a job that has ended within so many seconds, else None."""
    if not wait_s:
        found: dict[str, Any] = await visitor.ask("zmws.job", {"id": job_id})
        return found if found["state"] in FINAL_STATES else None
    until = time.monotonic() + wait_s
    with visitor.desk.place():
        while (left := until - time.monotonic()) > 0:
            # Several questions: what nobody waits for any more is in the broker for one of them at most.
            part = min(left, WAIT_PART_S)
            asked = visitor.ask_status("zmws.wait", {"id": job_id, "timeout": part}, part)
            try:
                answer = await visitor.patiently(asked, (202, None))
            except Problem:
                return None  # the gateway is to end; it can be asked for again
            if answer[0] == 200:
                record: dict[str, Any] = answer[1]
                return record
            if answer[1] is None:
                return None
    return None


# ---------------------------------------------------------------- act


async def cancel(visitor: Visitor) -> Response:
    """POST /jobs/ID/cancel."""
    return await _act(visitor, "zmws.cancel")


async def retry(visitor: Visitor) -> Response:
    """POST /jobs/ID/retry."""
    return await _act(visitor, "zmws.retry", 202)


async def delete(visitor: Visitor) -> Response:
    """DELETE /jobs/ID."""
    return await _act(visitor, "zmws.delete")


async def _act(visitor: Visitor, service: str, status: int = 200) -> Response:
    told = await visitor.ask(service, {"id": visitor.path["id"]})
    return json_answer({"id": visitor.path["id"], **told}, status)


async def copy(visitor: Visitor) -> Response:
    """POST /jobs/ID/copy."""
    changes = await json_object(visitor.request)
    service = changes.get("service")
    _, params, options = job_of({**changes, "service": "" if service is None else service})
    own_id(visitor, options)
    new_id = options.pop("id")
    question = {**options, "id": visitor.path["id"], "new_id": new_id, **field_of("params", params)}
    if service is not None:
        question["service"] = service
    try:
        told = await visitor.ask("zmws.copy", question)
    except ZmwsError as fault:
        is_gone = isinstance(fault, Refused) and fault.code == "unknown_job"
        raise _with_id(fault, visitor.path["id"] if is_gone else new_id) from None
    made = visitor.desk.client.job(told["id"], told["service"])
    made.existing, made.durability = told["existing"], told["durability"]
    if made.existing and job_id_of(visitor.request, visitor.who) == made.id and params is not None:
        await check_same(visitor, made.id, made.service, params)
    return accepted(visitor, made)


async def act_on_many(visitor: Visitor) -> Response:
    """POST /jobs/cancel, /jobs/retry, /jobs/delete: all that a filter names; how many."""
    asked = await json_object(visitor.request)
    more: dict[str, Any] = {name: asked.pop(name) for name in ("all", "dry_run") if name in asked}
    question = filter_of(asked)
    verb = visitor.request.url.path.rpartition("/")[2]
    return json_answer(await visitor.ask(f"zmws.{verb}", {**question, **more}, MANY_S))


MANY_S = 600.0  # each chunk is a commit
