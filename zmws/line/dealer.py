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
from zmws.key_file import KeyFile

_FAILED = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_NO_CURVE_THERE = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
_EVENTS = int(zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.CLOSED | _FAILED)


NEEDS_KEY = "takes only peers with a key: give the key file (key=, --key, ZMWS_SECURITY_KEY; 'zmws keys new')"


class NoDescriptors(ZmwsError):
    """This process, or the system, has none left (ulimit -n)."""


class Dealer:
    """The connection there is, if there is one, in a poller of its owner's. Used by one thread."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller, key: KeyFile | None = None
    ) -> None:
        """`key`: by which it proves who it is, and knows the broker; None: neither does."""
        self._context = context
        self._poller = poller
        self._key = key
        self.why = ""  # the connection could not be made, where that is known
        self._endpoint = ""
        self._known = ""  # the same, at a try before
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None

    def open(self, endpoint: str, ping_s: float, silence_s: float) -> None:
        """Close the connection there is, and make another. `ping_s`, `silence_s`: ZMTP heartbeats, which
        find a dead broker, and tell it that this process is not a stopped one.

        Raises NoDescriptors: then there is no connection, and it may be tried again.
        """
        self.close()
        self.why = ""
        if endpoint != self._endpoint:
            self._endpoint, self._known = endpoint, ""
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
        if self._key is not None:
            sockets.secure_client(socket, self._key.public, self._key.secret, self._key.broker)
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
        event, value = sockets.monitor_event(self._monitor)
        if event & _FAILED:
            # What follows it is the end of the connection.
            self.why = self._why(event, value)
            return self.event()
        if event != zmq.Event.HANDSHAKE_SUCCEEDED:
            return "down"
        self._known = ""
        return "up"

    def _why(self, event: int, value: int) -> str:
        """Why a handshake has failed. Which end gives up first is a matter of chance, and perhaps one of them
        alone knows why: what was known at another try still holds."""
        name = None if self._key is None else self._key.name
        if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            self._known = f"it refuses the key '{name}': unknown there, revoked, or not for this socket"
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and name is None:
            self._known = f"it {NEEDS_KEY}"
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == _NO_CURVE_THERE:
            self._known = f"it asks nobody for a key, and the key '{name}' is for a broker that does"
        if self._known:
            return self._known
        if name is None:
            return f"the connection was closed before a word was said; perhaps it {NEEDS_KEY}"
        return (
            f"the handshake with the key '{name}' failed; perhaps the broker there asks nobody for a key, or "
            "is not the one whose public key stands in the key file"
        )

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
