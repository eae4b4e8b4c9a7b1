"""The process: `zmws gateway`. It binds, says that it is ready, and ends at SIGTERM or Ctrl-C.

Rule: who waits here when it ends is answered at once; what does not end by itself within `_GRACE_S` is cut
off."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn

from zmws import tracing
from zmws.client.in_loop import LoopClient
from zmws.errors import SettingsError, ZmwsError
from zmws.gateway.app import App
from zmws.gateway.desk import log
from zmws.gateway.http import protocol_of
from zmws.gateway.tokens import Tokens
from zmws.key_file import NO_KEY
from zmws.settings import Settings, connectable, key_files
from zmws.settings.addresses import is_loopback, parse_http
from zmws.settings.sections import keys_of

_GRACE_S = 2
_BACKLOG = 2_048
_TOLD_S = 10.0  # for the broker to say which tokens there are, where one is needed
_CONNECT_S = 1.2  # a new request is to be told within 1.5 s that there is no broker


def tokens_of(settings: Settings) -> Tokens:
    """The tokens of an installation. Raises SettingsError."""
    return Tokens(settings.root / settings.gateway.tokens)


def check(settings: Settings) -> Tokens:
    """What can be known to be wrong before anything is bound; the tokens. Tracing is on from here, where the
    settings say so. Raises SettingsError."""
    http, tokens = settings.gateway.http, tokens_of(settings)
    if not http:
        raise SettingsError('gateway.http is "": the gateway is turned off')
    if settings.gateway.tracing:
        try:
            tracing.instrument()
        except ZmwsError as missing:
            raise SettingsError(f"gateway.tracing is true: {missing}") from None
    return tokens


def check_tokens(settings: Settings, tokens: Tokens) -> None:
    """Whether there is a token, where one is needed: the broker has told. Raises SettingsError."""
    http = settings.gateway.http
    if not is_loopback(http) and not tokens:
        raise SettingsError(
            f"gateway.http is {http}, which others can reach, and there is no token: anybody could run jobs. "
            "Make one (zmws gateway token new NAME --role operator), or listen at 127.0.0.1"
        )
    if settings.gateway.trusted_proxies and not tokens:
        raise SettingsError(
            "gateway.trusted_proxies names a proxy, by which others can reach this gateway, and there is no "
            "token: anybody could run jobs. Make one (zmws gateway token new NAME --role operator)"
        )


def bound(settings: Settings) -> socket.socket:
    """The socket that listens. Raises SettingsError."""
    host, port = parse_http(settings.gateway.http)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol by name: else asyncio leaves Nagle's algorithm on, and each answer takes 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as wrong:
        listening.close()
        why = "another program has it" if wrong.errno == errno.EADDRINUSE else wrong.strerror
        raise SettingsError(f"cannot listen at {settings.gateway.http}: {why}") from None
    listening.setblocking(False)
    return listening


class Server(uvicorn.Server):
    """Ends when it is told to, and not by the signal itself: its exit code says how it went."""

    def __init__(self, config: uvicorn.Config, app: App, ready: Callable[[Server], None]) -> None:
        super().__init__(config)
        self._app, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready(self)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end it; the second one at once."""
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.end)
        yield

    def end(self) -> None:
        """Answer those who wait, and end; called once more, at once. In the loop's thread."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._app.desk.closing.set()


def run(settings: Settings, tokens: Tokens, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until it is told to end."""
    _allow_descriptors()
    asyncio.run(serve(settings, tokens, listening, lambda _: ready()))


async def serve(
    settings: Settings, tokens: Tokens, listening: socket.socket, ready: Callable[[Server], None]
) -> None:
    """As `run`, in a loop that there is; `ready` is given what can end it."""
    own, broker = settings.gateway, connectable(settings.broker.client)
    security, endpoint = keys_of(settings.security), settings.broker.client
    key = key_files.own("gateway", [endpoint], None, os.environ, security, settings.root)
    async with LoopClient(
        broker, connect_timeout=_CONNECT_S, reconnect_timeout=own.reconnect_timeout, key=key or NO_KEY
    ) as client:
        app = App(client, settings, tokens)
        await _first_tokens(settings, app, tokens)
        keeping = asyncio.ensure_future(app.desk.keep_tokens())
        config = uvicorn.Config(
            app,
            http=protocol_of(own, app.desk.closing),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=int(max(1, own.keep_alive)),
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=own.header_bytes_max,
        )

        def listens(server: Server) -> None:
            host, port = listening.getsockname()[:2]
            log.info("http: %s", f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
            if not tokens:
                log.info("without a token everybody on this machine may everything (zmws gateway token new)")
            ready(server)

        try:
            await Server(config, app, listens).serve([listening])
        finally:
            keeping.cancel()
    log.info("the gateway has stopped")


async def _first_tokens(settings: Settings, app: App, tokens: Tokens) -> None:
    """Learn which tokens there are. Where one is needed the broker may take a while to say; nobody comes in
    before. Raises SettingsError."""
    is_here = is_loopback(settings.gateway.http) and not settings.gateway.trusted_proxies
    until = time.monotonic() + (0.0 if is_here else _TOLD_S)
    while not tokens.is_known:
        with contextlib.suppress(ZmwsError):
            await app.desk.learn_tokens()
        if time.monotonic() >= until:
            break
    if tokens.is_known:
        check_tokens(settings, tokens)


def _allow_descriptors() -> None:
    """As many connections as the system lets this process have."""
    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
