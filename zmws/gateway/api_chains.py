"""/api/v1/chains: jobs of which each begins when the one before has completed (docs/http.md)."""

from __future__ import annotations

from starlette.responses import Response

from zmws.core.table import no_such
from zmws.errors import Refused
from zmws.gateway.answers import API
from zmws.gateway.api_batches import whole_id
from zmws.gateway.api_jobs import job_of
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.given import check_service, json_object
from zmws.gateway.keys import check_same, job_id_of
from zmws.gateway.problems import Problem, status_of

CHAIN_FIELDS = ("chain", "id", "batch")


async def submit(visitor: Visitor) -> Response:
    """POST /chains: `{chain: [step, ...], id?, batch?}`, as an item of zmws.submit."""
    asked = await json_object(visitor.request)
    for name in asked:
        if name not in CHAIN_FIELDS:
            raise Problem(400, "bad_option", no_such(name, "field of a chain", CHAIN_FIELDS))
    steps = asked.get("chain")
    if not isinstance(steps, list):
        raise Problem(400, "bad_request", "'chain' must be a list of steps, each an object with a 'service'")
    for step in steps:
        if isinstance(step, dict) and isinstance(step.get("service"), str):
            check_service(step["service"])
    chain_id = whole_id(visitor, asked)
    (verdict,) = await visitor.submit_items([asked])
    if "code" in verdict:
        code, text = str(verdict["code"]), str(verdict["error"])
        raise Problem(status_of(code), code, text, id=chain_id)
    if verdict["existing"] and job_id_of(visitor.request, visitor.who) is not None:
        step = {name: one for name, one in steps[0].items() if name != "previous"}
        service, params, _ = job_of(step)
        await check_same(visitor, verdict["id"], service, params)
    first = visitor.url(f"{API}/jobs/{verdict['id']}")
    told = {
        "id": verdict.get("chain", chain_id),
        "first": verdict["id"],
        "steps": len(steps),
        "existing": verdict["existing"],
        "links": {"first": first, "family": f"{first}/family"},
    }
    return json_answer(told, 200 if verdict["existing"] else 202, {"location": first})


async def cancel(visitor: Visitor) -> Response:
    """POST /chains/ID/cancel: the step that has not ended; none comes after it."""
    chain_id = visitor.path["id"]
    told = await visitor.ask("zmws.cancel", {"chain": chain_id})
    if not told["count"]:
        found = await visitor.ask("zmws.jobs", {"chain": chain_id, "limit": 1})
        if not found["jobs"]:
            raise Refused("unknown_job", f"there is no job of a chain '{chain_id}'")
    return json_answer({"id": chain_id, **told})
