"""Messages between a worker and its children, over a socket: each a length, then the pickled object.

Both ends are the same program, and nobody else has the socket.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

MARK = struct.Struct("@q")  # in memory that both see: the number of the last job that the child has got
_LENGTH = struct.Struct("!Q")
_CHUNK = 64 * 1024  # more would be mapped and unmapped for each message


class Pipe:
    """One end. `send` may be called from any thread, all else from one."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._came = bytearray()
        self._left = bytearray()  # what could not be sent yet
        self._sending = threading.Lock()
        self.broken = False  # the other end is gone
        self.on_data: Callable[[], object] = lambda: None  # something has come, and is not looked at yet

    def send(self, message: Any) -> bool:
        """Send; where the socket does not block, as much as goes now. False if something is left."""
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._left += _LENGTH.pack(len(body)) + body
            return self._flush()

    @property
    def is_full(self) -> bool:
        """Whether something is left that could not be sent yet."""
        return bool(self._left)

    def flush(self) -> bool:
        """Send what is left, as much as goes; False if something is left still."""
        with self._sending:
            return self._flush()

    def _flush(self) -> bool:
        while self._left:
            try:
                del self._left[: self.sock.send(self._left)]
            except BlockingIOError:
                return False
            except OSError:
                self._left.clear()  # the other end is gone: whoever reads is told
                self.broken = True
        return True

    def receive(self, most: int | None = None) -> Iterator[Any]:
        """What has come, at least one message where the socket blocks, of so many reads (None: of all).
        Raises EOFError at the end."""
        for _ in count() if most is None else range(most):
            yield from self._whole()
            try:
                data = self.sock.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                raise EOFError
            self.on_data()
            self._came += data
        yield from self._whole()

    def _whole(self) -> Iterator[Any]:
        while len(self._came) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._came)[0]
            if len(self._came) < end:
                return
            body = bytes(self._came[_LENGTH.size : end])
            del self._came[:end]
            yield pickle.loads(body)

    def close(self) -> None:
        """Nothing more is sent or received."""
        with contextlib.suppress(OSError):
            self.sock.close()
