"""The doors of the PHP program's gateway: /SERVICE, /SYNC-SERVICE, /SERVER-WORKERS and its like
(docs/http.md).

Rule 1: a GET submits, too; so pages of other sites are refused here whatever the method, and HEAD is none.
Rule 2: what is not known of a job (the broker went away, its time is over) is told with the job's id.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zmws import ids
from zmws.client.asynchronous import AsyncJob
from zmws.errors import ZmwsError
from zmws.gateway.answers import accepted, result
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.given import check_service, job_id_of, params_of, preferred_wait
from zmws.gateway.problems import problem_of

LISTS = ("SERVER-WORKERS", "SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST")
SYNC = "SYNC-"


async def page(visitor: Visitor) -> Response:
    """A job of the service that the path names: submitted, or with SYNC- done."""
    path = visitor.path["name"]
    name = check_service(path.removeprefix(SYNC))
    options: dict[str, Any] = {"id": job_id_of(visitor.request, visitor.who) or ids.new_id()}
    params = await params_of(visitor.request)
    client, settings = visitor.desk.client, visitor.desk.settings
    try:
        if path.startswith(SYNC):
            wait_s = preferred_wait(visitor.request, settings.wait_max) or settings.sync_timeout
            return result(await client.call(name, params, timeout=wait_s, **options))
        job: AsyncJob = await client.submit(name, params, **options)
    except ZmwsError as fault:
        problem = problem_of(fault, options["id"])
        assert problem is not None
        raise problem from None
    return accepted(visitor, job)


async def lists(visitor: Visitor) -> Response:
    """What SERVER-* answers."""
    return json_answer(await visitor.desk.client.call(visitor.path["name"].removeprefix(SYNC)))
