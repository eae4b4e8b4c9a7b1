"""What a token may ask of the broker, which takes the gateway's word for it (docs/security.md).

Rule: it is the broker's own table (core/desk/permits.py) that says what a question needs; here it is looked
up for a token, before the question leaves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zmws.core.desk.permits import fault_of, job_fault, job_id_in, sees
from zmws.core.key import SUBMIT, WORK, Key
from zmws.core.keys import missing
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
    if fault is None and job_id is not None:
        job = await _job(client, job_id)
        if job is None:
            return  # whoever asks is told so
        fault = job_fault(key, service, job["service"], job["group"], None)
    if fault is not None:
        raise Problem(403, "not_allowed", fault)
    if service == "zmws.copy":
        return await _check_copy(client, who, key, asked)
    made = list(_made_by(key, service, asked))
    if made:
        check_submit(who, made, time.monotonic())


async def _job(client: AsyncClient, job_id: str) -> dict[str, Any] | None:
    """A job; None if there is none. What else keeps it from being known keeps the question from leaving."""
    try:
        return dict(await client.ask("zmws.job", {"id": job_id}))
    except Refused as refused:
        if refused.code != "unknown_job":
            raise
        return None


async def _check_copy(client: AsyncClient, who: Who, key: Key, asked: dict[str, Any]) -> None:
    """A copy is a job that is submitted: for the service and the ends of the other, unless it has its own."""
    job = await _job(client, asked["id"])
    if job is None:
        return
    if key.row.group is not None and job["group"] != key.row.group:
        raise Problem(403, "not_allowed", f"the token '{key.name}' is for jobs of its group alone")
    item = {name: asked.get(name, job.get(name)) for name in (*_NAMING, "group", "unique")}
    check_submit(who, [item], time.monotonic())
    if key.row.group is not None:
        asked["group"] = key.row.group


def _made_by(key: Key, service: str, asked: Mapping[str, Any]) -> Iterator[Any]:
    """The jobs that a question makes, now or later, as items."""
    if service == "zmws.open":
        yield from (asked[name] for name in ("then", "failed") if asked.get(name) is not None)
    elif service == "zmws.report" and isinstance(asked.get("enqueue"), list) and not key.may_all(WORK):
        yield from asked["enqueue"]


def seen(who: Who, service: str, answer: Any) -> Any:
    """Of a list of services or workers what a token may see."""
    key = who.key
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


def check_submit(who: Who, items: Iterable[Any], now: float) -> None:
    """Raises Problem where a token may not submit one of these items (as zmws.submit has them), or submits
    more than its limits let it. They are of its group, if it is bound to one."""
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
        over = key.limit(now, 0)
        if over is not None:
            raise Problem(429, over[0], over[1], {"retry-after": "1"})
        key.used(now, len(json.dumps(item, default=str)))


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
            raise Problem(
                403, "not_allowed", f"the token '{key.name}' is for jobs of the group '{group}' alone"
            )
        one["group"] = group
