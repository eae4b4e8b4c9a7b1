"""The doors of the PHP program's gateway: /SERVICE, /SYNC-SERVICE, /SERVER-WORKERS and its like
(docs/http.md).

Rule 1: a GET submits, too; so pages of other sites are refused here whatever the method, and HEAD is none.
Rule 2: what is not known of a job (the broker went away, its time is over) is told with the job's id.
"""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from zmws import ids
from zmws.client.asynchronous import AsyncJob
from zmws.core.key import LOOK
from zmws.errors import ZmwsError
from zmws.gateway.answers import accepted, result
from zmws.gateway.desk import Visitor, by_of, json_answer
from zmws.gateway.given import check_service, params_of, preferred_wait
from zmws.gateway.keys import check_same, job_id_of, reused
from zmws.gateway.problems import Problem, problem_of
from zmws.gateway.rights import check_whole

LISTS = ("SERVER-WORKERS", "SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST")
SYNC = "SYNC-"


async def page(visitor: Visitor) -> Response:
    """A job of the service that the path names: submitted, or with SYNC- done."""
    path = visitor.path["name"]
    name = check_service(path.removeprefix(SYNC))
    key_id = job_id_of(visitor.request, visitor.who)
    params, job_id = await params_of(visitor.request), key_id or ids.new_id()
    try:
        if path.startswith(SYNC):
            value = await _called(visitor, name, params, job_id, cancels=key_id is None)
        else:
            options = visitor.bound(name, {"id": job_id})
            job: AsyncJob = await visitor.desk.client.submit(name, params, **options)
        if key_id is not None and (path.startswith(SYNC) or job.existing):
            await check_same(visitor, job_id, name, params)
    except (ZmwsError, Problem) as fault:
        problem = problem_of(fault, job_id)
        assert problem is not None
        if problem.code == "id_conflict" and key_id is not None:
            problem = reused()
        raise problem from None
    return result(value) if path.startswith(SYNC) else accepted(visitor, job)


async def _called(visitor: Visitor, name: str, params: Any, job_id: str, cancels: bool) -> Any:
    """The result of a call. `cancels`: if the visitor goes before, nobody can come back for it."""
    settings, client = visitor.desk.settings, visitor.desk.client
    wait_s = preferred_wait(visitor.request, settings.wait_max)
    timeout = settings.sync_timeout if wait_s is None else max(wait_s, 0.001)
    with visitor.desk.place():
        options = visitor.bound(name, {"id": job_id})
        value = await visitor.patiently(client.call(name, params, timeout=timeout, **options), _GONE)
    if value is not _GONE:
        return value
    if cancels:
        with contextlib.suppress(ZmwsError):
            await client.ask("zmws.cancel", {"id": job_id, "by": by_of(visitor.who)})
    raise ClientDisconnect


_GONE: Any = object()


async def lists(visitor: Visitor) -> Response:
    """What SERVER-* answers."""
    check_whole(visitor.who, LOOK, "this list")
    return json_answer(await visitor.desk.client.call(visitor.path["name"].removeprefix(SYNC)))
