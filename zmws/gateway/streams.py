"""Server-sent events of a job (docs/http.md, Events).

Rule 1: one watch a job in the gateway, however many streams look on. It asks the broker, and keeps what has
        happened as long as somebody looks.
Rule 2: the id of an event is LIFE.N. After a new life of the broker a number may come again: then a stream
says
        `reset`, and all of it once more.
Rule 3: no event is left out and none comes twice; of progress only the last counts.
Rule 4: after the job's end the stream ends, and who comes back for more is told 204, so that a browser stops.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from zmws.core.states import FINAL_STATES
from zmws.errors import BrokerUnreachable, JobTimeout, Refused, ZmwsError
from zmws.gateway.desk import Desk, Visitor, log
from zmws.gateway.masks import masked
from zmws.gateway.problems import Problem, problem_of
from zmws.gateway.rights import check_question

RETRY_MS = 2_000
WAIT_S = 30.0  # one question to the broker; longer waits are several
AWAY_S = 1.0  # between two tries while the broker is away
HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # of nginx: else it would keep events back
}


class EventStream(StreamingResponse):
    """Server-sent events; `place` is left when it is over, however that comes."""

    def __init__(self, events: AsyncIterator[str], place: ExitStack) -> None:
        super().__init__(events, headers=HEADERS, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


class Watch:
    """What has happened to one job, for all that look on."""

    def __init__(self, desk: Desk, job_id: str) -> None:
        self.life: str | None = None
        self.events: list[dict[str, Any]] = []
        self.ended = False  # the last of them is a final state, and nothing stands behind it
        self.fault: Problem | None = None  # it cannot be watched any more
        self.streams = 0
        self._desk = desk
        self._job_id = job_id
        self._changed = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        """Nobody looks on any more."""
        self._task.cancel()

    @property
    def changed(self) -> asyncio.Event:
        """Is set by the next that happens. Who waits takes it first, and then looks at what there is: else
        that which happens in between would be missed."""
        return self._changed

    async def _run(self) -> None:
        after = 0
        try:
            while not self.ended and self.fault is None:
                after = await self._look(after)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the watch of job %s has failed", self._job_id)
            self._fail(
                Problem(
                    500, "gateway_fault", "the watch of this job has failed; the gateway's log says where"
                )
            )

    async def _look(self, after: int) -> int:
        timeout = WAIT_S if self.events else 0.0
        asked = {"id": self._job_id, "after": after, "life": self.life, "timeout": timeout}
        try:
            told = (await self._desk.client.ask_status("zmws.events", asked, timeout))[1]
        except (BrokerUnreachable, JobTimeout) as fault:
            if self.life is None:
                self._fail(problem_of(fault, self._job_id))
            await asyncio.sleep(AWAY_S)
            return after
        except (Refused, ZmwsError) as fault:
            self._fail(problem_of(fault, self._job_id))
            return after
        if told["life"] != self.life:
            self.life, self.events = told["life"], []
        for event in told["events"]:
            if event["kind"] == "progress":  # the one before it says nothing more
                self.events = [one for one in self.events if one["kind"] != "progress"]
            self.events.append(event)
        if told["events"]:
            self._tell()
        elif self.events:
            last = [one for one in self.events if one["kind"] == "state"][-1:]
            self.ended = bool(last) and last[0]["state"] in FINAL_STATES
            if self.ended:
                self._tell()
        if self.events and not self.ended and self.is_final:
            # A final state is the end only if nothing stands behind it: it is asked once more.
            return await self._once_more(self.events[-1]["n"])
        return int(self.events[-1]["n"]) if self.events else 0

    async def _once_more(self, after: int) -> int:
        asked = {"id": self._job_id, "after": after, "life": self.life}
        try:
            told = (await self._desk.client.ask_status("zmws.events", asked))[1]
        except ZmwsError:
            return after
        if told["life"] == self.life and not told["events"]:
            self.ended = True
            self._tell()
            return after
        return 0 if told["life"] != self.life else after

    @property
    def is_final(self) -> bool:
        """Whether the last that is known of it is a final state."""
        last = self.events[-1]
        return bool(last["kind"] == "state" and last["state"] in FINAL_STATES)

    def _fail(self, problem: Problem | None) -> None:
        self.fault = problem
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Watches:
    """The watches there are, by job."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._by_job: dict[str, Watch] = {}

    def enter(self, job_id: str) -> Watch:
        """Look on; `leave` has to follow."""
        watch = self._by_job.get(job_id)
        if watch is None or watch.fault is not None or watch.ended:
            watch = self._by_job[job_id] = Watch(self._desk, job_id)
        watch.streams += 1
        return watch

    def leave(self, job_id: str, watch: Watch) -> None:
        """Look on no more."""
        watch.streams -= 1
        if not watch.streams:
            watch.stop()
            if self._by_job.get(job_id) is watch:
                del self._by_job[job_id]

    def __len__(self) -> int:
        return len(self._by_job)


class Story:
    """How far one stream is."""

    def __init__(self, watch: Watch, last_id: str | None, is_masked: bool = False) -> None:
        self._is_masked = is_masked  # secrets in partial results are not for who looks on
        life, _, n = (last_id or "").rpartition(".")
        self._watch = watch
        self._life = life or None
        self._after = int(n) if n.isascii() and n.isdigit() and len(n) < 19 else 0

    @property
    def has_more(self) -> bool:
        """Whether there is something to be sent now."""
        watch = self._watch
        if watch.life is None:
            return False
        return self._life not in (None, watch.life) or any(
            event["n"] > (self._after if self._life == watch.life else 0) for event in watch.events
        )

    def next(self) -> Iterator[str]:
        """What is to be sent now, one after the other: who reads slowly has no more of it in memory than
        one."""
        watch = self._watch
        while self.has_more:
            if self._life != watch.life:
                known, self._life, self._after = self._life, watch.life, 0
                if known is not None:
                    yield f"id: {watch.life}.0\nevent: reset\ndata: {{}}\n\n"
                continue
            event = min(
                (one for one in watch.events if one["n"] > self._after), key=lambda one: int(one["n"])
            )
            self._after = event["n"]
            told = (
                {**event, "value": masked(event["value"])} if self._is_masked and "value" in event else event
            )
            data = json.dumps(told, separators=(",", ":"))
            yield f"id: {watch.life}.{event['n']}\nevent: {event['kind']}\ndata: {data}\n\n"


async def of_job(visitor: Visitor) -> Response:
    """GET /jobs/ID/events."""
    desk, job_id = visitor.desk, visitor.path["id"]
    await check_question(desk.client, visitor.who, "zmws.events", {"id": job_id})
    given = visitor.request.headers.get("last-event-id") or visitor.request.query_params.get("last_event_id")
    with ExitStack() as place:
        place.enter_context(desk.place())
        watch = desk.watches.enter(job_id)
        place.callback(desk.watches.leave, job_id, watch)
        story = Story(watch, given, visitor.is_masked)
        while watch.life is None and watch.fault is None:
            await watch.changed.wait()
        if watch.fault is not None and watch.fault.code == "no_broker" and given:
            # A browser that is told 503 comes back no more; at the end of a stream it does.
            return EventStream(_nothing_yet(), place.pop_all())
        if watch.fault is not None:
            raise watch.fault
        while not story.has_more and watch.is_final and not watch.ended and watch.fault is None:
            await watch.changed.wait()
        if not story.has_more and watch.ended:
            return Response(status_code=204, headers=HEADERS)
        if visitor.request.method == "HEAD":
            return Response(headers=HEADERS, media_type="text/event-stream")
        return EventStream(_told(desk, watch, story), place.pop_all())


async def _nothing_yet() -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"


async def _told(desk: Desk, watch: Watch, story: Story) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    while not desk.closing.is_set():
        changed = watch.changed
        for text in story.next():
            yield text
        if changed.is_set():
            continue
        if watch.ended or watch.fault is not None:
            return
        if not await desk.until(changed, desk.settings.stream_ping):
            yield ": still here\n\n"
