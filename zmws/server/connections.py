"""The accepted connections beneath libzmq: what the system tells of a descriptor, and cutting it.

A descriptor's number is used again as soon as it is closed, so a connection is known by the inode of its
socket too, and nothing is read from or done to a number that means another one by now.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Container

# Offsets in struct tcp_info (linux/tcp.h).
_LAST_DATA_RECEIVED = 52  # tcpi_last_data_recv, milliseconds
_BYTES_RECEIVED = 128  # tcpi_bytes_received
_UNSPECIFIED = (ctypes.c_char * 16)()  # a sockaddr of AF_UNSPEC


def inode_of(descriptor: int) -> int | None:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None


def opened(descriptor: int, inode: int) -> socket.socket | None:
    """A copy of the descriptor that is ours to close, None if the number means another one by now."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        if os.fstat(copy).st_ino == inode:
            return socket.socket(fileno=copy)
    except OSError:
        pass  # not a socket
    os.close(copy)
    return None


def bytes_received(descriptor: int, inode: int) -> int | None:
    """Of a TCP connection, since it was made; None where nothing counts them (ipc) or it is gone."""
    return _tcp_info(descriptor, inode, "Q", _BYTES_RECEIVED)


def silent_s(descriptor: int, inode: int) -> float | None:
    """Seconds since anything came over a TCP connection; None where nothing tells (ipc) or it is gone."""
    milliseconds = _tcp_info(descriptor, inode, "I", _LAST_DATA_RECEIVED)
    return None if milliseconds is None else milliseconds / 1000


def _tcp_info(descriptor: int, inode: int, kind: str, offset: int) -> int | None:
    connection = opened(descriptor, inode)
    if connection is None:
        return None
    with connection:
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
        self._known: dict[tuple[str, bytes], tuple[int, int]] = {}  # descriptor and inode

    def seen(self, peer: tuple[str, bytes], descriptor: int) -> None:
        """A message of this peer came over this descriptor."""
        known = self._known.get(peer)
        if known is None or known[0] != descriptor:
            inode = inode_of(descriptor)
            if inode is not None:
                self._known[peer] = (descriptor, inode)

    def cut(self, peer: tuple[str, bytes]) -> bool:
        """Cut this peer's connection; false where it is not known."""
        known = self._known.pop(peer, None)
        if known is not None:
            cut(*known)
        return known is not None

    def keep_only(self, peers: Container[tuple[str, bytes]]) -> None:
        """Forget the others."""
        if self._known:
            self._known = {peer: known for peer, known in self._known.items() if peer in peers}


def cut(descriptor: int, inode: int) -> None:
    """libzmq owns the descriptor: the connection is broken, and libzmq then closes it itself."""
    connection = opened(descriptor, inode)
    if connection is None:
        return
    with connection:
        # What has come in can still be read after a shutdown, and a fast sender sees to it that there
        # is always more. To connect to nowhere throws all of that away and resets a TCP connection.
        ctypes.CDLL(None).connect(connection.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is broken already
