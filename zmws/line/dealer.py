"""A DEALER socket that lives for one connection, and its monitor.

Rule: it never connects again by itself. Whoever owns it opens another, and so knows what the broker has
heard on this one: READY, or `zmws.hello`, is always the first thing on a connection.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence

import zmq

from zmws import sockets
from zmws.errors import ZmwsError

_EVENTS = int(zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.CLOSED)


class NoDescriptors(ZmwsError):
    """This process, or the system, has none left (ulimit -n)."""


class Dealer:
    """The connection there is, if there is one, in a poller of its owner's. Used by one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller) -> None:
        self._context = context
        self._poller = poller
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None

    def open(self, endpoint: str, ping_s: float, silence_s: float) -> None:
        """Close the connection there is, and make another. `ping_s`, `silence_s`: ZMTP heartbeats, which
        find a dead broker, and tell it that this process is not a stopped one.

        Raises NoDescriptors: then there is no connection, and it may be tried again.
        """
        self.close()
        try:
            self._open(endpoint, ping_s, silence_s)
        except zmq.ZMQError as wrong:
            for half in (self._monitor, self._socket):
                if half is not None:
                    half.close(linger=0)
            self._socket = self._monitor = None
            if wrong.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise NoDescriptors(f"no connection can be made: {wrong.strerror}") from wrong

    def _open(self, endpoint: str, ping_s: float, silence_s: float) -> None:
        self._socket = socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        socket.setsockopt(zmq.SNDHWM, 0)  # bounded by who uses it, not by losing a message
        socket.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, max(1, int(ping_s * 1000)))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, max(1, int(silence_s * 1000)))
        # With heartbeats on, a pipe that is full when the connection breaks makes libzmq abort.
        socket.setsockopt(zmq.RCVHWM, 0)
        self._monitor = socket.get_monitor_socket(_EVENTS)
        socket.connect(endpoint)
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def send(self, frames: Sequence[bytes]) -> None:
        """Send, if there is a connection. One that broke this moment takes nothing (EAGAIN): its monitor
        tells so next, and the owner then does again what matters."""
        if self._socket is not None:
            with contextlib.suppress(zmq.Again):
                sockets.send(self._socket, frames)

    def recv(self) -> list[bytes] | None:
        """A message that is there, or None."""
        if self._socket is None or not sockets.readable(self._socket):
            return None
        return sockets.recv(self._socket)

    def is_ready(self) -> bool:
        """Whether there is something to read."""
        if self._socket is None or self._monitor is None:
            return False
        return sockets.readable(self._socket) or sockets.readable(self._monitor)

    def event(self) -> str | None:
        """What has become of the connection: `up` or `down`; None if nothing is new."""
        if self._monitor is None or not sockets.readable(self._monitor):
            return None
        event, _ = sockets.monitor_event(self._monitor)
        return "up" if event == zmq.Event.HANDSHAKE_SUCCEEDED else "down"

    def close(self, linger_ms: int = 0) -> None:
        """Close the connection, if there is one; what was sent may linger."""
        if self._socket is None or self._monitor is None:
            return
        self._poller.unregister(self._socket)
        self._poller.unregister(self._monitor)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=linger_ms)
        self._socket = self._monitor = None
