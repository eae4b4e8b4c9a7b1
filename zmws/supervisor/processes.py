"""The processes of one installation: which there are to be, which run, starting and stopping them.

Rule 1: a process is known by its pid file in run/ and logs to logs/NAME.txt.
Rule 2: start is idempotent: what runs already is left alone.
Rule 3: workers stop before the broker, so that their last results find it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zmws.errors import SettingsError, ZmwsError
from zmws.settings import Settings
from zmws.supervisor.pidfile import PidFile, send_signal

BROKER = "broker"
_POLL_S = 0.05


@dataclass(slots=True)
class Process:
    """One process that is to run: its name, its part (`broker` or `worker`), how it is started."""

    name: str
    part: str
    command: list[str]
    group: str  # the name in the settings: what `zmws stop NAME` takes


class Installation:
    """A folder with its settings, run/ and logs/."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = settings.root
        self.run_dir = settings.run_dir
        self.logs_dir = settings.logs_dir

    # ------------------------------------------------------------ what there is to be

    def processes(self, servers: bool, workers: bool, names: Sequence[str] = ()) -> list[Process]:
        """The processes asked for: the broker first. Raises SettingsError for an unknown name."""
        config = ["-c", str(self.settings.path)] if self.settings.path is not None else []
        # -P: a folder named zmws/ in the installation must not stand for the program.
        zmws = [sys.executable, "-P", "-m", "zmws"]
        all_of_them = [Process(BROKER, BROKER, [*zmws, "broker", *config], BROKER)]
        for worker in self.settings.workers:
            command = [*zmws, "worker", str(worker.file), *config]
            if worker.service is not None:
                command += ["--service", worker.service]
            for flag, value in worker.flags.items():
                command += [f"--{flag}"] if value is True else [f"--{flag}", str(value)]
            for n in range(1, worker.count + 1):
                name = worker.name if worker.count == 1 else f"{worker.name}-{n}"
                all_of_them.append(Process(name, "worker", command, worker.name))
        taken = [process.name for process in all_of_them]
        twice = {name for name in taken if taken.count(name) > 1}
        if twice:
            raise SettingsError(f"two workers would be named {', '.join(sorted(twice))}; rename one")
        known = {process.name for process in all_of_them} | {process.group for process in all_of_them}
        unknown = [name for name in names if name not in known]
        if unknown:
            there_are = ", ".join(sorted(known))
            raise SettingsError(f"there is no process named {', '.join(unknown)}; there are {there_are}")
        if names:
            return [p for p in all_of_them if p.name in names or p.group in names]
        return [p for p in all_of_them if (servers if p.part == BROKER else workers)]

    def running(self) -> dict[str, int]:
        """All processes of this installation that run, by name, also such as the settings no longer
        name."""
        found = {}
        for file in sorted(self.run_dir.glob("*.pid")):
            pid = PidFile(self.run_dir, file.stem).running()
            if pid is not None:
                found[file.stem] = pid
        return found

    def log_file(self, name: str) -> Path:
        """Where a process logs."""
        return self.logs_dir / f"{name}.txt"

    # ------------------------------------------------------------ starting

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or stops here meanwhile. Raises ZmwsError."""
        try:
            for folder in (self.run_dir, self.logs_dir):
                folder.mkdir(parents=True, exist_ok=True)
            lock = (self.run_dir / "lock").open("w")
        except OSError as wrong:
            raise ZmwsError(f"cannot write in {self.root}: {wrong.strerror}: {wrong.filename}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ZmwsError(f"another 'zmws start' or 'zmws stop' is at work in {self.root}") from None
            yield

    def start(self, process: Process) -> int:
        """Start one detached process; its number. Raises ZmwsError."""
        try:
            with self.log_file(process.name).open("ab") as log:
                child = subprocess.Popen(
                    process.command,
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            PidFile(self.run_dir, process.name).write(child.pid)
        except OSError as wrong:
            raise ZmwsError(f"cannot start {process.name}: {wrong.strerror}: {wrong.filename}") from None
        return child.pid

    # ------------------------------------------------------------ stopping

    def stop(self, names: Sequence[str], wait_s: float, on_stopped: Callable[[str, bool], None]) -> None:
        """Stop these, workers first; those that have not ended after `wait_s` seconds are killed.
        `on_stopped(name, killed)` is called as each ends."""
        workers = [name for name in names if name != BROKER]
        self._stop_together(workers, wait_s, on_stopped)
        self._stop_together([name for name in names if name == BROKER], wait_s, on_stopped)

    def _stop_together(
        self, names: Sequence[str], wait_s: float, on_stopped: Callable[[str, bool], None]
    ) -> None:
        left = {name: PidFile(self.run_dir, name) for name in names}
        for file in left.values():
            self._signal(file, signal.SIGTERM)
        until = time.monotonic() + wait_s
        killed = False
        while left:
            for name, file in list(left.items()):
                if file.running() is None:
                    file.remove()
                    on_stopped(name, killed)
                    del left[name]
            if left and not killed and time.monotonic() >= until:
                killed = True
                for file in left.values():
                    self._signal(file, signal.SIGKILL)
            if left:
                time.sleep(_POLL_S)

    @staticmethod
    def _signal(file: PidFile, number: signal.Signals) -> None:
        pid = file.running()
        if pid is not None:
            send_signal(pid, number)

    def tidy(self) -> None:
        """Remove pid files whose processes have ended."""
        for file in self.run_dir.glob("*.pid"):
            known = PidFile(self.run_dir, file.stem)
            if known.running() is None:
                known.remove()


def last_lines(file: Path, count: int) -> list[str]:
    """The last lines of a log; none if there is none."""
    try:
        with file.open("rb") as log:
            return seek_last_lines(log, count)
    except OSError:
        return []


def seek_last_lines(log: BinaryIO, count: int) -> list[str]:
    """The last lines of an open log, which then stands behind them."""
    size = log.seek(0, os.SEEK_END)
    back = 400 * (count + 1)
    while True:
        log.seek(max(0, size - back))
        text = log.read(min(size, back))
        if back >= size or text.count(b"\n") > count:
            return text.decode("utf-8", "replace").splitlines()[-count:] if count else []
        back *= 4


def ports_in_use(settings: Settings) -> list[str]:
    """The broker's endpoints whose ports another program holds, as `broker.client (tcp://...)`."""
    taken = []
    for name in ("client", "worker", "news", "mdp"):
        endpoint: str = getattr(settings.broker, name)
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        if not endpoint.startswith("tcp://") or not port.isdigit() or port == "0":
            continue
        host = "0.0.0.0" if host == "*" else host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as wrong:
                if wrong.errno == errno.EADDRINUSE:
                    taken.append(f"broker.{name} ({endpoint})")
    return taken
