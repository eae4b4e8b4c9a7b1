"""A real `zmws broker` in a process of its own: for what a broker in a thread cannot show, its death above
all. Whatever is started here is ended by its `with` block.

    with BrokerProcess(tmp_path) as broker, broker.connect() as client:
        job = client.submit("STR-REV", {"str": "abc"})
        broker.restart()                       kill -9, and again on the same ports and the same store
        assert job.result(timeout=10) == "cba"
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import zmws
from zmws.client import Client

_LOWEST_PORT = 10_000
_READY_S = 30.0
_STOP_S = 20.0
_LOOK_AGAIN_S = 0.01
_SHOWN_CHARACTERS = 3_000

# ---------------------------------------------------------------- ports


def _ports() -> Iterator[int]:
    """Those that the system gives to nobody by itself, again and again: whoever tries to reach a broker that
    has died from such a port would meet itself in the end. Processes begin at different ones."""
    above = 32_768
    with contextlib.suppress(OSError):
        above = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    known = range(_LOWEST_PORT, above) if above > _LOWEST_PORT else range(_LOWEST_PORT, 65_536)
    at = random.SystemRandom().randrange(len(known))
    while True:
        at = (at + 1) % len(known)
        yield known[at]


_next_ports = _ports()
_one_at_a_time = threading.Lock()  # threads may ask at once


def _hold(port: int) -> socket.socket | None:
    """A socket that is bound to it, if nobody else has one; on Linux a program that sets SO_REUSEADDR, as
    brokers do, can bind it all the same, and who looks for a port that is free cannot."""
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", port))
    except OSError as wrong:
        holder.close()
        if wrong.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return None
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


class HeldPorts:
    """So many ports of 127.0.0.1, that nobody who looks for a free one gets until they are let go."""

    def __init__(self, count: int) -> None:
        self._stack = contextlib.ExitStack()
        self.ports: list[int] = []
        while len(self.ports) < count:
            with _one_at_a_time:
                port = next(_next_ports)
            if (holder := _hold(port)) is not None:
                self._stack.callback(holder.close)
                self.ports.append(port)
        if sys.platform != "linux":
            self._stack.close()
        self.let_go = weakref.finalize(self, self._stack.close)

    def __enter__(self) -> list[int]:
        return self.ports

    def __exit__(self, *_: object) -> None:
        self.let_go()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody had just now. None is given twice, until all have been."""
    with HeldPorts(count) as ports:
        return ports


# ---------------------------------------------------------------- any process


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program is started with: this process's environment without its ZMWS_*, and so that Python
    finds this zmws. `more` comes on top."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZMWS_")}
    here = str(Path(zmws.__file__).parent.parent)
    path = os.pathsep.join(part for part in (here, kept.get("PYTHONPATH")) if part)
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(more or {})}


@dataclass
class RunningProcess:
    """A process that was started here; what it writes goes into `log`."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def text(self) -> str:
        """All that is in its log, of earlier processes too."""
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, cwd: Path | None = None, more: Mapping[str, str] | None = None
) -> Iterator[RunningProcess]:
    """Run a command; at the end it is killed if it has not ended. `more`: set in its environment."""
    with log.open("ab") as out:
        popen = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, env=environment(more)
        )
    try:
        yield RunningProcess(popen, log)
    finally:
        if popen.poll() is None:
            popen.kill()  # which ends a stopped one, too
        popen.wait(10)


# ---------------------------------------------------------------- a broker


class BrokerProcess:
    """A broker in a process of its own, which may die and be started again: its ports, its settings, its
    store and its log stay the same over its lives.

    `client`, `worker`, `news`, `mdp`: its endpoints; `settings`: its settings file, which names them, so that
    `zmws VERB -c FILE` finds it; `folder`: its installation; `log`: the file it logs into; `arguments`: what
    follows `zmws` in its command; `running`: its process, None while there is none.

    A `with` block starts it, waits until it is ready, and leaves no process. What it has written is told with
    an exception that ends the block.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        toml: str = "",
        mdp: bool = True,
        program: Sequence[str] = ("-m", "zmws"),
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started yet. `folder`: of an installation of its own, made where it is missing.

        `flags`: more of `zmws broker`'s. `toml`: more of its settings, but for its endpoints. `mdp`: whether
        strict peers can come. `program`: what Python runs in place of `zmws`. `more`: set in its environment.
        """
        names = ("client", "worker", "news", "mdp")
        self._held = HeldPorts(4)
        found = [f"tcp://127.0.0.1:{port}" for port in self._held.ports]
        self.client, self.worker, self.news, self.mdp = found if mdp else [*found[:3], ""]
        self.folder = folder
        self.log = folder / "broker.log"
        self.settings = folder / "etc" / "zmws.toml"
        self.settings.parent.mkdir(parents=True, exist_ok=True)
        endpoints = "".join(f'{name} = "{getattr(self, name)}"\n' for name in names)
        self.settings.write_text(_with_endpoints(toml, endpoints))
        self.arguments = ["broker", "-c", str(self.settings), *flags]
        self.running: RunningProcess | None = None
        self._bound = sum(bool(getattr(self, name)) for name in names)
        self._command = [sys.executable, *program, *self.arguments]
        self._more = more
        self._life = contextlib.ExitStack()
        self._began_at = 0

    # ------------------------------------------------------------ its life

    def start(self) -> None:
        """Begin a life, without waiting until it is ready."""
        assert self.running is None, "it runs already"
        self._began_at = self.log.stat().st_size if self.log.exists() else 0
        self.running = self._life.enter_context(process(self._command, self.log, self.folder, self._more))

    def await_ready(self, timeout_s: float = _READY_S) -> None:
        """Until it is bound to all its endpoints, as its log tells (from the level `info` on)."""
        until = time.monotonic() + timeout_s
        while not self._is_ready():
            assert time.monotonic() < until, f"the broker was not ready within {timeout_s:g} s{self.wrote()}"
            time.sleep(_LOOK_AGAIN_S)

    def _is_ready(self) -> bool:
        self.check()
        bound = re.findall(r": (client|worker|news|mdp): \S+( \(CURVE\))?$", self.said(), re.M)
        return len(bound) >= self._bound

    def restart(self) -> None:
        """kill -9, and again."""
        self.kill()
        self.start()
        self.await_ready()

    def kill(self) -> None:
        """kill -9. Fails if it had died already, or something had gone wrong in it."""
        self.check()
        self._now.signal(signal.SIGKILL)
        self.close()

    def freeze(self) -> None:
        """SIGSTOP: what it has not sent by now it does not send; a system call under way does not return."""
        self._now.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on."""
        self._now.signal(signal.SIGCONT)

    def stop(self, timeout_s: float = _STOP_S) -> int:
        """SIGTERM; its exit code."""
        self._now.signal(signal.SIGTERM)
        return self.await_end(timeout_s)

    def await_end(self, timeout_s: float = _STOP_S) -> int:
        """Until it has ended by itself; its exit code."""
        code = self._now.popen.wait(timeout_s)
        self.close()
        return code

    def check(self) -> None:
        """Fails if it has ended by itself, or an exception that nobody expected is in its log."""
        code = self._now.popen.poll()
        assert code is None, f"the broker ended by itself, {code}{self.wrote()}"
        assert "Traceback" not in self.said(), f"something went wrong in the broker{self.wrote()}"

    @property
    def _now(self) -> RunningProcess:
        assert self.running is not None, "it has not been started"
        return self.running

    def close(self) -> None:
        """kill -9, if it has been started; whatever had become of it."""
        self.running = None
        self._life.close()

    def __enter__(self) -> BrokerProcess:
        try:
            self.start()
            self.await_ready()
        except BaseException:
            self.close()
            self._held.let_go()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._held.let_go()
        if fault is not None:
            fault.add_note(f"the broker{self.wrote()}")

    # ------------------------------------------------------------ what is seen of it

    @property
    def pid(self) -> int:
        """The number of its process. Fails if it has not been started."""
        return self._now.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self.running is None or self.running.ended

    def said(self) -> str:
        """What this life of it has written; after its end, what the last one had."""
        with self.log.open(errors="replace") as file:
            file.seek(self._began_at)
            return file.read()

    def wrote(self) -> str:
        """The end of that, for whoever reads why a test has failed."""
        said = self.said()[-_SHOWN_CHARACTERS:] if self.log.exists() else "nothing"
        return f" wrote into {self.log}:\n{said}"

    def connect(self, **settings_of_client: Any) -> Client:
        """A client of it, to be closed by whoever asked."""
        return Client(self.client, **settings_of_client)

    def resident_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Processor time it has used, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _with_endpoints(toml: str, endpoints: str) -> str:
    """Into the table that is there, or a new one at the end: TOML has each table once."""
    head, there, tail = ("\n" + toml).partition("\n[broker]\n")
    return f"{head}\n[broker]\n{endpoints}{tail if there else ''}".removeprefix("\n")
