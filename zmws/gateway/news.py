"""Server-sent events of all jobs and workers (docs/http.md, Events): what the broker publishes.

Rule 1: it replays nothing: a stream begins with `reset`, which says: look at what there is, then go on from
here.
Rule 2: who reads slowly holds nobody up: what does not fit is dropped, and `reset` says so.
Rule 3: there is a subscription only while somebody looks on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack

import zmq
from starlette.responses import Response

from zmws.client.news import Item, News
from zmws.core.key import LOOK
from zmws.gateway.desk import Desk, Visitor, log
from zmws.gateway.problems import Problem
from zmws.gateway.rights import check_question, check_whole
from zmws.gateway.streams import HEADERS, RETRY_MS, EventStream
from zmws.key_file import KeyFile
from zmws.settings.addresses import seen_from

KEPT_MAX = 1_000  # of one stream
_AGAIN_S = 1.0
_LOOK_S = 0.5  # how soon the thread sees that nobody looks on any more
_RESET = "event: reset\ndata: {}\n\n"


class Listener:
    """One stream."""

    def __init__(self, service: str | None) -> None:
        self.service = service
        self.waiting: deque[str] = deque()
        self.came = asyncio.Event()
        self.lost = True  # some of it: at the beginning all

    def put(self, item: Item, text: str) -> None:
        """A piece of news."""
        if item.topic == "lost":
            return  # it is told when the broker is back: then there is something to look at
        if item.topic == "back":
            self.lost = True
        elif self.service is not None and not item.is_of(self.service):
            return
        elif len(self.waiting) >= KEPT_MAX:
            self.waiting.clear()
            self.lost = True
        else:
            self.waiting.append(text)
        self.came.set()

    def take(self) -> str:
        """What is to be sent now."""
        self.came.clear()
        text = _RESET if self.lost else ""
        self.lost = False
        text += "".join(self.waiting)
        self.waiting.clear()
        return text


class Channel:
    """The subscription, and who looks on. All is known to the loop's thread alone; the thread that reads is
    told by an event when nobody looks on any more, and says itself when it has ended."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listeners: set[Listener] = set()
        self._over: threading.Event | None = None  # of the thread there is, if there is one
        self._endpoint = ""

    async def enter(self, listener: Listener) -> None:
        """Look on; `leave` has to follow. Raises ZmwsError."""
        self._listeners.add(listener)
        if self._over is None:
            told = await self._desk.client.ask("zmws.hello")
            if not told.get("news"):
                raise Problem(501, "no_news", "the broker does not say where it tells its news")
            self._endpoint = seen_from(told["news"], self._desk.client.endpoint())
            self._start()

    def leave(self, listener: Listener) -> None:
        """Look on no more."""
        self._listeners.discard(listener)
        if not self._listeners and self._over is not None:
            self._over.set()

    def _start(self) -> None:
        if self._over is None and self._listeners:
            self._over = over = threading.Event()
            arguments = (self._endpoint, self._desk.client.key, asyncio.get_running_loop(), over)
            threading.Thread(target=self._read, args=arguments, name="zmws-news", daemon=True).start()

    def _read(
        self, endpoint: str, key: KeyFile | None, loop: asyncio.AbstractEventLoop, over: threading.Event
    ) -> None:
        """The thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            try:
                with News(endpoint, None, key) as news:
                    while not over.is_set():
                        items = news.read(_LOOK_S)
                        if items:
                            loop.call_soon_threadsafe(self._tell, items)
            except zmq.ZMQError:
                log.exception("the news cannot be read; it is tried again")
                time.sleep(_AGAIN_S)
            finally:
                loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        """The thread has ended. Who has come since, or was left behind, gets another."""
        self._over = None
        for listener in self._listeners:
            listener.lost = True
            listener.came.set()
        self._start()

    def _tell(self, items: list[Item]) -> None:
        for item in items:
            text = f"event: {_kind(item)}\ndata: {json.dumps(item.body, separators=(',', ':'))}\n\n"
            for listener in self._listeners:
                listener.put(item, text)


def _kind(item: Item) -> str:
    """`state`, `progress`, `worker.ready` or `worker.gone`, which a page can listen to; the body says the
    rest."""
    if "state" in item.body:
        return "state"
    return "progress" if "done" in item.body else item.topic  # a service may be named worker


async def of_all(visitor: Visitor) -> Response:
    """GET /events?service=."""
    desk, service = visitor.desk, visitor.request.query_params.get("service")
    if service is None:
        check_whole(visitor.who, LOOK, "this stream")
    await check_question(desk.client, visitor.who, "zmws.series", {"service": service})
    listener = Listener(service)
    with ExitStack() as place:
        place.enter_context(desk.place())
        place.callback(desk.channel.leave, listener)
        if visitor.request.method == "HEAD":
            return Response(headers=HEADERS, media_type="text/event-stream")
        await desk.channel.enter(listener)
        return EventStream(_told(desk, listener), place.pop_all())


async def _told(desk: Desk, listener: Listener) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n" + listener.take()
    while not desk.closing.is_set():
        if await desk.until(listener.came, desk.settings.stream_ping):
            if text := listener.take():
                yield text
        else:
            yield ": still here\n\n"
