"""The end of a process whose other threads may hang.

Rule: what is said must not keep it from ending. Standard error may be a pipe that nobody reads, and its
lock in the hands of whoever hangs; there may be no thread left to be had.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

WORDS_S = 1.0


def end(code: int, words: Callable[[], object], with_started: bool = False) -> NoReturn:
    """Say the last words, if that can be done within a moment, and end this process. `with_started`: and what
    it has started, where it leads a session."""
    try:
        within(WORDS_S, words)
        within(WORDS_S, _flush)
        if with_started and os.getsid(0) == os.getpid():
            # Started detached, and so alone in its group with what the job has started, which is to run
            # elsewhere.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            with contextlib.suppress(OSError):
                os.killpg(0, signal.SIGTERM)
    finally:
        os._exit(code)


def within(seconds: float, what: Callable[[], object]) -> bool:
    """Do something in a thread of its own, and wait for it so long; whether it is done. (Below `threading`,
    whose locks whoever hangs may hold.)"""
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            with contextlib.suppress(Exception):
                what()
        finally:
            done.release()

    with contextlib.suppress(RuntimeError):  # the system has no thread left
        _thread.start_new_thread(run, ())
        return done.acquire(timeout=seconds)
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
