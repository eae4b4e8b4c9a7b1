"""Multipart messages over pyzmq, fast, and the socket options that every zmws socket has.

pyzmq's own send_multipart and recv_multipart spend most of their time on enum arithmetic and option
calls per frame; the same calls on its backend, with plain integers, take a sixth and a half of it
(measured: docs/decisions.md). Nothing else of zmws touches the backend.
"""

from __future__ import annotations

import contextlib
import errno
import re
import struct
from collections.abc import Sequence

import zmq
from zmq.backend import Socket as _Backend

from zmws.errors import ZmwsError

_send = _Backend.send
_recv = _Backend.recv
_get = _Backend.get
_SNDMORE = int(zmq.SNDMORE)
_DONTWAIT = int(zmq.DONTWAIT)
_SEND_MORE_NOW = _SNDMORE | _DONTWAIT
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_NO_BOUND = 1 << 60
_LAST = zmq.Frame()
_LINE_EVENTS = int(zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.CLOSED)


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes]) -> None:
    """Send one message without waiting.

    Raises zmq.Again where the pipe is full, and ZMQError (EHOSTUNREACH) from a mandatory ROUTER
    whose peer is gone. Both can only come from the first frame: libzmq takes a message whole.
    """
    last = len(frames) - 1
    for frame in frames[:last]:
        _send(socket, frame, _SEND_MORE_NOW)
    _send(socket, frames[last], _DONTWAIT)


def recv(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Receive one message that is there. Raises zmq.Again if there is none."""
    return recv_at_most(socket, _NO_BOUND)[0]


def recv_at_most(socket: zmq.Socket[bytes], frames_max: int) -> tuple[list[bytes], zmq.Frame]:
    """As `recv`, but at most so many frames; the last one tells by `more` whether others follow, which
    are then to be discarded, and by `descriptor_of` where it came from."""
    frame = _recv(socket, _DONTWAIT, False)
    frames = [frame.bytes]
    try:
        while frame.more and len(frames) < frames_max:
            frame = _recv(socket, _DONTWAIT, False)
            frames.append(frame.bytes)
    except zmq.Again:
        return frames, _LAST  # its connection broke within the message
    return frames, frame


def discard(socket: zmq.Socket[bytes], frames_max: int) -> bool:
    """Throw away what follows of a message, at most so many frames; true if that was the rest."""
    try:
        for _ in range(frames_max):
            if not _recv(socket, _DONTWAIT, False).more:
                return True
    except zmq.Again:
        return True
    return False


def descriptor_of(frame: zmq.Frame) -> int:
    """The descriptor of the connection that a frame came over, -1 if it is not known."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is there: cheaper than the exception that says there is none."""
    return bool(int(_get(socket, _EVENTS)) & _POLLIN)


def monitor_event(monitor: zmq.Socket[bytes]) -> tuple[int, int]:
    """The event that is there, and its value: zmq_socket_monitor(3). pyzmq's own reader imports asyncio,
    which costs the start of every command a tenth of a second."""
    event, value = struct.unpack("=Hi", recv(monitor)[0])
    return event, value


_ENDPOINT = re.compile(r"tcp://(\[[^\[\]]+\]|[^\s:/\[\]]+):([0-9]{1,5})|ipc://.+")


def check_endpoint(endpoint: str) -> None:
    """Raises ValueError for what no socket can connect to, with what to write instead."""
    match = _ENDPOINT.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if match is None or match[1] == "*" or (match[2] is not None and not 0 < int(match[2]) < 65_536):
        raise ValueError(f"{endpoint!r} is no endpoint to connect to; write tcp://HOST:PORT")


class NoDescriptors(ZmwsError):
    """This process, or the system, has none left (ulimit -n)."""


class Line:
    """A DEALER that lives for one connection, and its monitor, in a poller of its owner's.

    It never reconnects by itself: whoever owns it opens another, and so knows what the broker has heard
    on it. Used by one thread.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], poller: zmq.Poller) -> None:
        self._context = context
        self._poller = poller
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None

    def open(self, endpoint: str, ping_s: float, timeout_s: float) -> None:
        """Close the connection there is, and make another. `ping_s`, `timeout_s`: ZMTP heartbeats, which
        find a dead broker, and tell it that this process is not a stopped one; 0: none.

        Raises NoDescriptors: then there is no connection, and it may be tried again.
        """
        self.close()
        try:
            self._open(endpoint, ping_s, timeout_s)
        except zmq.ZMQError as wrong:
            for half in (self._monitor, self._socket):
                if half is not None:
                    half.close(linger=0)
            self._socket = self._monitor = None
            if wrong.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise NoDescriptors(f"no connection can be made: {wrong.strerror}") from wrong

    def _open(self, endpoint: str, ping_s: float, timeout_s: float) -> None:
        self._socket = socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        socket.setsockopt(zmq.SNDHWM, 0)  # bounded by who uses it, not by losing a message
        socket.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5_000)
        if ping_s > 0:
            socket.setsockopt(zmq.HEARTBEAT_IVL, max(1, int(ping_s * 1000)))
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, max(1, int(timeout_s * 1000)))
            # With heartbeats on, a pipe that is full when the connection breaks makes libzmq abort.
            socket.setsockopt(zmq.RCVHWM, 0)
        self._monitor = socket.get_monitor_socket(_LINE_EVENTS)
        socket.connect(endpoint)
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def send(self, frames: Sequence[bytes]) -> None:
        """Send, if there is a connection. One that broke this moment takes nothing (EAGAIN): its monitor
        tells so next, and the owner then does again what matters."""
        if self._socket is not None:
            with contextlib.suppress(zmq.Again):
                send(self._socket, frames)

    def recv(self) -> list[bytes] | None:
        """A message that is there, or None."""
        if self._socket is None or not readable(self._socket):
            return None
        return recv(self._socket)

    def event(self) -> str | None:
        """What has become of the connection: `up` or `down`; None if nothing is new."""
        if self._monitor is None or not readable(self._monitor):
            return None
        return "up" if monitor_event(self._monitor)[0] == zmq.Event.HANDSHAKE_SUCCEEDED else "down"

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
