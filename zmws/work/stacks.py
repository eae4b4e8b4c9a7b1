"""All stacks of this process in its log: by SIGUSR1, and when a job hangs."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
import threading
import traceback


def on_signal() -> None:
    """SIGUSR1 writes all stacks to standard error, where the log goes. Even while C code keeps the
    interpreter's lock: no handler of Python's would run then."""
    if signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL:
        return  # the author's code has a use of its own for it
    with contextlib.suppress(Exception):  # standard error is no file: then the signal is as it was
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=False)


def all_stacks() -> str:
    """As a text, the caller's thread among them."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = []
    for thread, frame in sys._current_frames().items():
        told.append(f"thread {names.get(thread, 'of zmws')}:\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(told)
