"""Arguments that a shell completes: services and processes.

Rule: to complete a word is done at each TAB: it is quick, and says nothing of what is wrong.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from zmws import settings
from zmws.errors import ZmwsError
from zmws.key_file import NO_KEY

_CONNECT_S = 0.3  # whoever has pressed TAB waits
_ANSWER_S = 0.5

# bash puts what it is given on the line as it is, and whoever connects a worker names its service.
_PLAIN = re.compile(r"[A-Za-z0-9_.@%+=:,/-]+")

Names = Callable[[click.Context, click.Parameter, str], list[str]]


def _quiet(names: Callable[[click.Context], Iterable[str]]) -> Names:
    @functools.wraps(names)
    def found(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
        try:
            return sorted(name for name in names(ctx) if name.startswith(begun) and _PLAIN.fullmatch(name))
        except (ZmwsError, OSError, TimeoutError):
            return []

    return found


@_quiet
def _processes(ctx: click.Context) -> Iterable[str]:
    from zmws.supervisor.processes import BROKER, Installation

    here = Installation(settings.load(ctx.params.get("config")))
    names = {one.name for one in here.processes(True, True)} | {one.name for one in here.settings.workers}
    return {BROKER, *names, *here.noted()}


@_quiet
def _services(ctx: click.Context) -> Iterable[str]:
    from zmws.client.synchronous import Client

    config, key = ctx.params.get("config"), ctx.params.get("key_file")
    broker = ctx.params.get("broker")
    if broker:
        found = settings.key_for("operator", broker, key, config)
    else:
        broker, found = settings.target("client", "operator", key, config)
    with Client(broker, connect_timeout=_CONNECT_S, key=found or NO_KEY) as client:
        return [row["service"] for row in client.ask_future("zmws.services").result(_ANSWER_S)[1]]


def service_argument() -> Callable[[Any], Any]:
    """The argument SERVICE."""
    return click.argument("service", shell_complete=_services)


def processes_argument(name: str = "names", **more: Any) -> Callable[[Any], Any]:
    """Names of processes."""
    return click.argument(name, shell_complete=_processes, **more)


def shell_of_user() -> str:
    """The name of the user's own shell, "" if nobody knows."""
    return Path(os.environ.get("SHELL", "")).name
