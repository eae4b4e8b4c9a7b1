"""Server-sent events of all jobs and workers (docs/http.md, Events): what the broker publishes.

Rule 1: it replays nothing: a stream begins with `reset`, which says: look at what there is, then go on from
here.
Rule 2: who reads slowly holds nobody up: what does not fit is dropped, and `reset` says so.
Rule 3: there is a subscription only while somebody looks on.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack

from starlette.responses import Response

from zmws.client.news import Item, News
from zmws.gateway.desk import Desk, Visitor, log
from zmws.gateway.problems import Problem
from zmws.gateway.streams import RETRY_MS, EventStream
from zmws.settings.addresses import seen_from

KEPT_MAX = 1_000  # of one stream
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
        if item.topic in ("lost", "back"):
            self.lost = True
        elif self.service is not None and self.service not in item.body.get(
            "services", [item.body["service"]]
        ):
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
    """The subscription, and who looks on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listeners: set[Listener] = set()
        self._thread: threading.Thread | None = None

    async def enter(self, listener: Listener) -> None:
        """Look on; `leave` has to follow. Raises ZmwsError."""
        self._listeners.add(listener)
        if self._thread is None or not self._thread.is_alive():
            told = await self._desk.client.ask("zmws.hello")
            if not told.get("news"):
                raise Problem(501, "no_news", "the broker does not say where it tells its news")
            endpoint = seen_from(told["news"], self._desk.client.endpoint())
            loop = asyncio.get_running_loop()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._read, args=(endpoint, loop), name="zmws-news", daemon=True
                )
                self._thread.start()

    def leave(self, listener: Listener) -> None:
        """Look on no more."""
        self._listeners.discard(listener)

    def _read(self, endpoint: str, loop: asyncio.AbstractEventLoop) -> None:
        """The thread."""
        try:
            with News(endpoint) as news:
                while self._listeners:
                    items = news.read(_LOOK_S)
                    if items:
                        loop.call_soon_threadsafe(self._tell, items)
        except RuntimeError:
            pass  # the loop is closed
        except Exception:
            log.exception("the news cannot be read any more")
        finally:
            self._thread = None

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
    desk = visitor.desk
    listener = Listener(visitor.request.query_params.get("service"))
    with ExitStack() as place:
        place.enter_context(desk.place())
        place.callback(desk.channel.leave, listener)
        await desk.channel.enter(listener)
        return EventStream(_told(desk, listener), place.pop_all())


async def _told(desk: Desk, listener: Listener) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n" + listener.take()
    while not desk.closing.is_set():
        await desk.until(listener.came, desk.settings.stream_ping)
        yield listener.take() or ": still here\n\n"
