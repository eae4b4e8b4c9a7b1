"""Writes what children print, and what is said of them, in a thread of its own: perhaps nobody reads that.

Rule: who puts is never held up. It looks at `is_full`, and then takes no more from those who print.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable

BYTES_MAX = 1024 * 1024  # that may wait to be written
CALLS_MAX = 1_000  # lines of the log that may wait; what comes beyond is left out
_END_S = 1.0  # for what is left, at the end


class Printer:
    """`put` lines, from one thread."""

    def __init__(self, has_room: Callable[[], None]) -> None:
        """`has_room`: called, from the thread that writes, when it is not full any more."""
        self._has_room = has_room
        self._lines: queue.SimpleQueue[str | Callable[[], object] | None] = queue.SimpleQueue()
        self._calls = 0
        self._waiting = 0  # characters
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="zmws-printer", daemon=True)
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether no more should be put."""
        return self._waiting > BYTES_MAX

    def put(self, lines: list[str]) -> None:
        """Write these, in order."""
        if lines:
            text = "\n".join(lines) + "\n"
            with self._counting:
                self._waiting += len(text)
            self._lines.put(text)

    def call(self, says: Callable[[], object]) -> None:
        """Have it say something behind that, such as a line of the log. From any thread."""
        if self._calls < CALLS_MAX:
            with self._counting:
                self._calls += 1
            self._lines.put(says)

    def close(self) -> None:
        """No more will be put. What is left is written, unless nobody reads it."""
        self._lines.put(None)
        self._thread.join(_END_S)

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            with contextlib.suppress(Exception):
                if not isinstance(text, str):
                    with self._counting:
                        self._calls -= 1
                    text()
                    continue
                sys.stderr.write(text)
                sys.stderr.flush()
            if not isinstance(text, str):
                continue
            with self._counting:
                was_full = self.is_full
                self._waiting -= len(text)
            if was_full and not self.is_full:
                self._has_room()
