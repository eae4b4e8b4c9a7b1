"""Multipart messages over pyzmq, fast, and the socket options that every zmws socket has.

pyzmq's own send_multipart and recv_multipart spend most of their time on enum arithmetic and option
calls per frame; the same calls on its backend, with plain integers, take a sixth and a half of it
(measured: docs/decisions.md). Nothing else of zmws touches the backend.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

import zmq
from zmq.backend import Socket as _Backend

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


def user_of(frame: zmq.Frame) -> str:
    """Who sent a frame, as our ZAP handler has named him; "" where nobody has."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def address_of(frame: zmq.Frame) -> str:
    """Where a frame came from, without the port; "" where that is not known."""
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""


def secure_client(socket: zmq.Socket[bytes], public: str, secret: str, broker: str) -> None:
    """A socket that proves who it is, to this broker alone (CURVE); before it connects."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, broker.encode())


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
