"""A worker that is started anew when a Python file has changed: `zmws worker FILE --reload`.

Rule 1: this process watches, and loads nothing of what an author has written; the worker is a child of it.
Rule 2: the folders are watched before the child reads the first file, so that no change is missed.
Rule 3: the child never outlives this process (tied.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from zmws.errors import SettingsError, ZmwsError
from zmws.work.run import RECYCLED

log = logging.getLogger("zmws.reload")

PATIENCE_S = 10.0  # with the job in hand
_LOOK_MS = 200  # how often to look whether the worker has ended by itself
_QUIET_MS = 100  # changes that follow each other more closely are one
_TOGETHER_MS = 1_000  # but for so long at most
_NAMED = 3  # so many of the files that have changed are named

Changes = Iterator[set[str]]


def reload(arguments: Sequence[str], folders: Sequence[Path], ignored: Sequence[Path]) -> int:
    """Run `zmws worker ARGUMENTS`, and anew with each change, until a signal ends it; the exit code.

    `folders`: where Python files are watched, in the folders below too; `ignored`: where they are not.
    Raises SettingsError where watchfiles is not installed, ZmwsError for a folder that cannot be watched.
    """
    watch = _watcher(folders, ignored)
    return _Reloader(
        [sys.executable, "-P", "-m", "zmws.supervisor.tied", str(os.getpid()), "worker", *arguments]
    )(watch)


def _watcher(folders: Sequence[Path], ignored: Sequence[Path]) -> Callable[[threading.Event], Changes]:
    """What gives the files that have changed, or none after a while without, until an event is set."""
    try:
        import watchfiles
    except ImportError:
        raise SettingsError("--reload needs the library watchfiles: pip install 'zmws[reload]'") from None
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each look, and each change twice
    # The library asks how a path begins: run/ is not to stand for runner.py.
    wanted = watchfiles.PythonFilter(ignore_paths=[f"{folder}{os.sep}" for folder in ignored])

    def changes(until: threading.Event) -> Changes:
        try:
            for changed in watchfiles.watch(
                *folders,
                watch_filter=wanted,
                debounce=_TOGETHER_MS,
                step=_QUIET_MS,
                stop_event=until,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            ):
                yield {path for _, path in changed}
        except (OSError, RuntimeError) as wrong:  # such as: the system watches no more files for this user
            named = " and ".join(map(str, folders))
            raise ZmwsError(f"cannot watch {named}: {wrong}") from wrong

    return changes


class _Reloader:
    """One worker after the other. `command`: what starts one."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None  # None: it has ended, and that is known
        self._signals: list[int] = []
        self._stopping = threading.Event()

    def __call__(self, watch: Callable[[threading.Event], Changes]) -> int:
        self._take_signals()
        changes = watch(self._stopping)
        try:
            next(changes, None)
            self._start()
            for changed in changes:
                if changed:
                    log.info("%s: the worker starts anew", _named(changed))
                    self._end()
                    self._start()
                else:
                    self._look()
        except BaseException:
            self._end()
            raise
        return self._last()

    def _start(self) -> None:
        if not self._stopping.is_set():
            # A group of its own: what its jobs have started ends with it.
            child = subprocess.Popen(self._command, start_new_session=True)
            self._child = child
            if self._stopping.is_set():  # a signal that came before there was somebody to tell
                child.terminate()

    def _look(self) -> None:
        """Whether the worker has ended by itself."""
        code = None if self._child is None else self._child.poll()
        if code is not None:
            self._child = None
            if code == RECYCLED:
                log.info("the worker has done enough, and starts anew")
                return self._start()
            how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            log.warning("the worker has ended %s; it starts again when a file changes", how)
        return None

    def _end(self) -> None:
        """End the worker. If the job in hand takes too long, it is given back."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            log.warning("the job in hand has not ended within %g s: it is given back", PATIENCE_S)
            child.send_signal(signal.SIGINT)
            try:
                child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                log.warning("nor has it been given back: the worker is killed")
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _last(self) -> int:
        """Wait for the worker, which has been told to end, and finishes the job in hand; its exit code."""
        if self._child is None:
            return 0
        told = signal.Signals(self._signals[0]).name
        log.info("told to end (%s): the worker finishes the job in hand; Ctrl-C again gives it up", told)
        code = self._child.wait()
        return code if code >= 0 else 128 - code

    # ------------------------------------------------------------ signals

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as a worker does
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)
        self._stopping.set()
        if self._child is not None:
            # The worker has a session of its own, and is told nothing by a terminal.
            again = len(self._signals) > 1 and number == signal.SIGINT
            self._child.send_signal(signal.SIGINT if again else signal.SIGTERM)


def _named(changed: set[str]) -> str:
    names = sorted(os.path.relpath(path) for path in changed)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more} changed"
