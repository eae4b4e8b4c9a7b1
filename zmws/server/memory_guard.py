"""What stops peers that send messages without end.

MAXMSGSIZE is per frame, so an endless multipart message passes every high-water mark. When resident
memory passes `memory_max`, the connections that received most without completing a message are cut.
Which descriptors there are the monitors tell; what each has received, TCP_INFO; and which one a
message came over, the message itself, asked only while memory is short.

Rule 1: a descriptor's number is used again as soon as it is closed, and monitors of several sockets
        tell in no common order. So a connection is known by the inode of its socket too, and nothing
        is read from or done to a number that means another one by now.
Rule 2: several are cut at a time, all that come near the worst: one by one would be a race against
        a crowd. A frame of one byte costs 64 in memory, so bytes say who is to blame, not how much.
Rule 3: who is cut by mistake loses a connection and no work: clients repeat, workers come back.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from zmws.server import connections

SUSPECT_BYTES_MIN = 16 * 1024  # less than this is heartbeats, or a message that is just coming in
IPC_SUSPECT_TIMES = 3  # looks at which a connection without a byte count had more to read
TRIM_GAP_CHECKS = 10  # asking for memory back walks through the whole heap: not at every look
TRIMS_AFTER_CUT = 5  # looks in which what a cut connection held is surely freed

_M_MMAP_THRESHOLD = -3  # malloc.h
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _open_statm() -> int | None:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return None


_statm = _open_statm()  # kept open: out of descriptors, memory would be out of sight too


def resident_bytes() -> int:
    """Resident memory of this process, 0 where the system does not tell."""
    return 0 if _statm is None else int(os.pread(_statm, 200, 0).split()[1]) * _PAGE


@dataclass(slots=True)
class _Connection:
    inode: int
    received: int = 0  # bytes when it last completed a message
    times: int = 0  # looks since then at which it had more to read


class MemoryGuard:
    """The accepted descriptors, and which of them are to blame."""

    def __init__(self, memory_max: int, message_bytes_max: int) -> None:
        self._memory_max = memory_max
        self._message_bytes_max = message_bytes_max
        self._connections: dict[int, _Connection] = {}
        self._leaving: set[int] = set()
        self._checks_since_trim = TRIM_GAP_CHECKS
        self._trims_due = 0
        self.watching = False
        self.cut = 0  # connections, in all

    def accepted(self, descriptor: int) -> None:
        """A connection has come."""
        inode = connections.inode_of(descriptor)
        if inode is not None:
            self._connections[descriptor] = _Connection(inode)

    def closed(self, descriptor: int) -> None:
        """A connection has gone, or is about to; the number may mean another one by now."""
        if descriptor in self._connections:
            self._leaving.add(descriptor)

    def completed(self, descriptor: int) -> None:
        """A whole message came over this connection; told only while `watching`."""
        connection = self._connections.get(descriptor)
        if connection is not None:
            connection.received = connections.bytes_received(descriptor, connection.inode) or 0
            connection.times = 0

    def much_is_freed(self) -> None:
        """By connections that somebody else has cut: what they held is to go back to the system."""
        self._trims_due = TRIMS_AFTER_CUT

    @property
    def connections(self) -> int:
        """How many connections are known."""
        return len(self._connections)

    def check(self) -> int | None:
        """Look at the memory; cut the worst connections if it is too much. Returns their bytes."""
        self._forget_those_that_left()
        resident = resident_bytes()
        watching = resident > self._memory_max // 2
        if watching and not self.watching:
            for descriptor, connection in self._connections.items():
                connection.received = connections.bytes_received(descriptor, connection.inode) or 0
                connection.times = 0
        self.watching = watching
        if watching:
            self._look_at_the_uncounted()
        self._checks_since_trim += 1
        short = resident > self._memory_max and self._checks_since_trim > TRIM_GAP_CHECKS
        if short or self._trims_due:
            # What was freed stays with the C library until it is asked.
            give_back_memory()
            self._checks_since_trim = 0
            self._trims_due = max(0, self._trims_due - 1)
            resident = resident_bytes()
        if resident <= self._memory_max:
            return None
        return self._cut_the_worst()

    def _forget_those_that_left(self) -> None:
        for descriptor in self._leaving:
            connection = self._connections.get(descriptor)
            if connection is not None and connections.inode_of(descriptor) != connection.inode:
                del self._connections[descriptor]
        self._leaving.clear()

    def _look_at_the_uncounted(self) -> None:
        for descriptor, connection in self._connections.items():
            connection.times += connections.has_more(descriptor)

    def _cut_the_worst(self) -> int | None:
        pending: dict[int, int] = {}
        uncounted: dict[int, int] = {}
        for descriptor, connection in list(self._connections.items()):
            received = connections.bytes_received(descriptor, connection.inode)
            if received is not None:
                pending[descriptor] = received - connection.received
            elif connections.inode_of(descriptor) != connection.inode:
                del self._connections[descriptor]
            else:
                uncounted[descriptor] = connection.times
        worst = max(pending.values(), default=0)
        guilty = [fd for fd, count in pending.items() if count >= max(SUSPECT_BYTES_MIN, worst / 2)]
        if not guilty:
            most = max(uncounted.values(), default=0)
            guilty = [fd for fd, times in uncounted.items() if times >= max(IPC_SUSPECT_TIMES, most)]
        for descriptor in guilty:
            connections.cut(descriptor, self._connections.pop(descriptor).inode)
        self.cut += len(guilty)
        if not guilty:
            return None
        self._trims_due = TRIMS_AFTER_CUT
        return sum(pending.get(descriptor, 0) for descriptor in guilty)


def large_blocks_apart() -> None:
    """Ask the C library to keep blocks of 128 KiB and more outside its heap, and so to give each back as
    soon as it is freed. By default it moves that border up to what was freed last, and what one flood of
    large messages took would stay with the process."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, 128 * 1024)


def give_back_memory() -> None:
    """Ask the C library to give freed memory back to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
