"""A child that a worker's own code forks (`os.fork`, `multiprocessing`) is not the worker.

Rule 1: the worker's signal handlers are for the worker alone; a child has those from before again.
Rule 2: a child that leaves the user's code ends there, with the exit code that a program would have.
Rule 3: a child cleans nothing up: the connection, and what is registered for the exit, are the worker's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

_handlers: dict[int, tuple[Handler, Any]] = {}  # signal -> the worker's handler, and the one from before
_masks = threading.local()  # `was`: the signals that this thread blocked before its fork
_registered = threading.Event()  # hooks of a fork cannot be taken out again: once in a process


def handle_signal(number: signal.Signals, handler: Handler) -> None:
    """As `signal.signal`, but in a forked child the handler from before is back."""
    before = signal.signal(number, handler)
    known = _handlers.get(number)
    if known is not None and known[0] is before:
        before = known[1]  # a second run in this process: the first one's handler is no user's
    _handlers[number] = (handler, signal.SIG_DFL if before is None else before)
    if not _registered.is_set():
        _registered.set()
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


class ChildEndsHere:
    """`with ChildEndsHere():` around the user's code: a child that was forked in it never comes out."""

    def __enter__(self) -> None:
        self._pid = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        if os.getpid() == self._pid:
            return
        code = 1
        try:
            code = _exit_code(fault)
            _flush()
        finally:
            os._exit(code)


def _exit_code(fault: BaseException | None) -> int:
    """What Python would end with. It says what Python would say."""
    if fault is None:
        return 0
    if not isinstance(fault, SystemExit):
        traceback.print_exception(fault)
        return 1
    if fault.code is None:
        return 0
    if isinstance(fault.code, int):
        return fault.code & 255 if -(2**63) <= fault.code < 2**63 else 255
    sys.stderr.write(f"{fault.code}\n")
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or none at all
            stream.flush()


def _before() -> None:
    # What waits in the buffers would be printed by both.
    _flush()
    # A signal to the child before it has its own handlers would be lost: let it wait.
    _masks.was = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.was)


def _in_child() -> None:
    try:
        for number, (handler, before) in _handlers.items():
            if signal.getsignal(number) is handler:  # else the user's own code has set another
                signal.signal(number, before)
        _handlers.clear()
        # An event loop of the worker's would be told of the child's signals.
        signal.set_wakeup_fd(-1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.was)
