"""The socket files of ipc:// addresses: whether somebody listens there, and taking over what is dead.

libzmq removes whatever lies at the path before it binds, and again when it closes: a broker that runs would
lose its address to a second one without a word, and a file that is no socket would be gone. So we bind
ourselves, and libzmq is given the socket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

_FOLDER_S = 2.0  # to bind takes far less
_POLL_S = 0.02


def place_of(address: str) -> str | None:
    """What the address names for the system: a path, or an abstract name (its first character is NUL). None:
    it is no ipc:// address, or libzmq is to make a name up."""
    rest = address.removeprefix("ipc://")
    if rest == address or rest == "*":
        return None
    return "\0" + rest[1:] if rest.startswith("@") else rest


def listens(place: str | Path) -> bool:
    """Whether a program has the place. One that stands still does too, and one that we may not talk to: its
    socket is another user's, or of another kind."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(place))
        except BlockingIOError:
            return True  # so many wait for it already
        except OSError as wrong:
            return wrong.errno != errno.ECONNREFUSED and os.path.lexists(place)
        return True


def listen(path: Path, backlog: int, mode: int = 0o660, owner: int = -1, group: int = -1) -> socket.socket:
    """A socket that listens there; of a dead program the place is taken over. Raises OSError: EADDRINUSE
    where somebody listens, EEXIST for what is no socket, EPERM for an owner that cannot be."""
    with contextlib.ExitStack() as undo, _alone_in(path.parent):
        made = undo.enter_context(socket.socket(socket.AF_UNIX))
        made.setblocking(False)
        try:
            _bind(made, path, mode, owner, group)
        except OSError as wrong:
            if wrong.errno != errno.EADDRINUSE or listens(path):
                raise
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise OSError(errno.EEXIST, "what lies there is no socket") from None
            path.unlink()
            _bind(made, path, mode, owner, group)
        made.listen(backlog)
        undo.pop_all()
    return made


def _bind(made: socket.socket, path: Path, mode: int, owner: int, group: int) -> None:
    """Nobody can connect before it is as it is to be: there is no listener yet."""
    # (Not by umask: that is the whole process's, and other threads make files.)
    made.bind(str(path))
    try:
        if owner != -1 or group != -1:
            os.chown(path, owner, group)
        path.chmod(mode)
    except OSError:
        path.unlink()
        raise


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other broker binds there meanwhile: of two that find a dead socket, the second would remove the new
    one of the first. Raises OSError."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until = time.monotonic() + _FOLDER_S
        while True:
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise OSError(errno.EBUSY, f"another program has locked {folder}") from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(place)
