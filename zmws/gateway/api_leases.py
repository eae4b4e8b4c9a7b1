"""Workers by HTTP: lease, extend, report (docs/http.md, Workers). The gateway's end ends no lease: the broker
has it, and its token is all that anybody needs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from zmws import ids
from zmws.core.desk.questions import QUESTIONS
from zmws.core.states import CANCELLED
from zmws.core.table import no_such
from zmws.core.tokens import job_id_of
from zmws.errors import Refused, ZmwsError
from zmws.gateway.desk import WAIT_PART_S, Visitor, json_answer, log
from zmws.gateway.given import json_object, wait_of
from zmws.gateway.keys import job_id_of as id_of_key
from zmws.gateway.problems import Problem


async def lease(visitor: Visitor) -> Response:
    """POST /services/NAME/lease?wait=: a job with its token, or 204."""
    asked = await json_object(visitor.request)
    for name in asked:
        if name not in ("lease", "ttr"):
            raise Problem(400, "bad_request", no_such(name, "field of a lease", ("lease", "ttr")))
    wait_s = wait_of(visitor.request, visitor.desk.settings.wait_max)
    own, key_id = asked.get("lease"), id_of_key(visitor.request, visitor.who)
    own = (key_id or ids.new_id()) if own is None else own
    question = {"service": visitor.path["name"], "lease": own, "wait": wait_s, "ttr": asked.get("ttr")}
    desk, me = visitor.desk, _Asking()
    key = (f"{visitor.who.name} {visitor.path['name']}", str(own))
    desk.leasing[key] = me
    taking = asyncio.ensure_future(_taken(visitor, question, wait_s, me))
    answer: tuple[int, Any] | None = None
    try:
        with desk.place():
            answer = await visitor.patiently(asyncio.shield(taking), None)
    finally:
        if answer is None:
            # Nobody takes what may still come: it goes to another at once, and not only after its ttr.
            me.wanted = False
            taking.add_done_callback(lambda done: _give_back(visitor, key, me, done))
        elif desk.leasing.get(key) is me:
            del desk.leasing[key]
    if answer is None:
        raise ClientDisconnect
    status, job = answer
    if status == 200:
        return json_answer(job)
    return Response(status_code=204, headers={"cache-control": "no-store"})


class _Asking:
    """One request for a lease."""

    wanted = True  # somebody waits for the answer


async def _taken(visitor: Visitor, question: dict[str, Any], wait_s: float, me: _Asking) -> tuple[int, Any]:
    """The answer of zmws.lease, by several questions: what nobody waits for is not in the broker for long."""
    until = time.monotonic() + wait_s
    while True:
        part = max(0.0, min(until - time.monotonic(), WAIT_PART_S))
        status, job = await visitor.ask_status("zmws.lease", {**question, "wait": part}, part)
        if status == 200 or time.monotonic() >= until or not me.wanted:
            return status, job


_RETURNING: set[asyncio.Task[Any]] = set()


def _give_back(
    visitor: Visitor, key: tuple[str, str], me: object, taking: asyncio.Future[tuple[int, Any]]
) -> None:
    """Unless somebody has asked for the same lease since: then the job is in those hands."""
    if visitor.desk.leasing.get(key) is not me:
        return
    del visitor.desk.leasing[key]
    if taking.cancelled() or taking.exception() is not None or taking.result()[0] != 200:
        return
    report = {"token": taking.result()[1]["token"], "kind": "release"}

    async def release() -> None:
        try:
            await visitor.ask("zmws.report", report)
        except ZmwsError as fault:
            log.info("a job that was leased for somebody who had gone was not given back: %s", fault)

    task = asyncio.ensure_future(release())
    _RETURNING.add(task)
    task.add_done_callback(_RETURNING.discard)


async def extend(visitor: Visitor) -> Response:
    """POST /leases/extend: {token, seconds}."""
    return await _on_token(visitor, "zmws.extend")


async def report(visitor: Visitor) -> Response:
    """POST /leases/report: {token, kind, ...}."""
    return await _on_token(visitor, "zmws.report")


async def _on_token(visitor: Visitor, service: str) -> Response:
    asked = await json_object(visitor.request)
    fields = [name for name in QUESTIONS[service] if name != "by"]
    for name in asked:
        if name not in fields:
            raise Problem(400, "bad_request", no_such(name, "field of this", fields))
    try:
        await visitor.ask(service, asked)
    except Refused as refused:
        if refused.code != "token_dead":
            raise
        cancelled = await _was_cancelled(visitor, str(asked.get("token")))
        raise Problem(409, refused.code, str(refused), cancelled=cancelled) from None
    return json_answer({})


async def _was_cancelled(visitor: Visitor, token: str) -> bool:
    """Whether the job of a dead token was cancelled, as far as that is known."""
    job_id = job_id_of(token.encode("utf-8", "replace"))
    if job_id is None:
        return False
    try:
        record = await visitor.desk.client.ask("zmws.job", {"id": job_id})
    except Refused:
        return False
    return bool(record["state"] == CANCELLED)
