"""The gateway as an ASGI application: in goes a request, and to each goes an answer.

Rule 1: nobody reaches a page who has not passed the guard, and no body is read that is larger, or comes more
        slowly, than the settings allow.
Rule 2: whatever goes wrong is a problem with its code; what is our own fault is 500, and the log says where.
Rule 3: a connection whose request was not read to its end is closed with the answer. What still comes is
        dropped for a while before: a connection closed over bytes unread is reset, and the answer lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

import h11
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from zmws import tracing
from zmws.client.asynchronous import AsyncClient
from zmws.core.key import LOOK
from zmws.gateway import doors
from zmws.gateway.desk import Desk, Visitor, closing, log, page_path
from zmws.gateway.guard import Guard, Visit, unknown
from zmws.gateway.news import Channel
from zmws.gateway.pages.frame import UI, is_browser, problem_page
from zmws.gateway.problems import Problem, problem_of
from zmws.gateway.processes import Processes
from zmws.gateway.rights import check_whole
from zmws.gateway.streams import Watches
from zmws.gateway.tokens import NOBODY, Tokens, Who
from zmws.settings import GatewaySettings, Settings

_FOR_PROBES, _PROBE = ("/healthz", "/readyz"), Visit("", "http", "")  # some of them send no Host
_READS = ("GET", "HEAD", "OPTIONS")
_CORS_ASKED = "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, prefer"
# What still comes of a request that is answered is dropped: so long, and so many largest bodies of it.
_REST_S, _REST_BODIES = 2, 4
_CORS_TOLD = b"etag, link, location, preference-applied, retry-after"


class App:
    """The application."""

    def __init__(self, client: AsyncClient, known: Settings, tokens: Tokens) -> None:
        settings = known.gateway
        self.desk = Desk(client, settings, Guard(settings, tokens), Processes(known))
        self.desk.watches = Watches(self.desk)
        self.desk.channel = Channel(self.desk)
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        coming = _Coming(scope, receive, self._settings)
        going = _Going(scope, send, coming, self._settings)
        request = _Request(scope, coming.receive, going.send)
        task = asyncio.current_task()
        try:
            await self._serve(request, scope, coming, going)
        except asyncio.CancelledError:
            if task is None or task not in self.desk.revoked:
                raise
            task.uncancel()
            if going.begun:
                return going.cut()
            gone = unknown("this token is none any more").response()
            await gone(scope, coming.receive, going.send)
        finally:
            if self.desk.serving:
                self.desk.serving.pop(task, None)
                self.desk.revoked.discard(task)

    async def _serve(self, request: _Request, scope: Scope, coming: _Coming, going: _Going) -> None:
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return going.cut()
        except asyncio.CancelledError:
            if not self.desk.closing.is_set():
                raise
            answer = closing().response()  # it could wait no longer
        except Exception as fault:
            answer = self._fault(request, fault)
        try:
            await answer(scope, coming.receive, going.send)
        except (TimeoutError, h11.LocalProtocolError):
            going.cut()  # nobody takes it; or what came behind the request was none, and was answered already
        except ClientDisconnect:
            pass
        except Exception as fault:
            if going.begun:
                log.error("%s %s: the answer broke off: %r", request.method, request.url.path, fault)
                raise
            await self._fault(request, fault)(scope, coming.receive, going.send)

    def _fault(self, request: _Request, fault: Exception) -> Response:
        problem = problem_of(fault)
        if problem is None:
            log.error("%s %s failed", request.method, request.url.path, exc_info=fault)
            problem = Problem(500, "gateway_fault", "the gateway failed to answer this; its log says where")
        elif problem.status >= 500:
            log.debug("%s %s: %d %s", request.method, request.url.path, problem.status, problem)
        if self._is_of_pages(request):
            return problem_page(self.desk, request, request.visit, self._who(request), problem)
        return problem.response()

    def _who(self, request: _Request) -> Who | None:
        """Who is to read it, if that is known."""
        if request.who is None and request.visit is not None:
            with contextlib.suppress(Problem):
                return self.desk.guard.who(request.headers)
        return request.who

    def _is_of_pages(self, request: _Request) -> bool:
        """Whether a person is to read what went wrong."""
        path = page_path(request)
        return is_browser(request) and (path in (UI, "/login", "/logout") or path.startswith(f"{UI}/"))

    async def _answer(self, request: _Request) -> Response:
        headers, guard = request.headers, self.desk.guard
        _check_head(request.scope, self._settings.header_bytes_max)
        if "transfer-encoding" in headers and "content-length" in headers:
            raise Problem(
                400, "bad_request", "a request has a Content-Length or a Transfer-Encoding, not both"
            )
        client = request.scope.get("client")
        path = request.scope["zmws.path"] = self._path(request.scope["path"])
        if path in _FOR_PROBES and "host" not in headers:
            return await doors.FIXED[path].methods["GET"][0](Visitor(self.desk, request, NOBODY, _PROBE))
        visit = request.visit = guard.visit(headers, client[0] if client else None)
        found = doors.find(path)
        if found is None:
            raise Problem(
                404, "no_such_page", f"there is no page {path[:200]!a}; {visit.prefix}/ says what there is"
            )
        door, parts = found
        method = door.method(request.method)
        if method is None and (behind := doors.by_pattern(path)) and behind[0].method(request.method):
            door, parts = behind  # a job may be named as a fixed door is
            method = door.method(request.method)
        if method is None:
            if request.method == "OPTIONS" and headers.get("origin") in self._settings.origins:
                allowed = {
                    "access-control-allow-methods": door.allow,
                    "access-control-allow-headers": _CORS_ASKED,
                }
                return Response(status_code=204, headers={**allowed, "access-control-max-age": "600"})
            text = f"{request.method[:40]} is none of what this page takes: {door.allow}"
            raise Problem(405, "no_such_method", text, {"allow": door.allow})
        page, roles = method
        if door.submits or request.method not in _READS:
            guard.check_page(headers, visit)
        who = guard.who(headers)
        request.who = who
        if who is not None:
            self.desk.serving[asyncio.current_task()] = who
        if roles is not None:
            who = guard.check_role(who, roles)
            if path.startswith(f"{UI}/") or path == "/metrics":
                check_whole(who, LOOK, "this page")
        is_by_login = who is not None and who.name and "authorization" not in headers
        if door.submits and request.method == "GET" and is_by_login:
            guard.check_own_page(headers, visit)
        request.scope["path_params"] = parts
        visitor = Visitor(self.desk, request, who or NOBODY, visit)
        if tracing.on is None:
            return await page(visitor)
        with tracing.on.received(headers):
            return await page(visitor)

    def _path(self, path: str) -> str:
        """The path below where a proxy has the gateway, if it has left that in."""
        root = self._settings.root_path
        if not path.startswith("/"):
            path = urlsplit(path).path or path  # RFC 9112, 3.2.2: a whole address is taken, too
        if root and path == root:
            return "/"
        return path[len(root) :] if root and path.startswith(f"{root}/") else path


class _Headers(Headers):
    """The same, looked up in a dict: ten of them are asked for at each request."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = {n.decode("latin-1"): v.decode("latin-1") for n, v in reversed(scope["headers"])}

    def get(self, key: str, default: Any = None) -> Any:
        return self._first.get(key.lower(), default)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._first

    def getlist(self, key: str) -> list[str]:
        return super().getlist(key) if key in self else []


class _Request(Request):
    visit: Visit | None = None  # once it is known
    who: Who | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._heads = _Headers(scope)

    @property
    def headers(self) -> Headers:
        return self._heads


def _origin(scope: Scope) -> str:
    """The page that asks, "" where none is told."""
    return next((value for name, value in scope["headers"] if name == b"origin"), b"").decode("latin-1")


def _check_head(scope: Scope, most: int) -> None:
    """Raises Problem for what h11 lets through: another version, and large headers that came in one piece."""
    close = {"connection": "close"}
    if scope["http_version"] not in ("1.0", "1.1"):
        raise Problem(505, "bad_request", "this gateway speaks HTTP/1.1", close)
    size = sum(len(name) + len(value) + 4 for name, value in scope["headers"]) + len(scope["raw_path"])
    if size + len(scope["query_string"]) > most:
        raise Problem(
            431, "too_large", f"the headers have more than {most:,} bytes (header_bytes_max)", close
        )


class _Coming:
    """A request's body, within its bounds."""

    def __init__(self, scope: Scope, receive: Receive, settings: GatewaySettings) -> None:
        self._receive = receive
        self._settings = settings
        self._bytes = 0
        self._until: float | None = None
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self.length = int(length) if length.isdigit() and len(length) < 20 else 0
        self.whole = not self.length and b"transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next part. Raises Problem past the bounds."""
        if self.whole:
            return await self._receive()
        most = self._settings.body_bytes_max
        if self.length > most:
            raise _too_large(self.length, most)
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._settings.receive_timeout
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text = f"the body has not come within {self._settings.receive_timeout:g} s (receive_timeout)"
            raise Problem(408, "too_slow", text) from None
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > most:
                raise _too_large(self._bytes, most)
            self.whole = not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read on what nobody wants, for a while."""
        most = self._bytes + _REST_BODIES * self._settings.body_bytes_max
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REST_S):
                while not self.whole and self._bytes < most:
                    message = await self._receive()
                    self._bytes += len(message.get("body", b""))
                    self.whole = not message.get("more_body", False)  # or it is gone


def _too_large(size: int, most: int) -> Problem:
    return Problem(
        413, "too_large", f"the body has {size:,} bytes or more; at most {most:,} are taken (body_bytes_max)"
    )


class _Going:
    """The answer: what every one has with it, and no longer than somebody takes it."""

    def __init__(self, scope: Scope, send: Send, coming: _Coming, settings: GatewaySettings) -> None:
        self.begun = False
        self._send = send
        self._coming = coming
        self._settings = settings
        extensions = scope.get("extensions", {})
        self._cut, self._flow = extensions.get("zmws.cut"), extensions.get("zmws.flow")
        self._origin = _origin(scope) if settings.origins and _origin(scope) in settings.origins else None

    async def send(self, message: Message) -> None:
        """A part of it. Raises TimeoutError where nobody takes it."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            if not self._coming.whole:
                headers.append((b"connection", b"close"))
            if self._settings.origins:
                headers.append((b"vary", b"origin"))
            if self._origin is not None:
                headers.append((b"access-control-allow-origin", self._origin.encode()))
                headers.append((b"access-control-expose-headers", _CORS_TOLD))
            message = {**message, "headers": headers}
        elif not self._coming.whole and not message.get("more_body", False):
            await self._pass({**message, "more_body": True})
            await self._coming.drop()
            message = {"type": message["type"]}
        await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if self._flow is not None and not self._flow.write_paused:
            return await self._send(message)  # at once
        async with asyncio.timeout(self._settings.send_timeout):
            await self._send(message)

    def cut(self) -> None:
        """Close the connection: whoever is there takes nothing."""
        if self._cut is not None:
            self._cut()
