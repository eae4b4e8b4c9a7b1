"""A supervisor in the foreground: for a terminal, for systemd, and as the first process of a container.

Rule: each process writes its own log, here as anywhere; what is shown is read from there, by a thread. So
      whoever reads the terminal slowly keeps nobody waiting, and a supervisor that dies leaves no process
      with a broken pipe.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TextIO, cast

from zmws.errors import ZmwsError
from zmws.supervisor.door import Asked, NoSupervisor
from zmws.supervisor.events import Tell
from zmws.supervisor.keeper import Event
from zmws.supervisor.logs import Log
from zmws.supervisor.pidfile import NOTED_BESIDE
from zmws.supervisor.processes import SUPERVISOR, Installation
from zmws.supervisor.start import before_start
from zmws.supervisor.supervise import Supervisor
from zmws.work.line_handler import LineHandler

_POLL_S = 0.1
_READY_TIMEOUT_S = 60.0
_LAST_LINES_S = 5.0  # for whoever reads the terminal to take what is left
_OWN_LINES_MAX = 10_000

Write = Callable[[str, str], None]  # a line of a process, by its name


def run_attached(
    installation: Installation, servers: bool, workers: bool, names: Sequence[str], write: Write, tell: Tell
) -> int:
    """Keep these processes until a signal ends them; the exit code. Raises as `start`, and ZmwsError where a
    supervisor runs already."""
    try:
        Asked(installation.run_dir, {"verb": "status"}).close()
    except NoSupervisor:
        pass
    else:
        raise ZmwsError(f"a supervisor keeps {installation.root} already; stop that one first")
    elsewhere = before_start(installation, servers, workers, names, tell)
    shown = _Shown(installation, write)
    log = logging.getLogger("zmws")
    handler = LineHandler(cast(TextIO, _Lines(shown.own)), installation.settings.logs.format == "json")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    supervisor = Supervisor(
        installation, dict(os.environ), shown.on_event, None if os.isatty(0) else lambda: None
    )
    shown.log_from = supervisor.kept.children.log_from
    config = installation.settings.path
    first: dict[str, Any] = {
        "verb": "start",
        "servers": servers,
        "workers": workers,
        "names": list(names),
        "timeout_s": _READY_TIMEOUT_S,
        "without_broker": elsewhere is not None,
        "config": None if config is None else str(config),
        "environ": dict(os.environ),
    }
    shown.start()
    try:
        return supervisor.run(first)
    finally:
        shown.stop()
        log.removeHandler(handler)


class _Shown:
    """The logs of all processes, line by line."""

    def __init__(self, installation: Installation, write: Write) -> None:
        self.log_from: Callable[[str], int] = lambda name: 0
        self.own: deque[str] = deque(maxlen=_OWN_LINES_MAX)  # lines of this process, to be shown
        self._of = installation
        self._write = write
        self._logs: dict[str, Log] = {}
        self._new: deque[tuple[str, int]] = deque()  # and where what is to be shown begins
        self._begun: dict[str, str] = {}  # a line that is not whole yet
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._show, name="zmws-logs", daemon=True)

    def start(self) -> None:
        """Show them, from now on. Those of processes that run are shown from here."""
        for name in self._of.running():
            file = self._of.log_file(name)
            self._new.append((name, file.stat().st_size if file.is_file() else 0))
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """A new process has a log. Nothing is waited for."""
        if event.what == "started":
            self._new.append((event.name.partition(NOTED_BESIDE)[0], self.log_from(event.name)))

    def stop(self) -> None:
        """Show what is left."""
        self._ending.set()
        self._thread.join(_LAST_LINES_S)
        if self._thread.is_alive():
            return  # nobody reads the terminal
        self._read()
        for name, text in self._begun.items():
            if text:
                self._write(name, text)
        for log in self._logs.values():
            log.close()

    def _show(self) -> None:
        while not self._ending.wait(_POLL_S):
            self._read()

    def _read(self) -> None:
        while self._new:
            name, begin = self._new.popleft()
            if name not in self._logs:
                with contextlib.suppress(OSError):
                    log = Log(self._of.log_file(name))
                    log.seek(begin)
                    self._logs[name] = log
        while self.own:
            self._write(SUPERVISOR, self.own.popleft())
        for name, log in self._logs.items():
            try:
                text = log.grown()
            except OSError:
                continue  # between two files; it is there the next time
            *lines, self._begun[name] = (self._begun.get(name, "") + text).split("\n")
            for line in lines:
                self._write(name, line)


class _Lines(io.TextIOBase):
    """What the supervisor itself logs."""

    def __init__(self, lines: deque[str]) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        self._lines.extend(text.splitlines())
        return len(text)
