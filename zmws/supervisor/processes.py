"""The processes of one installation: which there are to be, which run, starting and stopping them.

Rule 1: a process is known by its pid file in run/ and logs to logs/NAME.txt.
Rule 2: start is idempotent: what runs already is left alone.
Rule 3: workers stop before the broker, so that their last results find it.
Rule 4: nothing that was started stays behind unrecorded, nor what a worker had started that was killed.
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

from zmws import ipc_files
from zmws.errors import SettingsError, ZmwsError
from zmws.settings import Settings
from zmws.supervisor.pidfile import PidFile, runs, send_signal
from zmws.supervisor.sessions import MARK, end_group, end_left

BROKER = "broker"
RUNNING, DIED, STOPPED = "running", "died", "stopped"
_POLL_S = 0.05
_END_S = 5.0  # for a process that could not be recorded


@dataclass(slots=True)
class Process:
    """One process that is to run: its name, its part (`broker` or `worker`), how it is started."""

    name: str
    part: str
    command: list[str]
    group: str  # the name in the settings: what `zmws stop NAME` takes


@dataclass(slots=True)
class State:
    """How a process is. One that has died has a pid file, and nobody stopped it."""

    name: str
    state: str
    pid: int | None
    last_sign_at: float | None  # of one that has died: seconds since 1970, when it was last heard of


@dataclass(slots=True)
class _Life:
    """A process that this one has started, and where its part of the log begins."""

    child: subprocess.Popen[bytes]
    log_from: int


class Installation:
    """A folder with its settings, run/ and logs/."""

    def __init__(self, settings: Settings) -> None:
        self._lives: dict[str, _Life] = {}
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

    def noted(self) -> list[str]:
        """All processes that have a pid file, also such as the settings no longer name."""
        return sorted({file.stem for end in ("pid", "json") for file in self.run_dir.glob(f"*.{end}")})

    def running(self) -> dict[str, int]:
        """Those of them that run."""
        pids = ((name, PidFile(self.run_dir, name).running()) for name in self.noted())
        return {name: pid for name, pid in pids if pid is not None}

    def state(self, name: str) -> State:
        """Whether it runs, was stopped, or has died."""
        file = PidFile(self.run_dir, name)
        pid, noted_at = file.running(), file.noted_at()
        if pid is not None or noted_at is None:
            return State(name, STOPPED if pid is None else RUNNING, pid, None)
        # Nobody saw it die. What it wrote last, it wrote alive.
        with contextlib.suppress(OSError):
            noted_at = max(noted_at, self.log_file(name).stat().st_mtime)
        return State(name, DIED, None, noted_at)

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
        """Start one detached process; its number. Raises ZmwsError; then it does not run."""
        file = PidFile(self.run_dir, process.name)
        try:
            with self.log_file(process.name).open("ab") as log:
                log_from = log.tell()
                child = subprocess.Popen(
                    process.command,
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", MARK: file.mark},
                )
            self._lives[process.name] = _Life(child, log_from)
            try:
                file.write(child.pid)
            except BaseException:
                self._end_unrecorded(child, file)
                raise
        except OSError as wrong:
            where = wrong.filename or self.run_dir  # a full disk tells no name
            raise ZmwsError(f"cannot start {process.name}: {wrong.strerror}: {where}") from None
        return child.pid

    @staticmethod
    def _end_unrecorded(child: subprocess.Popen[bytes], file: PidFile) -> None:
        """Nobody would find it again: no pid file names it."""
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            end_group(child.pid)
            child.wait()
        end_left(child.pid, file.mark)

    def how_it_ended(self, name: str) -> str | None:
        """Of a process that was started here and has ended: how, and what it wrote last; else None."""
        life = self._lives[name]
        code = life.child.poll()
        if code is None:
            return None
        told = self.what_it_wrote(name)
        if code >= 0:
            return f"{name} ended at once with exit code {code}{told}"
        return f"{name} was ended by {_signal_name(-code)}{told}"

    def what_it_wrote(self, name: str) -> str:
        """Of a process that was started here: the end of its log, to be put behind what happened to it."""
        lines = last_lines(self.log_file(name), 8, self._lives[name].log_from)
        if not lines:
            return f"; it wrote nothing to {self.log_file(name)}"
        return f"; the end of {self.log_file(name)}:" + "".join(f"\n  {line}" for line in lines)

    # ------------------------------------------------------------ stopping

    def stop(
        self,
        names: Sequence[str],
        wait_s: float,
        on_stopped: Callable[[str, bool], None],
        with_all_they_started: bool = False,
    ) -> None:
        """Stop these, workers first; those that have not ended after `wait_s` seconds are killed, with what
        their jobs have started. `on_stopped(name, killed)` is called as each ends.

        `with_all_they_started`: what is left is ended too of those that end by themselves.

        Raises ZmwsError (a pid file cannot be removed, a process is another user's), and what `on_stopped`
        raised of ZmwsError and OSError: the first of these, when all have ended. None of it keeps anything
        from being stopped.
        """
        faults: list[ZmwsError | OSError] = []

        def on_end(name: str, killed: bool, ends_left_of: int | None) -> None:
            for step in (
                lambda: self._forget(PidFile(self.run_dir, name), ends_left_of),
                lambda: on_stopped(name, killed),
            ):
                try:
                    step()
                except (ZmwsError, OSError) as fault:
                    faults.append(fault)

        workers = [name for name in names if name != BROKER]
        for together in (workers, [name for name in names if name == BROKER]):
            self._stop_together(together, wait_s, on_end, faults, with_all_they_started)
        if faults:
            raise faults[0]

    def _stop_together(
        self,
        names: Sequence[str],
        wait_s: float,
        on_end: Callable[[str, bool, int | None], None],
        faults: list[ZmwsError | OSError],
        with_all_they_started: bool,
    ) -> None:
        # By what is noted now: who ends well removes his file himself, a little before he has gone.
        noted = {name: PidFile(self.run_dir, name).identity() for name in names}
        left = {name: identity for name, identity in noted.items() if identity is not None}
        for name in names:
            if name not in left:  # it has just ended
                on_end(name, False, None)
        for name, identity in list(left.items()):
            try:
                if runs(identity):
                    send_signal(identity[0], signal.SIGTERM)
            except PermissionError:
                faults.append(
                    ZmwsError(f"{name} (process {identity[0]}) belongs to another user; stop it as that user")
                )
                del left[name]
        until = time.monotonic() + wait_s
        killed = False
        while left:
            for name, identity in list(left.items()):
                if not runs(identity):
                    everything = killed or with_all_they_started
                    on_end(name, killed, identity[0] if everything else None)
                    del left[name]
            if left and not killed and time.monotonic() >= until:
                killed = True
                for identity in left.values():
                    if runs(identity):
                        end_group(identity[0])
            if left:
                time.sleep(_POLL_S)

    @staticmethod
    def _forget(file: PidFile, ends_left_of: int | None) -> int:
        """Remove the pid file of a process that has ended. `ends_left_of`: its number, if what it had started
        is to end too; gives back how many those were."""
        ended = end_left(ends_left_of, file.mark) if ends_left_of is not None else 0
        try:
            file.remove()
        except OSError as wrong:
            raise ZmwsError(f"cannot remove {wrong.filename}: {wrong.strerror}") from None
        return ended

    def tidy(self, names: Sequence[str], on_left: Callable[[str, int], None]) -> None:
        """Forget those of these that have died. What they had started is ended: their jobs run elsewhere.
        `on_left(name, count)` is called where there was any of that. Raises ZmwsError."""
        for name in names:
            file = PidFile(self.run_dir, name)
            if file.noted_at() is not None and file.running() is None:
                ended = self._forget(file, file.noted())
                if ended:
                    on_left(name, ended)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time one


def descriptors_of(pid: int) -> tuple[int, int] | None:
    """How many a process has in use, and how many it may have; None where the system does not tell."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (allowed,) = [int(line.split()[3]) for line in limits if line.startswith("Max open files")]
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), allowed
    except (OSError, ValueError):
        return None


def last_lines(file: Path, count: int, begin: int = 0) -> list[str]:
    """The last lines of a log, and none from before the byte `begin`; none if there is none."""
    try:
        with file.open("rb") as log:
            return seek_last_lines(log, count, begin)
    except OSError:
        return []


def seek_last_lines(log: BinaryIO, count: int, begin: int = 0) -> list[str]:
    """The last lines of an open log, which then stands behind them."""
    end = log.seek(0, os.SEEK_END)
    begin = begin if begin <= end else 0  # it was cut meanwhile
    size = end - begin
    back = 400 * (count + 1)
    while True:
        log.seek(max(begin, end - back))
        text = log.read(min(size, back))
        if back >= size or text.count(b"\n") > count:
            return text.decode("utf-8", "replace").splitlines()[-count:] if count else []
        back *= 4


def ports_in_use(settings: Settings) -> list[str]:
    """The broker's endpoints that another program holds, as `broker.client (tcp://...)`."""
    taken = []
    for name in ("client", "worker", "news", "mdp"):
        endpoint: str = getattr(settings.broker, name)
        place = ipc_files.place_of(endpoint)
        if _port_in_use(endpoint) if place is None else ipc_files.listens(place):
            taken.append(f"broker.{name} ({endpoint})")
    return taken


def _port_in_use(endpoint: str) -> bool:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not port.isdigit() or port == "0":
        return False
    host = "0.0.0.0" if host == "*" else host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as wrong:
            return wrong.errno == errno.EADDRINUSE
    return False
