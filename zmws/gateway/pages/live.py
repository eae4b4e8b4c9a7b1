"""The one stream of an open page: it says when there is something new to see, and when the broker is away.

Rule 1: it says only that something has changed; the page then asks for itself again, and shows what differs.
Rule 2: whether something has, the one pulse of the gateway says (pulse.py).
Rule 3: a page of a job is told by what happens to that job, too, at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from starlette.responses import Response

from zmws.gateway.desk import Desk, Visitor
from zmws.gateway.pulse import TICK_S
from zmws.gateway.streams import HEADERS, RETRY_MS, EventStream, Watch

QUIET_S = 1.0  # and at most so often


async def page(visitor: Visitor) -> Response:
    """GET /ui/live?job=&slow=."""
    desk, job_id = visitor.desk, visitor.request.query_params.get("job")
    quiet_s = TICK_S if visitor.request.query_params.get("slow") else QUIET_S
    with ExitStack() as place:
        place.enter_context(desk.place())
        if visitor.request.method == "HEAD":
            return Response(headers=HEADERS, media_type="text/event-stream")
        desk.pulse.enter()
        place.callback(desk.pulse.leave)
        watch = None
        if job_id:
            watch = desk.watches.enter(job_id)
            place.callback(desk.watches.leave, job_id, watch)
        return EventStream(_told(desk, watch, quiet_s), place.pop_all())


async def _told(desk: Desk, watch: Watch | None, quiet_s: float) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    pulse, here, number = desk.pulse, True, desk.pulse.number
    happened, pinged = _count(watch), time.monotonic()
    while not desk.closing.is_set():
        events = (
            [pulse.changed] if watch is None or watch.ended or watch.fault else [pulse.changed, watch.changed]
        )
        if number == pulse.number and happened == _count(watch):
            await _any(desk, events)
        if pulse.here != here:
            here = pulse.here
            number, happened = pulse.number, _count(watch)
            yield f"event: {'back' if here else 'away'}\ndata: {{}}\n\n"
        elif number != pulse.number or happened != _count(watch):
            number, happened = pulse.number, _count(watch)
            yield "event: changed\ndata: {}\n\n"
        elif time.monotonic() - pinged >= desk.settings.stream_ping:
            yield ": still here\n\n"
        else:
            continue
        pinged = time.monotonic()
        await desk.until(asyncio.Event(), quiet_s)


def _count(watch: Watch | None) -> tuple[Any, ...]:
    """What a watch has seen so far."""
    return () if watch is None else (watch.life, watch.events[-1]["n"] if watch.events else 0)


async def _any(desk: Desk, events: list[asyncio.Event]) -> None:
    """Wait until one of these has happened, or it is time for a word."""
    waiting = [asyncio.ensure_future(one.wait()) for one in (*events, desk.closing)]
    try:
        await asyncio.wait(waiting, timeout=desk.settings.stream_ping, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
