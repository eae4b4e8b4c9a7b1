"""What every page of the gateway stands on: the broker's client, the settings, who asks, and the bounds.

Rule: a page gets a `Visitor`, who has been let in: `roles` of its door says who is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from zmws.client.asked import awaited
from zmws.client.asynchronous import AsyncClient
from zmws.core.desk.changes import AUDITED, SPOKEN
from zmws.core.user import by_http
from zmws.errors import BrokerUnreachable, JobTimeout, ZmwsError
from zmws.gateway.guard import Guard, Visit
from zmws.gateway.looks import Looks
from zmws.gateway.problems import Problem, as_json
from zmws.gateway.processes import Processes
from zmws.gateway.pulse import Pulse
from zmws.gateway.rights import check_question, check_submit, seen
from zmws.gateway.tokens import Who
from zmws.settings import GatewaySettings
from zmws.wire.values import PARAM_JSON

TELL_S = 10.0
TOKENS_S = 1.0  # so often the broker is asked for the tokens that there are
WAIT_PART_S = 45.0  # one question of those that wait in the broker

log = logging.getLogger("zmws.gateway")


class Desk:
    """One gateway."""

    def __init__(
        self, client: AsyncClient, settings: GatewaySettings, guard: Guard, processes: Processes
    ) -> None:
        self.client = client
        self.settings = settings
        self.guard = guard
        self.watches: Any = None  # of jobs (streams.py), and
        self.channel: Any = None  # of all of them (news.py): they stand upon the desk
        self.closing = asyncio.Event()  # it is about to end: whoever waits is answered now
        self.looks = Looks(client)
        self.pulse = Pulse(self.looks, self.closing)
        self.processes = processes
        self.leasing: dict[tuple[str, str], object] = {}  # who asked last: token and service, lease
        self.told_params: tuple[float, Any] = (float("-inf"), {})  # by workers: when asked, and by service
        self.tokens_fault = ""  # why the broker does not tell of tokens
        self.streams = 0  # that are open, and requests that wait
        self.serving: dict[asyncio.Task[Any] | None, Who] = {}  # requests, and whose they are
        self.revoked: set[asyncio.Task[Any] | None] = set()  # those of them whose token is none any more
        self.telling: set[asyncio.Task[None]] = set()  # what was done here, to the broker

    async def learn_tokens(self) -> None:
        """Ask the broker which tokens there are. Raises ZmwsError."""
        tokens = self.guard.tokens
        asked = {} if tokens.version is None else {"unless": tokens.version}
        tokens.take(await self.client.ask("zmws.keys", asked))
        for task, who in self.serving.items():
            if task is not None and not tokens.is_valid(who):
                self.revoked.add(task)
                task.cancel()  # streams and those who wait

    async def keep_tokens(self) -> None:
        """Learn them again each second, until it is cancelled. What the broker told last holds meanwhile."""
        while True:
            await asyncio.sleep(TOKENS_S)
            try:
                await self.learn_tokens()
                self.tokens_fault = ""
            except (BrokerUnreachable, JobTimeout):
                continue  # it will be back
            except ZmwsError as wrong:
                if self.tokens_fault != str(wrong):
                    self.tokens_fault = str(wrong)
                    log.error("the tokens cannot be learnt: %s", self.tokens_fault)

    def tell(self, verb: str, on: str, by: str) -> None:
        """Tell the broker what was done here, which it keeps. Nobody waits for that, and nothing goes wrong
        for it."""

        async def told() -> None:
            with contextlib.suppress(ZmwsError, TimeoutError):
                asked = {"verb": verb, "on": on, "by": by}
                await asyncio.wait_for(self.client.ask("zmws.acted", asked), TELL_S)

        task = asyncio.ensure_future(told())
        self.telling.add(task)
        task.add_done_callback(self.telling.discard)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among those that wait. Raises Problem if there is none, and when the gateway is to end."""
        if self.closing.is_set():
            raise closing()
        if self.streams >= self.settings.streams_max:
            text = f"{self.streams} requests wait here already (streams_max)"
            raise Problem(503, "too_many_streams", text)
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    async def until(self, happened: asyncio.Event, most_s: float) -> bool:
        """Wait for it, for the gateway's end, or for so many seconds: then it is false."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (happened, self.closing)]
        try:
            done, _ = await asyncio.wait(waiting, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
            return bool(done)
        finally:
            for one in waiting:
                one.cancel()


@dataclass(slots=True)
class Visitor:
    """A request that has been let in."""

    desk: Desk
    request: Request
    who: Who
    visit: Visit

    @property
    def path(self) -> Mapping[str, str]:
        """The parts of the path that a door names."""
        found: dict[str, str] = self.request.path_params
        return found

    @property
    def page_path(self) -> str:
        """The path that was asked for, below where a proxy has the gateway."""
        return page_path(self.request)

    @property
    def is_masked(self) -> bool:
        """Whether secrets in parameters and results are not for this visitor."""
        return self.who.is_only_looking

    def url(self, path: str) -> str:
        """A path of this gateway as the visitor has to ask for it."""
        return self.visit.prefix + path

    async def ask(self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0) -> Any:
        """What a `zmws.*` service answers."""
        return (await self.ask_status(service, question, takes_s))[1]

    async def ask_status(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> tuple[int, Any]:
        """The same with its status. `takes_s`: how long the broker itself may wait. What changes something
        says who has asked: the broker logs that, and keeps what operators do."""
        asked = dict(question or {})
        try:
            await check_question(self.desk.client, self.who, service, asked)
        except Problem as problem:
            if service in AUDITED and problem.status == 403:
                await self._tell_refused(service, asked, problem)
            raise
        if service not in SPOKEN:
            status, told = await self.desk.client.ask_status(service, asked, takes_s)
            return status, seen(self.who, service, told)
        if service in AUDITED or self.who.name:
            asked["by"] = by_of(self.who)
        try:
            return await self.desk.client.ask_status(service, asked, takes_s)
        finally:
            self.desk.looks.clear()  # who has changed something sees it

    async def _tell_refused(self, service: str, asked: Mapping[str, Any], problem: Problem) -> None:
        """What is refused here is in the audit, as what the broker refuses is."""
        on = next((asked[name] for name in ("id", "worker", "name", "service") if asked.get(name)), None)
        told = {"verb": service.removeprefix("zmws."), "on": "all" if on is None else str(on)[:200]}
        with contextlib.suppress(ZmwsError):
            await self.desk.client.ask("zmws.acted", {**told, "outcome": problem.code, "by": by_of(self.who)})

    def bound(self, service: str, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a job that this visitor submits: of the group of its token, if it is bound to one.
        Raises Problem where it may not."""
        item = {"service": service, **options}
        self.check_submit([item])
        del item["service"]
        return item

    async def submit_items(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The broker's verdicts on items of zmws.submit, chains among them: they are JSON already."""
        self.check_submit(items)
        body = PARAM_JSON + json.dumps(items).encode()
        # The front of the client has no name for a question that is a list.
        asked = self.desk.client._client.raw_future("zmws.submit", body)
        try:
            verdicts: list[dict[str, Any]] = (await awaited(asked))[1]
            return verdicts
        finally:
            self.desk.looks.clear()

    def check_submit(self, items: Iterable[Any]) -> None:
        """Raises Problem where these items are not for this visitor; binds them to the group of its token."""
        check_submit(self.who, items)

    async def patiently(self, asked: Awaitable[Any], otherwise: Any) -> Any:
        """What is waited for; `otherwise`, and it is given up, if the visitor goes before. Raises Problem if
        the gateway is to end meanwhile."""
        task = asyncio.ensure_future(asked)
        gone = asyncio.ensure_future(_gone(self.request))
        closes = asyncio.ensure_future(self.desk.closing.wait())
        try:
            await asyncio.wait((task, gone, closes), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return await task
            if closes.done():
                raise closing()
            return otherwise
        finally:
            for one in (gone, closes, task):
                one.cancel()


def page_path(request: Request) -> str:
    """The path of a request as it stands in an address, below where a proxy has the gateway."""
    path: str = quote(request.scope.get("zmws.path", request.scope["path"]), safe="/:@!$'()*,;~")
    return path


def closing() -> Problem:
    """The answer of a gateway that is about to end."""
    return Problem(
        503, "closing", "this gateway is about to end; ask again in a moment", {"connection": "close"}
    )


def by_of(who: Who) -> str:
    """Who acts, as the broker is told. Without any token there is nobody to be named."""
    return by_http(who.name or "anybody")


Page = Callable[[Visitor], Awaitable[Response]]


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> Response:
    """JSON that nobody keeps."""
    return Response(as_json(value), status, {"cache-control": "no-store", **(headers or {})}, kind)


async def _gone(request: Request) -> None:
    with contextlib.suppress(Problem):  # a body that nobody reads does not come, or is too large
        while (await request.receive())["type"] != "http.disconnect":
            pass
