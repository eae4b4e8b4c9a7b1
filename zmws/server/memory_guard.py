"""What stops a peer that sends one message without end.

MAXMSGSIZE is per frame, so an endless multipart message passes every high-water mark. When resident
memory passes `memory_max`, the connection that received most without completing a message is shut.
Which descriptors there are the monitors tell; what each has received, TCP_INFO; and which one a
message came over, the message itself, asked only while memory is short.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

_TCP_INFO_BYTES_RECEIVED = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h)
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process, 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


class MemoryGuard:
    """The accepted descriptors, and which of them is to blame."""

    def __init__(self, memory_max: int, message_bytes_max: int) -> None:
        self._memory_max = memory_max
        self._suspect_bytes = message_bytes_max
        self._received: dict[int, int] = {}  # descriptor -> bytes when it last completed a message
        self.watching = False
        self.cut = 0

    def accepted(self, descriptor: int) -> None:
        """A connection has come."""
        self._received[descriptor] = 0

    def closed(self, descriptor: int) -> None:
        """A connection has gone."""
        self._received.pop(descriptor, None)

    def completed(self, descriptor: int) -> None:
        """A whole message came over this connection; told only while `watching`."""
        if descriptor in self._received:
            self._received[descriptor] = _bytes_received(descriptor)

    def check(self) -> int | None:
        """Look at the memory; shut the worst connection if it is too much. Returns its bytes."""
        resident = resident_bytes()
        watching = resident > self._memory_max // 2
        if watching and not self.watching:
            for descriptor in self._received:
                self._received[descriptor] = _bytes_received(descriptor)
        self.watching = watching
        if resident <= self._memory_max:
            return None
        pending = {fd: _bytes_received(fd) - known for fd, known in self._received.items()}
        worst = max(pending, key=lambda fd: pending[fd], default=None)
        if worst is None or pending[worst] <= self._suspect_bytes:
            return None
        _shut(worst)
        self.cut += 1
        del self._received[worst]
        return pending[worst]


def give_back_memory() -> None:
    """Ask the C library to give freed memory back to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _bytes_received(descriptor: int) -> int:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0
    if len(info) < _TCP_INFO_BYTES_RECEIVED + 8:
        return 0
    return int(struct.unpack_from("Q", info, _TCP_INFO_BYTES_RECEIVED)[0])


def _shut(descriptor: int) -> None:
    # libzmq owns the descriptor: it is shut, not closed, and libzmq then closes it itself.
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
