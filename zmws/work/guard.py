"""Kills what the children of a worker have started, when the worker was killed and cannot.

A child dies with its worker by itself (child.py), but a process that it has started does not. So a small
shell waits at the end of a pipe, and has been told which groups of processes there are.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading

_PROGRAM = """
all=
while read -r what group; do
    left=
    for one in $all; do [ "$one" = "$group" ] || left="$left $one"; done
    [ "$what" = + ] && left="$left $group"
    all=$left
done
for one in $all; do kill -9 "-$one" 2>/dev/null; done
"""


class Guard:
    """Told of groups; acts when this process has ended, however."""

    def __init__(self) -> None:
        """Raises OSError where the system has no process left."""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what is sent to the worker's group is not for it
        )
        self._telling = threading.Lock()

    def watch(self, group: int) -> None:
        """There is this one."""
        self._tell("+", group)

    def forget(self, group: int) -> None:
        """It has ended, and its number may come to others."""
        self._tell("-", group)

    def _tell(self, what: str, group: int) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with self._telling, contextlib.suppress(OSError, ValueError):  # somebody has killed it
            pipe.write(f"{what} {group}\n".encode())
            pipe.flush()

    def close(self) -> None:
        """There are none any more."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()
