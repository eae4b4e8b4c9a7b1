"""Target: bytes on a connection of the gateway, through h11, uvicorn and every door of the app, to the broker
and back, all in one thread.

`@LEN` in the first head stands for the length of what follows it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.server import ServerState

from tests.fuzz import stand
from tests.fuzz.given import GIVEN_WORDS, GUARD_WORDS, HEAD_BYTES_MAX, TARGETS, request_in
from tests.fuzz.target import Target, check_time
from zmws.gateway.doors import BY_PATTERN, FIXED, OLD
from zmws.gateway.given import FORM
from zmws.gateway.http import protocol_of

TURNS = 60  # of the loop, until what has to be answered is
REQUESTS_MAX = 300  # of one gateway: what they leave behind must not add up
_LOGS = ("zmws.gateway", "uvicorn.error", "asyncio")


class Wire(asyncio.Transport):
    """A connection that nobody is behind."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 5580)})
        self.sent = bytearray()
        self.cut = False
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """To nobody."""
        self.sent += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = self.cut = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Gateway:
    """One without a socket."""

    def __init__(self, guarded: bool) -> None:
        settings = stand.GUARDED if guarded else stand.OPEN
        tokens = stand.tokens_of_all_roles() if guarded else stand.no_tokens()
        self.app = stand.app(settings, tokens)
        self.requests = 0
        self._state = ServerState()
        self._config = uvicorn.Config(
            self.app,
            http=protocol_of(settings, self.app.desk.closing),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=settings.header_bytes_max,
        )
        self._config.load()

    async def asked(self, data: bytes, parts: int) -> Wire:
        """What is answered to these bytes, which come in so many parts; then whoever asked goes."""
        self.requests += 1
        wire = Wire()
        connection: Any = self._config.http_protocol_class(self._config, self._state, {})  # type: ignore[operator, call-arg, misc]
        connection.connection_made(wire)
        size = len(data) // parts + 1
        for at in range(0, len(data), size):
            connection.data_received(data[at : at + size])
            await asyncio.sleep(0)
            if wire.is_closing():
                break
        for _ in range(TURNS):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        for _ in range(TURNS):
            if not self._state.tasks:
                break
            await asyncio.sleep(0)
        else:
            raise AssertionError(f"who has gone is still waited for: {self._state.tasks}")
        return wire


_gateways: dict[bool, Gateway] = {}


def check_connection(data: bytes) -> None:
    """Each gateway answers, and none has a fault of its own."""
    head, blank, body = data.partition(b"\n\n")
    data = head.replace(b"@LEN", b"%d" % len(body)) + blank + body
    parts = 1 + len(data) % 3 if len(data) < 10_000 else 1
    for guarded in (False, True):
        if guarded not in _gateways or _gateways[guarded].requests >= REQUESTS_MAX:
            _gateways[guarded] = Gateway(guarded)
        with _no_faults() as faults:
            begun = time.process_time()
            wire = stand.loop().run_until_complete(_gateways[guarded].asked(data, parts))
            check_time(begun, "the gateway")
        for fault in faults:
            raise AssertionError(fault.getMessage()) from (fault.exc_info or (None, None))[1]
        _check_answer(data, wire)


def forget() -> None:
    """The gateways there are."""
    _gateways.clear()


@contextmanager
def _no_faults() -> Iterator[list[logging.LogRecord]]:
    """What is logged as an error meanwhile."""
    found: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    kept = Kept(logging.ERROR)
    for name in _LOGS:
        logging.getLogger(name).addHandler(kept)
    try:
        yield found
    finally:
        for name in _LOGS:
            logging.getLogger(name).removeHandler(kept)


def _check_answer(data: bytes, wire: Wire) -> None:
    request = request_in(data)
    if not wire.sent:
        assert not _is_whole(data), "no answer"
        return
    client = h11.Connection(h11.CLIENT)
    method = request.method if request is not None and request.method.isalpha() else "GET"
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.receive_data(bytes(wire.sent))
    event = client.next_event()
    while isinstance(event, h11.InformationalResponse):
        event = client.next_event()
    assert isinstance(event, h11.Response), event
    assert event.status_code != 500, bytes(wire.sent)
    body, part = b"", client.next_event()
    while isinstance(part, h11.Data):
        body += part.data
        part = client.next_event()
    kind = dict(event.headers).get(b"content-type", b"")
    if (
        isinstance(part, h11.EndOfMessage)
        and body
        and kind.startswith((b"application/json", b"application/problem"))
    ):
        json.loads(body)


def _is_whole(data: bytes) -> bool:
    """Whether these bytes begin with a request that has its end."""
    connection = h11.Connection(h11.SERVER, HEAD_BYTES_MAX)
    connection.receive_data(data)
    try:
        event = connection.next_event()
        while isinstance(event, h11.Request | h11.Data):
            event = connection.next_event()
    except h11.RemoteProtocolError:
        return False
    return isinstance(event, h11.EndOfMessage)


def _seeds() -> Iterator[bytes]:
    """Each door with each of its methods, by an operator."""
    head = b"%s %s HTTP/1.1\nHost: localhost\nAuthorization: Bearer zmws_operator\n"
    body = b"Content-Type: %s\nContent-Length: @LEN\n\n%s"
    for door in (*FIXED.values(), *BY_PATTERN, OLD):
        path = re.sub(r"[{}]", "", door.path).encode()
        for method in door.methods:
            if method == "GET":
                yield head % (b"GET", path) + b"\n"
            elif path.startswith(b"/ui"):
                yield head % (method.encode(), path) + body % (
                    FORM.encode(),
                    b"service=ECHO&params={}&sure=1",
                )
            else:
                yield head % (method.encode(), path) + body % (b"application/json", b'{"service": "ECHO"}')
    for path, asked in (
        (b"/api/v1/jobs", b'{"service": "ECHO", "params": {"a": 1}, "id": "a", "meta": {}, "retries": 1}'),
        (b"/api/v1/jobs/many", b'[{"service": "ECHO"}, {"service": "NOPE", "params_base64": "QQ=="}]'),
        (b"/api/v1/jobs/cancel", b'{"service": "ECHO", "state": "waiting", "dry_run": true}'),
        (b"/api/v1/services/name/lease", b'{"lease": "l1", "ttr": 5}'),
        (
            b"/api/v1/chains",
            b'{"chain": [{"service": "ECHO"}, {"service": "ECHO", "params": {"x": "$PREVIOUS"}}]}',
        ),
        (
            b"/api/v1/batches",
            b'{"id": "b", "then": {"service": "ECHO"}, "keep": 5, "jobs": [{"service": "ECHO"}]}',
        ),
        (b"/api/v1/batches/id/jobs", b'[{"service": "ECHO", "params": {"a": 1}}]'),
        (b"/api/v1/marks", b'{"text": "deploy", "service": "ECHO"}'),
        (
            b"/api/v1/schedules",
            b'{"name": "n", "service": "ECHO", "cron": "* * * * *", "zone": "Europe/Berlin"}',
        ),
        (b"/api/v1/leases/extend", b'{"token": "id/1/n", "seconds": 5}'),
        (b"/api/v1/leases/report", b'{"token": "id/1/n", "kind": "complete", "result": 1}'),
        (b"/api/v1/jobs/id/copy", b'{"params": {"a": 2}, "priority": 5}'),
        (b"/SYNC-ECHO", b'{"a": 1}'),
    ):
        yield head % (b"POST", path) + body % (b"application/json", asked)


CONNECTION = Target(
    "connection",
    check_connection,
    tuple(
        dict.fromkeys(
            (
                *GIVEN_WORDS,
                *GUARD_WORDS,
                b"Transfer-Encoding: chunked\n",
                b"Content-Length: @LEN\n",
                b"0\n\n",
                b"/api/v1/",
            )
        )
    ),
    (
        *_seeds(),
        *(
            seed.replace(b"\n\n", b"\nContent-Length: @LEN\n\n", 1)
            for target in TARGETS
            for seed in target.seeds
        ),
    ),
)
