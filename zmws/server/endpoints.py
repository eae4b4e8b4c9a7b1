"""The broker's sockets: how they are made, and what their monitors tell (docs/protocol.md, Sockets).

Why each option: docs/decisions.md. In short: MANDATORY so that a
gone peer is an error and not a silent drop, HANDOVER so that a worker that comes back under a routing
id it chose is not ignored, TCP's own timeouts so that a dead network shows.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path

import zmq

from zmws import ipc_files, sockets
from zmws.key_file import KeyFile
from zmws.settings import BrokerSettings, is_loopback

MDP_UNSENT_MS_MAX = 60_000  # keepalive does not run while sent bytes wait to be acknowledged
BACKLOG = 1_024  # connections that wait to be accepted
NEWS_BYTES_MAX = 1_024  # all that a subscriber ever sends is subscriptions
_WATCHED = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | zmq.Event.CLOSED
FAILED = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


@dataclass(frozen=True, slots=True)
class Doorway:
    """How an endpoint lets peers in. `key`: the broker's own, None: it asks nobody for one."""

    key: KeyFile | None = None
    handshake_s: float = 5.0
    ipc_mode: int = 0o660
    ipc_owner: int = -1
    ipc_group: int = -1


OPEN_DOORWAY = Doorway()


class StartFailed(Exception):
    """The broker cannot start; the message says why and what to do."""


@dataclass(slots=True)
class Endpoint:
    """One bound socket and its monitor."""

    name: str
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    bound: str = ""
    file: tuple[Path, int] | None = None  # of an ipc:// address that we have bound: its path and inode
    is_secured: bool = False  # its peers prove who they are
    is_open: bool = False  # others than this machine reach it
    discarding: bool = False  # in the middle of a message with too many frames

    def events(self) -> list[tuple[int, int]]:
        """What the monitor saw: (event, descriptor)."""
        seen = []
        while sockets.readable(self.monitor):
            seen.append(sockets.monitor_event(self.monitor))
        return seen

    def close(self, linger_ms: int) -> None:
        """Unbind; what was sent may linger."""
        if self.file is not None:
            path, inode = self.file
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == inode:  # else it was removed, and may be another broker's by now
                    path.unlink()
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=linger_ms)


def open_router(
    context: zmq.Context[zmq.Socket[bytes]],
    name: str,
    address: str,
    settings: BrokerSettings,
    doorway: Doorway = OPEN_DOORWAY,
) -> Endpoint:
    """A bound ROUTER for clients, workers or both. Raises StartFailed."""
    draw_anew()
    socket = context.socket(zmq.ROUTER)
    limits = settings.limits
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    _common(socket, settings.message_bytes_max, settings.high_water_mark)
    # On `client` too: without it, what a second connection under a chosen routing id sends is never read
    # and never freed, not even when the connection is closed.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 15)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    # No ZMTP heartbeats from here: where they are on, a connection that is reset while its input stands
    # still (its pipe is full, or another took over its routing id) makes libzmq abort the process
    # (out_event() asserts !_io_error; libzmq issues 4364 and 4767, open in 4.3.5). Of a dead machine TCP
    # notices: by keepalive, and where something waits to be acknowledged, as a HEARTBEAT to a busy worker
    # does each second, by MAXRT; also behind a request too large for the buffers of a peer that reads no
    # more. On `client` no MAXRT: who reads late is no dead peer.
    if name == "worker":
        expiry_s = limits.heartbeat_interval_s * limits.heartbeat_liveness
        socket.setsockopt(zmq.TCP_MAXRT, max(1, int(expiry_s * 1000)))
    elif name == "mdp":
        socket.setsockopt(zmq.TCP_MAXRT, MDP_UNSENT_MS_MAX)
    return _bound(_endpoint(name, socket, address, doorway), address, doorway)


def draw_anew() -> None:
    """Seed the C library's rand() from the system's chance, where it can be.

    A ROUTER draws the routing id of its first peer with rand() when it is made, and counts up from there.
    Nobody seeds rand(), so that number would be the same in every process, and a peer could claim the ids
    that come next: libzmq ends the process when it is about to give one of them (docs/decisions.md, 3).
    For each socket anew: else what one of them has given would tell where the others begin.
    """
    seed = getattr(ctypes.CDLL(None), "srand", None)
    if seed is not None:
        seed(ctypes.c_uint(int.from_bytes(os.urandom(4))))


def open_news(
    context: zmq.Context[zmq.Socket[bytes]],
    address: str,
    settings: BrokerSettings,
    doorway: Doorway = OPEN_DOORWAY,
) -> Endpoint:
    """The bound publisher of news. XPUB is PUB on the wire, and tells whether anybody listens."""
    socket = context.socket(zmq.XPUB)
    _common(socket, NEWS_BYTES_MAX, settings.high_water_mark)
    # Else a subscription in a later part of a message is swallowed, and the message never ends.
    socket.setsockopt(zmq.ONLY_FIRST_SUBSCRIBE, 1)
    return _bound(_endpoint("news", socket, address, doorway), address, doorway)


def _endpoint(name: str, socket: zmq.Socket[bytes], address: str, doorway: Doorway) -> Endpoint:
    socket.setsockopt(zmq.HANDSHAKE_IVL, max(1, int(doorway.handshake_s * 1000)))
    watched = _WATCHED
    if doorway.key is not None:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, doorway.key.secret.encode())
        # The handler learns by it at which socket somebody knocks. Without one, libzmq lets everybody in.
        socket.setsockopt(zmq.ZAP_DOMAIN, name.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        watched |= FAILED
    monitor = socket.get_monitor_socket(int(watched))
    is_open = doorway.key is not None or not is_loopback(address)
    return Endpoint(name, socket, monitor, is_secured=doorway.key is not None, is_open=is_open)


def _common(socket: zmq.Socket[bytes], bytes_max: int, high_water_mark: int) -> None:
    socket.setsockopt(zmq.MAXMSGSIZE, bytes_max)
    socket.setsockopt(zmq.SNDHWM, high_water_mark)
    socket.setsockopt(zmq.RCVHWM, high_water_mark)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)


def _bound(endpoint: Endpoint, address: str, doorway: Doorway) -> Endpoint:
    # Only where it is asked for: with it, libzmq names an IPv4 address as ::ffff:127.0.0.1.
    endpoint.socket.setsockopt(zmq.IPV6, int("[" in address))
    try:
        place = ipc_files.place_of(address)
        if place is not None and not place.startswith("\0"):
            _listen_at(endpoint, Path(place), doorway)
        endpoint.socket.bind(address)
    except (OSError, zmq.ZMQError) as wrong:
        endpoint.close(0)
        raise StartFailed(_why_not(endpoint, address, wrong.errno, wrong.strerror)) from None
    with contextlib.suppress(zmq.ZMQError):
        endpoint.bound = endpoint.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return endpoint


def _listen_at(endpoint: Endpoint, path: Path, doorway: Doorway) -> None:
    """Bind the socket's file ourselves (ipc_files says why). Raises OSError."""
    owner, group = doorway.ipc_owner, doorway.ipc_group
    made = ipc_files.listen(path, BACKLOG, doorway.ipc_mode, owner, group)
    endpoint.file = (path, path.lstat().st_ino)
    endpoint.socket.setsockopt(zmq.USE_FD, made.detach())  # libzmq closes it


def _why_not(endpoint: Endpoint, address: str, number: int | None, reason: str | None) -> str:
    if number == errno.EADDRINUSE:
        return (
            f"{address} (broker.{endpoint.name}) is in use already. Is another broker running? "
            f"'zmws status' tells; else choose another address in etc/zmws.toml."
        )
    return f"cannot bind {address} (broker.{endpoint.name}): {reason}"
