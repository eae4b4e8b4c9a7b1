"""Lets a test that opens a socket, or starts a process or a thread, end as skipped, at the first try.

So nobody keeps a list of the tests that need none: those that were skipped while the tester learned are
never run again.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, NoReturn

import pytest
import zmq

EVENTS = {
    "socket.__new__",
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
}


class Refusal:
    """It holds while `active`; once made, it cannot be taken away from the process."""

    def __init__(self) -> None:
        self.active = False
        self.used = False  # somebody was refused since this was last set to False
        sys.addaudithook(self._on_event)
        for owner, method in ((threading.Thread, "start"), (zmq.Context, "__init__")):
            self._guard(owner, method)

    def _on_event(self, event: str, _: Any) -> None:
        if self.active and event in EVENTS:
            self._refuse(event)

    def _guard(self, owner: Any, method: str) -> None:
        original = getattr(owner, method)

        def guarded(*args: Any, **named: Any) -> Any:
            if self.active:
                self._refuse(f"{owner.__name__}.{method}")
            return original(*args, **named)

        setattr(owner, method, guarded)

    def _refuse(self, what: str) -> NoReturn:
        self.used = True
        pytest.skip(f"it is not without sockets, processes and threads: {what}")
