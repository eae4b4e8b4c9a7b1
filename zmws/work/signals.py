"""The signals by which a worker is told to end: SIGTERM, SIGINT, SIGHUP.

Rule 1: Python runs a handler in the main thread, between two steps of its code: not while that is in C. So a
        thread here is told of each signal, too, by a descriptor (`signal.set_wakeup_fd`). The first to hear
        of a signal tells of it, once.
Rule 2: while `setup()` runs, the handler raises StoppedInSetup: there is no job that could be finished.
Rule 3: what a job does to the handlers is undone when it has ended; what `setup()` does stays. When the
        worker has ended, all is as before it.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from zmws.work.forks import handle_signal

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StoppedInSetup(BaseException):
    """Raised by the handler: nothing that a setup() waits for will be needed."""


class Signals:
    """Takes them, keeps them, gives them back. All but `told` is for the main thread."""

    def __init__(self, told: Callable[[int], None]) -> None:
        """`told`: called for each signal, from any thread."""
        self.came: list[int] = []
        self.setting_up = False
        self._told = told
        self._before: dict[int, Any] = {}  # the handlers there were
        self._ours: dict[int, Any] = {}  # those to be kept
        self._seen: tuple[Counter[int], Counter[int]] = (Counter(), Counter())  # by the handler, the thread
        self._noting = threading.RLock()  # a handler may interrupt another
        self._write: socket.socket | None = None  # while they are taken
        self._fd_before = -1

    def take(self) -> None:
        """From now on they are told."""
        for number in STOPS:
            before = signal.getsignal(number)
            # Ignored from before is SIGHUP under nohup, whose user wants just that.
            if number != signal.SIGHUP or before != signal.SIG_IGN:
                handle_signal(number, self._handle)
                self._before[number] = before
        self._ours = {number: signal.getsignal(number) for number in self._before}
        read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        _thread.start_new_thread(self._watch, (read,))

    def set_up(self) -> None:
        """What the author's setup() has made of the handlers is to stay."""
        self._ours = {number: signal.getsignal(number) for number in self._before}

    def keep(self) -> list[str]:
        """Undo what a job has done; the names of the signals whose handlers it had changed."""
        if self._write is None:
            return []
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        changed = []
        for number, handler in self._ours.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
                changed.append(signal.Signals(number).name)
        return changed

    def give_back(self) -> None:
        """As before `take`."""
        if self._write is None:
            return
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL if before is None else before)
        with contextlib.suppress(ValueError):  # that one is closed by now
            signal.set_wakeup_fd(self._fd_before)
        self._told = lambda number: None
        self._write.close()
        self._write = None

    def _handle(self, number: int, _: object) -> None:
        self._note(number, by_thread=False)
        if self.setting_up:
            raise StoppedInSetup

    def _watch(self, read: socket.socket) -> None:
        with read:
            while data := read.recv(64):
                for number in data:
                    # Any signal that Python has a handler for is told, and an author may have others.
                    if self._ours.get(number) == self._handle:
                        self._note(number, by_thread=True)

    def _note(self, number: int, by_thread: bool) -> None:
        with self._noting:
            mine, others = self._seen[by_thread], self._seen[not by_thread]
            mine[number] += 1
            if mine[number] <= others[number]:
                return
            self.came.append(number)
        self._told(number)
