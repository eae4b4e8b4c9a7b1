"""What the broker of an installation says of itself, and whose the broker at its address is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from zmws.client.synchronous import Client
from zmws.errors import Refused, SettingsError, ZmwsError
from zmws.key_file import NO_KEY, KeyFile
from zmws.settings import connectable, place_taken, unknowable
from zmws.settings.key_files import own
from zmws.settings.sections import keys_of
from zmws.supervisor.ports import ports_in_use
from zmws.supervisor.processes import BROKER, Installation

_CONNECT_S = 1.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Who is at the broker's address.

    ours      it answers, `stats` is what it tells; `pid` its process
    another   a broker of another installation answers; `pid` its process
    refused   it answers, and does not let who asks here look; `fault` is what it says
    silent    nobody answers, and the process that is noted, `pid`, runs; `fault` says what was tried
    absent    nobody answers, and no such process runs
    """

    what: Literal["ours", "another", "refused", "silent", "absent"]
    address: str
    pid: int | None = None
    stats: dict[str, Any] | None = None
    fault: str = ""


def client_of(installation: Installation, connect_timeout: float) -> Client:
    """A client of the broker at the installation's address."""
    key = own_key(installation, "operator", installation.settings.broker.client)
    return Client(address_of(installation), connect_timeout=connect_timeout, key=key or NO_KEY)


def address_of(installation: Installation) -> str:
    """Where clients find the broker. Raises SettingsError where nobody can know."""
    endpoint = installation.settings.broker.client
    if place_taken(endpoint) is None:
        raise SettingsError(unknowable("broker.client", endpoint))
    return connectable(endpoint)


def own_key(installation: Installation, kind: str, endpoint: str) -> KeyFile | None:
    """The key of a process of this installation, where its broker asks for one at this endpoint, and there
    is one: the broker is this installation's own, and says what it lacks."""
    security = keys_of(installation.settings.security)
    return own(kind, [endpoint], None, os.environ, security, installation.settings.root, needed=False)


def look(installation: Installation) -> Broker:
    """Who is there now."""
    address, pid = address_of(installation), installation.running().get(BROKER)
    try:
        with client_of(installation, _CONNECT_S) as client:
            stats = client.ask("zmws.stats")
    except Refused as wrong:
        return Broker("refused", address, pid, fault=str(wrong))
    except ZmwsError as wrong:
        return Broker("absent" if pid is None else "silent", address, pid, fault=str(wrong))
    # A broker of an earlier version does not tell of its folder; ours may have been moved since it began.
    folder = installation.settings.installation
    if stats.get("installation", folder) == folder or stats.get("pid") == (pid or 0):
        return Broker("ours", address, stats.get("pid"), stats)
    return Broker("another", address, stats.get("pid"))


def services_with_workers(installation: Installation) -> list[str]:
    """The services that somebody serves now; none if no broker answers."""
    try:
        with client_of(installation, _CONNECT_S) as client:
            return [row["service"] for row in client.ask("zmws.services") if row["workers"]]
    except ZmwsError:
        return []


def unnoted(installation: Installation) -> int | None:
    """The number of a broker of this installation that answers, and that run/ does not know: it was started
    in the foreground, or by a process manager, or its pid file was lost."""
    if BROKER in installation.running() or not ports_in_use(installation.settings):
        return None
    there = look(installation)
    return there.pid if there.what == "ours" else None
