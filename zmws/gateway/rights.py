"""What a token may ask of the broker, which takes the gateway's word for it (docs/security.md).

Rule: it is the broker's own table (core/desk/permits.py) that says what a question needs; here it is looked
up for a token, before the question leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zmws.core.desk.permits import NEEDS, fault_of, job_fault, job_id_in, sees
from zmws.core.desk.why_page import for_tenant
from zmws.core.key import SUBMIT, WORK, Key, unique_of
from zmws.core.keys import batch_fault, missing, other_group
from zmws.errors import Refused
from zmws.gateway.problems import Problem

if TYPE_CHECKING:
    from zmws.client.asynchronous import AsyncClient
    from zmws.gateway.tokens import Who


async def check_question(client: AsyncClient, who: Who, service: str, asked: dict[str, Any]) -> None:
    """Raises Problem where a token may not ask this. Where it is bound to a group, the question is."""
    key = who.key
    if key is None:
        return
    fault = fault_of(key, service, asked)
    job_id = job_id_in(key, service, asked)
    if fault is None and (job_id is not None or service == _COPY):
        job = await _job(client, asked["id"] if job_id is None else job_id)
        if job is None and NEEDS[service].of == "token":
            return  # whoever asks is told so
        if job is None:  # by the time the question comes there may be another of that id
            raise Refused("unknown_job", f"there is no job '{job_id}', or its record has been forgotten")
        if job_id is not None:
            fault = job_fault(key, service, job["service"], job["group"], job["submitter"])
        if fault is None and service == _COPY:
            return _check_copy(who, key, job, asked)
    if fault is None:
        fault = await _batch_fault(client, key, service, asked)
    if fault is not None:
        raise Problem(403, "not_allowed", fault)
    made = list(_made_by(key, service, asked))
    if made:
        check_submit(who, made)


async def _batch_fault(client: AsyncClient, key: Key, service: str, asked: dict[str, Any]) -> str | None:
    """Why a token may not ask this of the batch that it names; one that it opens is of its group."""
    rights = NEEDS[service].rights if service in _OF_BATCHES else ()
    if service == "zmws.open" and key.row.group is not None:
        if asked.get("group") not in (None, key.row.group):
            return other_group(key)
        asked["group"] = key.row.group
    if not rights or "id" not in asked or any(key.may_all(right) for right in rights):
        return None
    try:
        row = await client.ask("zmws.batch", {"id": asked["id"]})
    except Refused as refused:
        if refused.code != "unknown_batch":
            raise
        return None
    return batch_fault(key, rights, row["by"], row["group"])


_OF_BATCHES = ("zmws.open", "zmws.close", "zmws.batch")


async def _job(client: AsyncClient, job_id: str) -> dict[str, Any] | None:
    """A job; None if there is none. What else keeps it from being known keeps the question from leaving."""
    try:
        return dict(await client.ask("zmws.job", {"id": job_id}))
    except Refused as refused:
        if refused.code != "unknown_job":
            raise
        return None


def _check_copy(who: Who, key: Key, job: Mapping[str, Any], asked: dict[str, Any]) -> None:
    """A copy is a job that is submitted: for the service and the ends of the other, unless it has its own."""
    if key.row.group is not None and job["group"] != key.row.group:
        raise Problem(403, "not_allowed", other_group(key))
    item = {name: asked.get(name, job.get(name)) for name in (*_NAMING, "group")}
    if "unique" in asked:
        item["unique"] = asked["unique"]
    check_submit(who, [item])
    asked |= {name: item[name] for name in ("group", "unique") if item.get(name) is not None}


_COPY = "zmws.copy"


def _made_by(key: Key, service: str, asked: Mapping[str, Any]) -> Iterator[Any]:
    """The jobs that a question makes, now or later, as items."""
    if service == "zmws.open":
        yield from (asked[name] for name in ("then", "failed") if asked.get(name) is not None)
    elif service == "zmws.report" and isinstance(asked.get("enqueue"), list) and not key.may_all(WORK):
        yield from asked["enqueue"]


def seen(who: Who, service: str, answer: Any) -> Any:
    """Of a list of services or workers what a token may see; of why a job waits what a tenant may."""
    key = who.key
    if key is not None and key.row.group is not None and service == "zmws.why" and "ahead" in answer:
        return for_tenant(answer)
    if key is None or service not in ("zmws.services", "zmws.workers") or not isinstance(answer, list):
        return answer
    return [
        row for row in answer if all(sees(key, name) for name in row.get("services", [row.get("service")]))
    ]


def check_whole(who: Who, right: str, what: str) -> None:
    """Raises Problem where a token has a right for some services alone, and this shows all of them."""
    if who.key is not None and not who.key.may_all(right):
        text = f"the token '{who.name}' has no right '{right}' for all services, and {what} shows all"
        raise Problem(403, "not_allowed", text)


def check_submit(who: Who, items: Iterable[Any]) -> None:
    """Raises Problem where a token may not submit one of these items (as zmws.submit has them). They are of
    its group, if it is bound to one, and count for it, whose limits the broker looks at."""
    key = who.key
    if key is None:
        return
    for item in items:
        if not isinstance(item, dict):
            continue  # it is refused as it is
        for name in _services_of(item):
            fault = missing(key, SUBMIT, name)
            if fault is not None:
                raise Problem(403, "not_allowed", fault)
        _bind(key, item)
        item["by"] = key.name


def _services_of(item: Mapping[str, Any]) -> Iterator[str]:
    steps = item.get("chain")
    for one in [item, *(steps if isinstance(steps, list) else ())]:
        named = (one.get(name) for name in _NAMING) if isinstance(one, dict) else ()
        yield from (name for name in named if isinstance(name, str))


_NAMING = ("service", "on_complete", "on_failed")


def _bind(key: Key, item: dict[str, Any]) -> None:
    group = key.row.group
    if group is None:
        return
    steps = item.get("chain")
    for one in steps if isinstance(steps, list) else [item]:
        if not isinstance(one, dict):
            continue
        if one.get("group") not in (None, group):
            raise Problem(403, "not_allowed", other_group(key))
        one["group"] = group
        if isinstance(one.get("unique"), str):
            one["unique"] = unique_of(group, one["unique"])
