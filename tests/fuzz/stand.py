"""A gateway without a socket and without a disk: over a broker in this thread, with tokens in memory.

Rule 1: there are two of them: OPEN needs no token; GUARDED has one of each role, a proxy, a page of another
        site and a path of its own.
Rule 2: its event loop turns only while it is asked something.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from zmws.core.key import ROLES as RIGHTS_OF
from zmws.gateway.app import App
from zmws.gateway.guard import Guard
from zmws.gateway.processes import Processes
from zmws.gateway.tokens import ROLES, Role, Tokens, Who, hash_of
from zmws.settings import GatewaySettings, load
from zmws.testing import AsyncFakeClient

OPEN = GatewaySettings(http="127.0.0.1:5580")
GUARDED = GatewaySettings(
    http="127.0.0.1:5580",
    hosts=("work.example",),
    origins=("https://app.example",),
    trusted_proxies=("127.0.0.0/8",),
    root_path="/work",
)
UNTIL = 10**11  # when a login is over


class _InMemory(Tokens):
    """Looks for no file, and asks no broker."""

    def __init__(self, roles: tuple[Role, ...]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            super().__init__(Path(folder) / "logins")
        self._secret = b"k" * 32
        rows = [
            {
                **dict.fromkeys(("group", "rate", "bytes_rate", "revoked_at")),
                "name": role,
                "kind": "token",
                "hash": hash_of(f"zmws_{role}"),
                "role": role,
                "rights": {right: ["*"] for right in RIGHTS_OF[role]},
            }
            for role in roles
        ]
        self.take({"keys": rows})


def no_tokens() -> Tokens:
    """A gateway's that has none."""
    return _InMemory(())


def tokens_of_all_roles() -> Tokens:
    """`zmws_ROLE` is the token of each role, and its name is the role."""
    return _InMemory(ROLES)


def cookie(role: Role) -> str:
    """A login of that role, as a browser sends it."""
    return f"zmws-5580={tokens_of_all_roles().cookie(Who(role), 0, UNTIL)}"


def guards() -> tuple[Guard, Guard]:
    """Of both gateways."""
    return Guard(OPEN, no_tokens()), Guard(GUARDED, tokens_of_all_roles())


def app(settings: GatewaySettings, tokens: Tokens) -> App:
    """A gateway; ECHO gives back what it is given, and no supervisor keeps it. There are a job that has ended
    and one that has not, a batch and a schedule, named as the parts of a door's path are."""
    client = AsyncFakeClient(workers={"ECHO": lambda params: params, "name": lambda params: None})
    front = client._client
    front.submit("ECHO", {"a": [1, "é"]}, id="id", meta={"by": "me"})
    front.submit("ECHO", {"a": 1}, id="later", delay=86_400)
    front.ask("zmws.open", {"id": "id"})
    front.ask("zmws.schedule", {"do": "add", "name": "name", "service": "ECHO", "every": 86_400})
    known = load(None, {}, environ={}, cwd=Path("/"), upward=False)
    found = App(client, replace(known, gateway=settings), tokens)
    found.desk.processes = _NoProcesses(found.desk.processes)
    return found


class _NoProcesses(Processes):
    """Of an installation that no supervisor keeps, without a thread that looks."""

    def __init__(self, found: Processes) -> None:
        self._installation = found._installation

    async def rows(self) -> None:
        return None

    async def disk(self) -> None:
        return None

    async def log(self, name: str) -> list[str]:
        return []


def loop() -> asyncio.AbstractEventLoop:
    """The one loop of all targets."""
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
    return _loop


_loop: asyncio.AbstractEventLoop | None = None


def close() -> None:
    """Close the loop, for good or until it is asked for again."""
    global _loop
    if _loop is not None:
        _loop.run_until_complete(_loop.shutdown_asyncgens())
        _loop.close()
        _loop = None
