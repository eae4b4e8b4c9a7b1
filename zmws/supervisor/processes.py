"""The processes of one installation: which there are to be, and which run.

Rule: a process is known by its pid file in run/ and logs to logs/NAME.txt.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from zmws.core.table import no_such
from zmws.errors import SettingsError, ZmwsError
from zmws.settings import Settings, WorkerSettings
from zmws.supervisor.pidfile import NOTED_BESIDE, PidFile

BROKER, GATEWAY, SUPERVISOR = "broker", "gateway", "supervisor"
SERVERS = (BROKER, GATEWAY)  # what `--servers` means
# In run/, where no worker's files are named so.
_SCALED, _SCALING = f"scaled{NOTED_BESIDE}", f"scaling{NOTED_BESIDE}"
STOP_TIMEOUT_S = 30.0  # where the settings say nothing
RUNNING, DIED, STOPPED = "running", "died", "stopped"


NO_GATEWAY = "HTTP needs the extra 'gateway': pip install 'zmws[gateway]'"


def can_serve_http() -> bool:
    """Whether what the gateway needs is installed."""
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn", "python_multipart", "jinja2"))


@dataclass(slots=True)
class Process:
    """One process that is to run: its name, its part (`broker`, `gateway` or `worker`), how it is started."""

    name: str
    part: str
    command: list[str]
    group: str  # the name in the settings: what `zmws stop NAME` takes
    worker: WorkerSettings | None = None  # what the settings say of it
    is_spare: bool = False  # it runs only while there is much to do


@dataclass(slots=True)
class State:
    """How a process is. One that has died has a pid file, and nobody stopped it."""

    name: str
    state: str
    pid: int | None
    last_sign_at: float | None  # of one that has died: seconds since 1970, when it was last heard of


class Installation:
    """A folder with its settings, run/ and logs/."""

    def __init__(self, settings: Settings, config: Path | None = None) -> None:
        """`config`: the settings file that its processes read; None: the one that `settings` are of."""
        self.settings = settings
        self.config = config or settings.path
        self.root = settings.root
        self.run_dir = settings.run_dir
        self.logs_dir = settings.logs_dir

    def processes(
        self, servers: bool, workers: bool, names: Sequence[str] = (), with_spare: bool = False
    ) -> list[Process]:
        """The processes asked for: the servers first. `with_spare`: those too that run only while there is
        much to do; one that is named is asked for anyway. Raises SettingsError for an unknown name."""
        config = ["-c", str(self.config)] if self.config is not None else []
        # -P: a folder named zmws/ in the installation must not stand for the program.
        zmws = [sys.executable, "-P", "-m", "zmws"]
        log = ["--log-file", str(self.log_file(BROKER))]
        all_of_them = [Process(BROKER, BROKER, [*zmws, "broker", *config, *log], BROKER)]
        if self.settings.gateway.http and can_serve_http():
            log = ["--log-file", str(self.log_file(GATEWAY))]
            all_of_them.append(Process(GATEWAY, GATEWAY, [*zmws, "gateway", *config, *log], GATEWAY))
        logs = self.settings.logs
        bounds = ["--log-bytes-max", str(logs.bytes_max), "--log-files", str(logs.files)]
        bounds += ["--log-format", logs.format] if logs.format != "text" else []
        for worker in self.settings.workers:
            command = [worker.python or sys.executable, *zmws[1:], "worker", worker.what, *config]
            if worker.service is not None:
                command += ["--service", worker.service]
            if worker.stop_timeout is not None:
                command += ["--stop-timeout", f"{worker.stop_timeout:g}"]
            for flag, value in worker.flags.items():
                if value is not False:
                    command += [f"--{flag}"] if value is True else [f"--{flag}", str(value)]
            for name, is_spare in self._copies(worker):
                log = ["--log-file", str(self.log_file(name)), *bounds]
                all_of_them.append(Process(name, "worker", [*command, *log], worker.name, worker, is_spare))
        if twice := {name for name, count in Counter(one.name for one in all_of_them).items() if count > 1}:
            raise SettingsError(f"two workers would be named {', '.join(sorted(twice))}; rename one")
        known = {process.name for process in all_of_them} | {one.name for one in self.settings.workers}
        for name in names:
            if name == GATEWAY and name not in known:
                raise SettingsError(NO_GATEWAY if self.settings.gateway.http else 'gateway.http is ""')
            if name not in known:
                raise SettingsError(no_such(name, "process of this installation", sorted(known)))
        if names:
            usual = [p for p in all_of_them if p.group in names and (with_spare or not p.is_spare)]
            return [p for p in all_of_them if p in usual or p.name in names]
        parts = [p for p in all_of_them if (servers if p.part in SERVERS else workers)]
        return [p for p in parts if with_spare or not p.is_spare]

    def _copies(self, worker: WorkerSettings) -> list[tuple[str, bool]]:
        """The names of its copies, and whether each is a spare one."""
        count = self.scaled().get(worker.name, worker.count)
        most = count if worker.scale is None else max(count, worker.scale.max)
        alone = worker.count == 1 and worker.scale is None
        names = [f"{worker.name}_{n:02d}" for n in range(most)]
        if alone and names:
            names[0] = worker.name  # it goes on, if there are to be more for a while
        return [(name, n >= count) for n, name in enumerate(names)]

    def scaled(self) -> dict[str, int]:
        """How many copies somebody has asked for, in place of what the file says, by the worker's name."""
        try:
            told = json.loads((self.run_dir / _SCALED).read_text())
            return {str(name): int(count) for name, count in told.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def scaling_noted(self) -> set[str]:
        """The workers whose count followed what waits, as far as that is noted."""
        try:
            return set((self.run_dir / _SCALING).read_text().split())
        except OSError:
            return set()

    def note_scaling(self, names: Iterable[str]) -> None:
        """Note that. It is no more than a help for a supervisor that comes after one that has died."""
        with contextlib.suppress(OSError):
            if names:
                (self.run_dir / _SCALING).write_text("\n".join(sorted(names)))
            else:
                (self.run_dir / _SCALING).unlink(missing_ok=True)

    def scale(self, counts: Mapping[str, int]) -> None:
        """Note that. Raises ZmwsError."""
        file = self.run_dir / _SCALED
        try:
            if counts:
                new = file.with_name(f"{_SCALED}.new")
                new.write_text(json.dumps(counts))
                new.replace(file)
            else:
                file.unlink(missing_ok=True)
        except OSError as wrong:
            raise ZmwsError(f"cannot write {file}: {wrong.strerror}") from None

    def noted(self) -> list[str]:
        """All processes that have a pid file, also such as the settings no longer name."""
        found = {file.stem for end in ("pid", "json") for file in self.run_dir.glob(f"*.{end}")}
        return sorted(found - {SUPERVISOR})

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

    def stop_timeout_s(self, name: str) -> float:
        """How long the jobs of a process may take to end, when it is to stop."""
        for process in self.processes(True, True, with_spare=True):
            if (
                process.name == name
                and process.worker is not None
                and process.worker.stop_timeout is not None
            ):
                return process.worker.stop_timeout
        return STOP_TIMEOUT_S

    def log_file(self, name: str) -> Path:
        """Where a process logs."""
        return self.logs_dir / f"{name}.txt"

    def made(self) -> IO[str]:
        """The file of the lock, in run/, which is made, as logs/ is. Raises ZmwsError."""
        try:
            for folder in (self.run_dir, self.logs_dir):
                folder.mkdir(parents=True, exist_ok=True)
            return (self.run_dir / "lock").open("w")
        except OSError as wrong:
            raise ZmwsError(f"cannot write in {self.root}: {wrong.strerror}: {wrong.filename}") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[IO[str]]:
        """Nobody else starts or stops here meanwhile; the file of the lock. Raises ZmwsError."""
        lock = self.made()
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ZmwsError(f"another 'zmws start' or 'zmws stop' is at work in {self.root}") from None
            yield lock
