"""The one stream of an open page: it says when there is something new to see, and when the broker is away.

Rule 1: it says only that something has changed; the page then asks for itself again, and shows what differs.
Rule 2: one pulse a gateway, while any page is open: it asks `zmws.stats` each second, and compares.
Rule 3: a page of a job is told by what happens to that job, too, at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from starlette.responses import Response

from zmws.errors import ZmwsError
from zmws.gateway.desk import Desk, Visitor
from zmws.gateway.problems import Problem
from zmws.gateway.streams import HEADERS, RETRY_MS, EventStream, Watch

PULSE_S = 1.0  # between two looks at the broker
TICK_S = 10.0  # an open page is looked at anew at least so often: its plots move on
QUIET_S = 1.0  # and at most so often
# What of zmws.stats says that something has changed. Sizes and times always do.
_MARKS = (
    "counters",
    "workers",
    "services",
    "memory_jobs",
    "stored_jobs_held",
    "store_is_full",
    "totals",
    "started_at",
)


class Pulse:
    """Whether something has changed, for all open pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pages = 0
        self._task: asyncio.Task[None] | None = None
        self._marks: Any = None
        self.here = True  # the broker answers
        self.number = 0  # rises with each change
        self.changed = asyncio.Event()

    def enter(self) -> None:
        """A page is open; `leave` has to follow."""
        self._pages += 1
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    def leave(self) -> None:
        """It is closed."""
        self._pages -= 1
        if not self._pages and self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        ticked = time.monotonic()
        while not self._desk.closing.is_set():
            await self._look()
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                self._tell()
            await asyncio.sleep(PULSE_S)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(5 * PULSE_S):
                stats = await self._desk.looks.ask("zmws.stats", fresh_s=0.5 * PULSE_S)
        except (ZmwsError, Problem, TimeoutError):
            here, marks = False, None
        else:
            here, marks = True, {name: stats[name] for name in _MARKS}
        if here != self.here or (here and marks != self._marks):
            first = self._marks is None and here == self.here
            self.here, self._marks = here, marks if here else self._marks
            if not first:
                self._tell()

    def _tell(self) -> None:
        self.number += 1
        self._desk.looks.clear()
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


async def page(visitor: Visitor) -> Response:
    """GET /ui/live?job=."""
    desk, job_id = visitor.desk, visitor.request.query_params.get("job")
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
        return EventStream(_told(desk, watch), place.pop_all())


async def _told(desk: Desk, watch: Watch | None) -> AsyncIterator[str]:
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
        await desk.until(asyncio.Event(), QUIET_S)


def _count(watch: Watch | None) -> tuple[Any, ...]:
    """What a watch has seen so far."""
    return () if watch is None else (watch.life, watch.events[-1]["n"] if watch.events else 0)


async def _any(desk: Desk, events: list[asyncio.Event]) -> None:
    """Wait until one of these has happened, or it is time for a word."""
    waiting = [asyncio.ensure_future(one.wait()) for one in (*events, desk.closing)]
    try:
        await asyncio.wait(waiting, timeout=PULSE_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
