"""HTTP/1.1 by uvicorn and h11, with what they leave open: no head may take for ever, and connections are
bounded.

Rule 1: a connection whose next request's head has not come in `receive_timeout` is closed; an idle one after
        `keep_alive` (uvicorn does that).
Rule 2: a connection past `connections_max` is answered 503, and closed.
Rule 3: what is written in one turn is sent in one piece.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from zmws.gateway.problems import Problem, as_json
from zmws.settings import GatewaySettings

_GATHERED_MAX = 65_536
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
)
_FULL_BODY = as_json(Problem(503, "too_many_connections", "connections_max are open already").body())


def protocol_of(settings: GatewaySettings, closing: asyncio.Event) -> type[asyncio.Protocol]:
    """The class of connections for these settings; `closing`: no new one is taken any more."""

    class Connection(_Connection):
        bounds = settings
        is_closing = closing

    return Connection


class _Connection(H11Protocol):
    bounds: GatewaySettings
    is_closing: asyncio.Event

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, _Gathering(transport, self.loop)))
        self._head_timer: asyncio.TimerHandle | None = None
        if self.is_closing.is_set():
            transport.close()  # uvicorn has gone over its connections, and would wait for this one
            return
        if len(self.connections) > self.bounds.connections_max:
            transport.write(_FULL % (len(_FULL_BODY), _FULL_BODY))
            transport.close()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            # What came behind a request is none, and uvicorn's answer to that does not fit behind ours.
            self.transport.abort()
            return
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._head_came()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        try:
            super().handle_events()
        finally:
            if self.cycle is not None:
                extensions: dict[str, Any] = self.scope.setdefault("extensions", {})
                if "zmws.cut" not in extensions:
                    extensions["zmws.cut"] = partial(_cut, self.cycle, self.transport)
                    extensions["zmws.flow"] = self.flow

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.bounds.receive_timeout, self.transport.close)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Gathering:
    """A transport that sends what is written in one turn of the loop together: a head and its short body are
    one packet, and one call of the system."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Send it, soon."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes >= _GATHERED_MAX:
            self._flush()  # and learn at once whether there is to be a pause

    def close(self) -> None:
        """When all has been sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts, self._bytes = [], 0
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _cut(cycle: RequestResponseCycle, transport: asyncio.Transport) -> None:
    """Close a connection in the midst of an answer."""
    cycle.disconnected = True  # uvicorn need not say so in the log
    transport.abort()
