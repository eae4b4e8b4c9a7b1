"""An installation in a folder of its own: free ports, the samples, and the command line to drive it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import shipped
from tests.peers import REPOSITORY, wait_until
from zmws.supervisor.pidfile import PidFile
from zmws.testing.processes import HeldPorts
from zmws.testing.processes import environment as environment_of_zmws

ZMWS = [sys.executable, "-P", "-m", "zmws"]


def environment(**more: str) -> dict[str, str]:
    """This process's, without what a developer has set for zmws; tables are as wide as these tests want."""
    return environment_of_zmws({"PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", **more})


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def run(*args: str, cwd: Path, stdin: str | bytes | None = None, **more: str) -> Ran:
    """Run one `zmws` command to its end."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    ended = subprocess.run(
        [*ZMWS, *args],
        cwd=cwd,
        env=environment(**more),
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))


@dataclass
class Installation:
    """A folder with etc/zmws.toml."""

    root: Path
    ports: list[int]
    has_http: bool = False  # the gateway runs, too

    def configure(self, workers: str, broker: str = "", more: str = "") -> None:
        """Write etc/zmws.toml."""
        client, worker, news, mdp, http = self.ports
        (self.root / "etc").mkdir(parents=True, exist_ok=True)
        (self.root / "etc" / "zmws.toml").write_text(
            # Without a word of workers those of the folder would run.
            f"{'' if '[[workers]]' in workers + more else 'workers = []'}\n"
            f'[broker]\nclient = "tcp://127.0.0.1:{client}"\nworker = "tcp://127.0.0.1:{worker}"\n'
            f'news = "tcp://127.0.0.1:{news}"\nmdp = "tcp://127.0.0.1:{mdp}"\n{broker}\n'
            f'[gateway]\nhttp = "{f"127.0.0.1:{http}" if self.has_http else ""}"\n{workers}\n{more}\n'
        )

    @property
    def client(self) -> str:
        return f"tcp://127.0.0.1:{self.ports[0]}"

    @property
    def http(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.ports[4]}"

    def run(self, *args: str, stdin: str | bytes | None = None, **more: str) -> Ran:
        return run(*args, cwd=self.root, stdin=stdin, **more)

    def pids(self) -> dict[str, int]:
        """What the pid files say, whether it runs or not; without the supervisor."""
        pids = {}
        for file in (self.root / "run").glob("*.pid"):
            with contextlib.suppress(FileNotFoundError):  # it has just been renamed or removed
                if file.stem != "supervisor":
                    pids[file.stem] = int(file.read_text())
        return pids

    def kill_supervisor(self) -> None:
        """Now what dies stays dead."""
        kill_supervisor(self.root)

    def popen(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*ZMWS, *args], cwd=self.root, env=environment(), **options)


def processes_in(folder: Path) -> list[int]:
    """The processes whose current folder is this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder and entry.name != str(os.getpid()):
                found.append(int(entry.name))
    return found


def supervisor_of(root: Path) -> int | None:
    """The number of the supervisor that runs there."""
    return PidFile(root / "run", "supervisor").running()


def kill_supervisor(root: Path) -> None:
    """What it keeps goes on."""
    if (pid := supervisor_of(root)) is not None:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: supervisor_of(root) is None, what="the supervisor to be gone")


def worker_table(name: str, file: str, count: int = 1) -> str:
    return f'[[workers]]\nname = "{name}"\nfile = "{file}"\ncount = {count}\n'


ONE = worker_table("reverse", "workers/reverse.py")
SAMPLES = "".join(
    worker_table(name, f"workers/{name}.py", count)
    for name, count in (("reverse", 2), ("sleep", 2), ("random_stream", 1), ("logger", 1), ("wordcount", 1))
)


@contextlib.contextmanager
def installation(
    root: Path, workers: str = SAMPLES, has_http: bool = False, **settings: str
) -> Iterator[Installation]:
    """A configured installation with the samples; what still runs at the end is killed."""
    shipped.copy_workers(root / "workers")
    with HeldPorts(5) as ports:
        made = Installation(root, ports, has_http)
        made.configure(workers, **settings)
        try:
            yield made
        finally:
            _end_processes_in(root)


def _end_processes_in(root: Path) -> None:
    kill_supervisor(root)  # it would start them again
    run_dir = root / "run"
    files = [PidFile(run_dir, name.stem) for name in run_dir.glob("*.json")]
    for pid in {*processes_in(root), *(pid for file in files if (pid := file.running()) is not None)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended = lambda: not processes_in(root) and not any(file.running() for file in files)  # noqa: E731
    wait_until(ended, what="processes of the installation to end")
