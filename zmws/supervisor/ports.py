"""Which of the broker's addresses another program has."""

from __future__ import annotations

import errno
import socket

from zmws import ipc_files
from zmws.settings import Settings


def ports_in_use(settings: Settings) -> list[str]:
    """The broker's endpoints that another program holds, as `broker.client (tcp://...)`."""
    taken = []
    for name in ("client", "worker", "news", "mdp"):
        endpoint: str = getattr(settings.broker, name)
        place = ipc_files.place_of(endpoint)
        if _port_in_use(endpoint) if place is None else ipc_files.listens(place):
            taken.append(f"broker.{name} ({endpoint})")
    return taken


def _port_in_use(endpoint: str) -> bool:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not port.isdigit() or port == "0":
        return False
    host = "0.0.0.0" if host == "*" else host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as wrong:
            return wrong.errno == errno.EADDRINUSE
    return False
