"""A gateway over real HTTP in front of a real broker, in this process; and HTTP by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from tests.peers import wait_until
from zmws import settings
from zmws.core.key import ROLES
from zmws.gateway import server
from zmws.gateway.tokens import Tokens, hash_of
from zmws.testing import RunningBroker


class OwnTokens(Tokens):
    """Tokens of one gateway alone: several of them may stand before one broker, whose list is for all. (What
    the broker tells is taken in by tests/gateway/test_tokens.py.)"""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows: dict[str, dict[str, Any]] = {}
        self._take()

    def take(self, answer: Mapping[str, Any]) -> None:
        """What this broker says is for others."""

    def new(self, name: str, **row: Any) -> str:
        token = f"zmws_{secrets.token_urlsafe(32)}"
        role = row.get("role")
        rights = {right: ["*"] for right in ROLES[role]} if role is not None else {}
        blank = dict.fromkeys(("role", "group", "rate", "bytes_rate", "revoked_at"))
        known = {"name": name, "kind": "token", "hash": hash_of(token), "rights": rights}
        self.rows[name] = {**blank, **known, **row}
        self._take()
        return token

    def delete(self, name: str) -> None:
        del self.rows[name]
        self._take()

    def _take(self) -> None:
        super().take({"keys": list(self.rows.values())})


@dataclass
class Gateway:
    """One that runs. `url`: where; `app`: what answers; `tokens`: those that it knows."""

    url: str
    server: server.Server
    tokens: Any
    loop: asyncio.AbstractEventLoop

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def desk(self) -> Any:
        return self.server._app.desk

    def client(self, token: str | None = None, **more: Any) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, headers=headers, **more)

    def raw(self, data: bytes, timeout: float = 10.0) -> bytes:
        """What is answered to these bytes, until the connection is closed."""
        with socket.create_connection(self.address, timeout) as connection:
            connection.sendall(data)
            return rest(connection)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


@contextlib.contextmanager
def gateway(
    broker: RunningBroker | str,
    folder: Path,
    roles: dict[str, str] | None = None,
    tokens: type[Tokens] | None = None,
    **changes: Any,
) -> Iterator[Gateway]:
    """A gateway until the block ends. `roles`: a token for each name; `tokens`: of this class,
    Tokens for those of the broker; `changes`: its settings."""
    client = broker if isinstance(broker, str) else broker.client
    flags = {"broker.client": client, "gateway.http": "127.0.0.1:0"}
    known = settings.load(None, flags, environ={}, cwd=folder, upward=False)
    known = replace(known, root=folder, gateway=replace(known.gateway, **changes))
    found = (tokens or OwnTokens)(known.root / known.gateway.tokens)
    for name, role in (roles or {}).items():
        assert isinstance(found, OwnTokens)
        TOKENS[name] = found.new(name, role=role)
    listening = server.bound(known)
    host, port = listening.getsockname()[:2]
    running: list[Any] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await server.serve(known, found, listening, lambda it: running.append((it, loop)))

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="gateway")
    thread.start()
    wait_until(lambda: running or not thread.is_alive(), what="the gateway to be ready")
    it, loop = running[0]
    try:
        yield Gateway(f"http://{host}:{port}", it, found, loop)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(it.end)
        thread.join(20)
        assert not thread.is_alive(), "the gateway did not end"


TOKENS: dict[str, str] = {}  # that were made last, by name


class Stream:
    """Server-sent events as they come."""

    def __init__(self, client: httpx.Client, path: str, last_id: str | None = None) -> None:
        self._context = client.stream("GET", path, headers={"last-event-id": last_id} if last_id else {})
        self.response = self._context.__enter__()
        self._lines = self.response.iter_lines()
        self.last_id: str | None = None

    def next(self) -> tuple[str, Any]:
        """The next event's kind and data; ("end", None) at the end of the stream."""
        kind, data = "message", ""
        for line in self._lines:
            if line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                data += line[6:]
            elif not line and data:
                return kind, json.loads(data)
        return "end", None

    def all(self) -> list[tuple[str, Any]]:
        """All until the end."""
        found = []
        while (event := self.next())[0] != "end":
            found.append(event)
        return found

    def close(self) -> None:
        self._context.__exit__(None, None, None)
