"""/api/v1/batches: jobs whose end together is waited for (docs/http.md, docs/protocol.md, Batches).

Rule 1: a repeat is the same batch, and the same jobs: those that name no id have one that follows from the
        batch's and their place.
Rule 2: a batch that is opened with its jobs is closed only when all of them were taken. Else what is to
        follow would follow without those that were refused.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from zmws import ids
from zmws.core.desk.questions import QUESTIONS
from zmws.core.table import no_such
from zmws.gateway.answers import API
from zmws.gateway.api_jobs import MANY_S, check_count, many_of, verdicts_on
from zmws.gateway.desk import WAIT_PART_S, Visitor, json_answer
from zmws.gateway.given import json_object, query_of, wait_of
from zmws.gateway.keys import as_id, check_id, job_id_of
from zmws.gateway.masks import batch_for_viewers
from zmws.gateway.problems import Problem

FIELDS = tuple(name for name in QUESTIONS["zmws.open"] if name not in ("ask", "by"))
KEY_ID_MAX = 100  # characters: an id of a batch is shorter than one of a job


async def open_one(visitor: Visitor) -> Response:
    """POST /batches: with `jobs` they are added, and it is closed."""
    asked = await json_object(visitor.request)
    for name in asked:
        if name not in (*FIELDS, "jobs"):
            raise Problem(400, "bad_request", no_such(name, "field of a batch", (*FIELDS, "jobs")))
    jobs = asked.pop("jobs", None)
    if jobs is not None:
        if not isinstance(jobs, list):
            raise Problem(400, "bad_request", "'jobs' must be a list of jobs, as POST /jobs takes each")
        check_count(visitor, jobs)
    batch_id = whole_id(visitor, asked)
    row = await visitor.ask("zmws.open", asked)
    status = 200 if row["existing"] else 201
    existing = {"existing": row["existing"]}
    verdicts: dict[str, Any] = {}
    if jobs is not None:
        told = await verdicts_on(visitor, jobs, lambda n: f"{batch_id}:{n + 1}", batch_id)
        verdicts["jobs"] = told
        do = "zmws.close" if all(one["status"] < 400 for one in told) else "zmws.batch"
        row = await visitor.ask(do, {"id": batch_id})
    headers = {"location": visitor.url(f"{API}/batches/{batch_id}")}
    return json_answer({**row, **existing, **verdicts}, status, headers)


def whole_id(visitor: Visitor, asked: dict[str, Any]) -> str:
    """The id of what has jobs with ids made of it, put into what is asked: its own, what an Idempotency-Key
    stands for, or a new one. Raises Problem."""
    key_id, given = job_id_of(visitor.request, visitor.who), asked.get("id")
    if key_id is not None and given is not None and given != key_id:
        raise Problem(400, "bad_request", "give an Idempotency-Key or an 'id', not both")
    check_id(visitor, given)
    if isinstance(given, str):
        check_id(visitor, f"{given}:")  # those of its jobs
    if key_id is not None:
        key_id = as_id(key_id, KEY_ID_MAX)
    if given is None:
        asked["id"] = key_id or ids.new_id()
    return str(asked["id"])


async def page(visitor: Visitor) -> Response:
    """GET /batches?state=&limit=&cursor=."""
    told = await visitor.ask("zmws.batches", query_of(visitor.request, "zmws.batches"))
    headers = {}
    if told["next"] is not None:
        query = visitor.request.query_params.multi_items()
        more = urlencode([*((n, v) for n, v in query if n != "cursor"), ("cursor", told["next"])])
        headers["link"] = f'<{visitor.url(f"{API}/batches")}?{more}>; rel="next"'
    return json_answer({**told, "batches": [_seen(visitor, row) for row in told["batches"]]}, 200, headers)


def _seen(visitor: Visitor, row: dict[str, Any]) -> dict[str, Any]:
    return batch_for_viewers(row) if visitor.is_masked else row


async def show(visitor: Visitor) -> Response:
    """GET /batches/ID?wait=: how it is; 202 if it has not ended in that time."""
    asked, wait_s = {"id": visitor.path["id"]}, wait_of(visitor.request, visitor.desk.settings.wait_max)
    row = await visitor.ask("zmws.batch", asked)
    if not wait_s or row["ended_at"] is not None:
        return json_answer(_seen(visitor, row))
    until = time.monotonic() + wait_s
    with visitor.desk.place():
        while (left := until - time.monotonic()) > 0:
            part = min(left, WAIT_PART_S)
            waiting = visitor.ask_status("zmws.batch", {**asked, "timeout": part}, part)
            status, told = await visitor.patiently(waiting, (202, row))
            row = told
            if status == 200:
                return json_answer(_seen(visitor, row))
    return json_answer(_seen(visitor, row), 202, {"retry-after": "1"})


async def add(visitor: Visitor) -> Response:
    """POST /batches/ID/jobs: a verdict for each, in their order."""
    batch_id, jobs = visitor.path["id"], await many_of(visitor)
    key_id = job_id_of(visitor.request, visitor.who)
    await visitor.ask("zmws.batch", {"id": batch_id})  # where there is none, that is what is told
    told = await verdicts_on(visitor, jobs, lambda n: f"{key_id}:{n}" if key_id else None, batch_id)
    return json_answer(told)


async def close(visitor: Visitor) -> Response:
    """POST /batches/ID/close."""
    asked: Mapping[str, Any] = {"id": visitor.path["id"]}
    return json_answer(_seen(visitor, await visitor.ask("zmws.close", asked)))


async def cancel(visitor: Visitor) -> Response:
    """POST /batches/ID/cancel: all of its jobs that have not ended."""
    batch_id = visitor.path["id"]
    await visitor.ask("zmws.batch", {"id": batch_id})
    told = await visitor.ask("zmws.cancel", {"batch": batch_id}, MANY_S)
    return json_answer({"id": batch_id, **told})
