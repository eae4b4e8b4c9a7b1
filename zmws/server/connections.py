"""The accepted connections beneath libzmq: what the system tells of a descriptor, and cutting it.

A descriptor's number is used again as soon as it is closed, so a connection is known by the inode of its
socket too, and nothing is read from or done to a number that means another one by now: it is looked at
through a copy, which nobody else closes. Two descriptors are kept for that: it works when none is free.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import termios
import threading
from collections.abc import Container, Iterator

from zmws.wire.messages import Peer

# Offsets in struct tcp_info (linux/tcp.h).
_LAST_DATA_RECEIVED = 52  # tcpi_last_data_recv, milliseconds
_BYTES_RECEIVED = 128  # tcpi_bytes_received
_UNSPECIFIED = (ctypes.c_char * 16)()  # a sockaddr of AF_UNSPEC


def inode_of(descriptor: int) -> int | None:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None


@contextlib.contextmanager
def opened(descriptor: int, inode: int) -> Iterator[socket.socket | None]:
    """A copy of the descriptor, for the block; None if the number means another one by now."""
    with _spare.lock:
        try:
            # In the place of the spare one, in one step: a free number could be taken by the I/O thread.
            os.dup2(descriptor, _spare.copy, inheritable=False)
        except OSError:
            yield None
            return
        connection = None
        try:
            with contextlib.suppress(OSError):  # not a socket
                if os.fstat(_spare.copy).st_ino == inode:
                    connection = socket.socket(fileno=_spare.copy)
            yield connection
        finally:
            if connection is not None:
                connection.detach()
            os.dup2(_spare.nothing, _spare.copy, inheritable=False)


class _Spare:
    """Two descriptors of nothing: one to be replaced by a copy, one to replace it again."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.nothing = os.open(os.devnull, os.O_RDONLY)
        self.copy = os.dup(self.nothing)


_spare = _Spare()


def address_of(descriptor: int, inode: int) -> str:
    """Where the other end of a connection is, without its port; "" where that is this machine (ipc), or it is
    gone."""
    with opened(descriptor, inode) as connection:
        if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
            return ""
        try:
            return str(connection.getpeername()[0])
        except OSError:
            return ""


def bytes_received(descriptor: int, inode: int) -> int | None:
    """Of a TCP connection, since it was made; None where nothing counts them (ipc) or it is gone."""
    return _tcp_info(descriptor, inode, "Q", _BYTES_RECEIVED)


def silent_s(descriptor: int, inode: int) -> float | None:
    """Seconds since anything came over a TCP connection; None where nothing tells (ipc) or it is gone."""
    milliseconds = _tcp_info(descriptor, inode, "I", _LAST_DATA_RECEIVED)
    return None if milliseconds is None else milliseconds / 1000


def _tcp_info(descriptor: int, inode: int, kind: str, offset: int) -> int | None:
    with opened(descriptor, inode) as connection:
        if connection is None:
            return None
        try:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:
            return None
    if len(info) < offset + struct.calcsize(kind):
        return None
    return int(struct.unpack_from(kind, info, offset)[0])


def has_more(descriptor: int) -> bool:
    try:
        waiting = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    except OSError:
        return False
    return waiting != b"\0\0\0\0"


class PeerConnections:
    """Which connections the messages of some peers came over."""

    def __init__(self) -> None:
        self._known: dict[Peer, tuple[int, int]] = {}  # descriptor and inode

    def seen(self, peer: Peer, descriptor: int) -> None:
        """A message of this peer came over this descriptor."""
        known = self._known.get(peer)
        if known is None or known[0] != descriptor:
            inode = inode_of(descriptor)
            if inode is not None:
                self._known[peer] = (descriptor, inode)

    def cut(self, peer: Peer) -> bool:
        """Cut this peer's connection; false where it is not known."""
        known = self._known.pop(peer, None)
        if known is not None:
            cut(*known)
        return known is not None

    def keep_only(self, peers: Container[Peer]) -> None:
        """Forget the others."""
        if self._known:
            self._known = {peer: known for peer, known in self._known.items() if peer in peers}


def cut(descriptor: int, inode: int) -> None:
    """libzmq owns the descriptor: the connection is broken, and libzmq then closes it itself."""
    with opened(descriptor, inode) as connection:
        if connection is None:
            return
        # What has come in can still be read after a shutdown, and a fast sender sees to it that there
        # is always more. To connect to nowhere throws all of that away and resets a TCP connection.
        ctypes.CDLL(None).connect(connection.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))
        with contextlib.suppress(OSError):  # it is broken already
            connection.shutdown(socket.SHUT_RDWR)
