"""What the table of faults (fault_table.py) stands on: a broker, two workers of one kind of executor, and who
watches them.

Each attempt notes in a file when it began and ended, with its token and the machine's one monotonic clock.
All processes of a stand carry a mark in their environment, by which those that are left are found.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.peers import BrokerProcess, RunningProcess, await_workers, process, wait_until
from zmws import ids
from zmws.client import Client, Job
from zmws.errors import ZmwsError

SERVICE = "FAULT"
MARK = "FAULT_STAND"
KINDS = {
    "inline": ("", ""),
    "threads": ("", "concurrency = 2"),
    "coroutines": ("async ", "concurrency = 2"),
    "children": ("", "isolate = True; concurrency = 2"),
}
_STOP_TIMEOUT_S = 3.0
_LOOK_S = 0.05
V = TypeVar("V")

# An act is a generator: it yields how long it waits, which a plain work() sleeps and an async one awaits.
_FILE = """
import asyncio, ctypes, json, multiprocessing, os, signal, sys, time

from zmws import WorkerBase
from zmws.work.line import WorkerLine

FOLDER = os.environ["FAULT_FOLDER"]
STALLED = f"{FOLDER}/stalled-{os.getpid()}"
supplied = WorkerLine.is_supplied


def stalls(self):  # the I/O thread asks this in each turn
    while os.path.exists(STALLED):
        open(f"{STALLED}-in", "w").close()
        time.sleep(0.02)
    return supplied(self)


WorkerLine.is_supplied = stalls
kept = []


def note(job, what, **more):
    worker = os.getppid() if W.isolate else os.getpid()
    line = {"what": what, "id": job.id, "attempt": job.attempt, "token": job._token.decode()}
    line |= {"pid": os.getpid(), "worker": worker, "at": time.monotonic(), **more}
    out = os.open(f"{FOLDER}/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(out, json.dumps(line).encode() + b"\\n")
    os.close(out)


def waits(job, params):
    while not os.path.exists(params["gate"]):
        yield 0.01

def returns(job, params):
    yield 0

def spins(job, params):
    yield 0
    while True:
        pass

def holds_lock(job, params):
    yield 0
    ctypes.PyDLL(None).usleep(int(params["seconds"] * 1e6))  # PyDLL keeps the interpreter's lock

def never_returns(job, params):
    yield 86_400

def ignores_all(job, params):
    while True:
        try:
            yield 0.5
        except BaseException:
            pass

def reads_null(job, params):
    yield 0
    ctypes.string_at(0)

def ends_process(job, params):
    yield 0
    os._exit(0)

def eats(job, params):
    yield 0
    kept.append(bytearray(b"x") * params["bytes"])

def eats_all(job, params):
    yield from waits(job, params)
    while True:
        kept.append(bytearray(b"x") * 2**24)
        yield 0.01

def leaves(job, params):
    yield 0
    sys.exit("enough")

def forks(job, params):
    pid = os.fork()
    if pid == 0:
        time.sleep(86_400)
    note(job, "started", pids=[pid])
    yield 86_400

def pool(job, params):
    crew = multiprocessing.get_context(params["how"]).Pool(2)
    kept.append(crew)
    crew.map(abs, range(4))
    note(job, "started", pids=[one.pid for one in crew._pool])
    yield 86_400


class W(WorkerBase):
    service_name = "FAULT"
    {declared}
    {more}

    {is_async}def work(self, job_id, params):
        job = self.job
        note(job, "begun")
        if job.attempt == 1:
            act = globals()[params["do"]](job, params)
            for pause in act:
                try:
                    {sleep}(pause)
                except BaseException as fault:
                    act.throw(fault)
        note(job, "ended")
        return [job.attempt, job._token.decode()]
"""


def marked_processes(mark: str) -> dict[int, str]:
    """The processes that were started with this mark, and their commands."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(entry.name)] = command.strip()
    return found


def await_value(ask: Callable[[], V | None], within_s: float) -> V | None:
    """What is asked for, as soon as there is something; None if there is not by then."""

    def there() -> tuple[V] | None:
        value = ask()
        return None if value is None else (value,)

    with contextlib.suppress(AssertionError):
        found: tuple[V] = wait_until(there, within_s)
        return found[0]
    return None


def below(pid: int) -> list[int]:
    """A process, and all that come of it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Watch:
    """Asks for `zmws workers` again and again, in a thread: what an operator would have seen."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.seen: list[tuple[float, dict[int, tuple[str, tuple[str, ...]]]]] = []
        self._broker = broker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        with self._broker.connect() as client:
            while not self._over.wait(_LOOK_S):
                with contextlib.suppress(ZmwsError, TimeoutError):
                    rows = client.ask("zmws.workers")
                    now = {
                        row["pid"]: (row["state"], tuple(job["id"] for job in row["jobs"])) for row in rows
                    }
                    self.seen.append((time.monotonic(), now))

    def states(self, pid: int, since: float) -> list[tuple[float, str]]:
        """The states that a worker came into, with the seconds; `gone` where the broker knew of none."""
        found: list[tuple[float, str]] = []
        for at, rows in list(self.seen):
            if at < since:
                continue
            state = rows[pid][0] if pid in rows else "gone"
            if not found or found[-1][1] != state:
                found.append((at - since, state))
        return found

    def free_at(self, pid: int, job_id: str, since: float) -> float | None:
        """When this worker had this job no more."""
        for at, rows in list(self.seen):
            if at > since and job_id not in rows.get(pid, ("", ()))[1]:
                return at
        return None


class Stand:
    """Everything of one row. It is made, and ended, by `stand`."""

    def __init__(self, folder: Path, kind: str, broker: BrokerProcess, more: str) -> None:
        self.folder, self.kind, self.broker = folder, kind, broker
        self.mark = ids.new_id()
        self.gate = folder / "gate"
        self.file = folder / "worker.py"
        is_async, declared = KINDS[kind]
        told = {"is_async": is_async, "declared": declared, "more": more}
        told["sleep"] = "await asyncio.sleep" if is_async else "time.sleep"
        text = _FILE
        for name, value in told.items():
            text = text.replace("{" + name + "}", value)
        self.file.write_text(text)
        self.workers: dict[int, RunningProcess] = {}
        self.stack = contextlib.ExitStack()
        self.client: Client
        self.watch: Watch
        self.fault_at = 0.0
        self.holds: Job | None = None  # beside the job that is measured: the one that holds its worker
        self.until_end = False  # what counts is when the job has ended
        self.wrong: list[str] = []
        self.told: list[str] = []  # what else is to stand in the row

    # ------------------------------------------------------------ its processes

    def environment(self) -> dict[str, str]:
        return {MARK: self.mark, "FAULT_FOLDER": str(self.folder)}

    def start_worker(self, *before: str, endpoint: str = "") -> int:
        """One more worker; its pid. `before`: what its command begins with."""
        name = f"worker-{len(self.workers)}"
        command = [*before, sys.executable, "-m", "zmws", "worker", str(self.file)]
        command += ["--broker", endpoint or self.broker.worker, "--stop-timeout", str(_STOP_TIMEOUT_S)]
        one = self.stack.enter_context(process(command, self.folder / f"{name}.log", more=self.environment()))
        self.workers[one.pid] = one
        return one.pid

    def await_workers(self) -> None:
        if self.workers:
            await_workers(self.client, len(self.workers), SERVICE, 30)

    def log(self, pid: int) -> str:
        return self.workers[pid].text()

    # ------------------------------------------------------------ its jobs

    def submit(self, do: str, **more: Any) -> Job:
        """A job whose first attempt does this. `more`: parameters, and options of the job."""
        options = {name: more.pop(name) for name in ("ttr", "retries", "delay") if name in more}
        params = {"do": do, "gate": str(self.gate), **more}
        return self.client.submit(SERVICE, params, backoff=0.1, **options)

    def notes(self, what: str, job: Job) -> list[dict[str, Any]]:
        path = self.folder / "notes"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in told if one["what"] == what and one["id"] == job.id]

    def await_note(self, what: str, job: Job, count: int = 1, timeout_s: float = 20.0) -> dict[str, Any]:
        """The last one, when there are so many."""
        there = lambda: len(self.notes(what, job)) >= count  # noqa: E731
        wait_until(there, timeout_s, f"note {count} of '{what}'")
        return self.notes(what, job)[-1]

    def open_gate(self) -> None:
        self.gate.touch()

    def breaks(self, at: float | None = None) -> None:
        """The fault is now, or at a moment."""
        self.fault_at = time.monotonic() if at is None else at

    # ------------------------------------------------------------ what became of it

    def check(self, job: Job, record: Mapping[str, Any]) -> None:
        """That it ended once, with the result of its last attempt, and no attempt ran twice."""
        begun = self.notes("begun", job)
        numbers = [one["attempt"] for one in begun]
        if len(set(numbers)) != len(numbers):
            self.wrong.append(f"attempts {numbers} ran: one of them twice")
        if len({one["token"] for one in begun}) != len(begun):
            self.wrong.append("a token was used twice")
        if record["state"] != "complete":
            self.wrong.append(f"the job is {record['state']}: {record.get('error')}")
            return
        result = job.result(5)
        if result != [record["attempt"], begun[-1]["token"]]:
            self.wrong.append(f"the result is {result}, and the last attempt {begun[-1]}")

    def went_on_after(self, job: Job) -> float | None:
        """Seconds from the fault until its next attempt began, or its only one ended."""
        later = [] if self.until_end else self.notes("begun", job)[1:]
        ended = self.notes("ended", job)
        at = later[0]["at"] if later else ended[-1]["at"] if ended else None
        return None if at is None else at - self.fault_at

    def left(self, within_s: float) -> dict[int, str]:
        """The processes that are still there then."""
        await_value(lambda: not marked_processes(self.mark) or None, within_s)
        return marked_processes(self.mark)

    def end(self) -> dict[int, str]:
        """End what runs as an operator would; what is left then, which is killed."""
        for one in self.workers.values():
            if not one.ended:
                one.signal(signal.SIGCONT)
                one.signal(signal.SIGTERM)
        for one in self.workers.values():
            try:
                one.popen.wait(_STOP_TIMEOUT_S + 8)
            except subprocess.TimeoutExpired:
                self.wrong.append("a worker did not end within stop_timeout and 8 s")
                one.popen.kill()
        left = self.left(2.0)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


@contextlib.contextmanager
def stand(
    folder: Path,
    kind: str,
    more: str = "",
    workers: int = 2,
    address: str = "",
    broker_environment: Mapping[str, str] | None = None,
) -> Iterator[Stand]:
    """A broker and its workers, ready. `more`: what the workers' class declares. `address`: where the broker
    takes workers, if that is not 127.0.0.1."""
    broker = BrokerProcess(folder, mdp=False, more=broker_environment)
    if address:
        there = broker.worker.replace("127.0.0.1", address)
        settings = broker.settings.read_text().replace(broker.worker, there)
        broker.settings.write_text(settings)
        broker.worker = there
    with contextlib.ExitStack() as stack:
        stack.enter_context(broker)
        at = Stand(folder, kind, broker, more)
        stack.callback(lambda: [os.kill(pid, signal.SIGKILL) for pid in marked_processes(at.mark)])
        stack.enter_context(at.stack)
        at.client = stack.enter_context(broker.connect())
        for _ in range(workers):
            at.start_worker()
        at.await_workers()
        at.watch = stack.enter_context(Watch(broker))
        yield at


# ---------------------------------------------------------------- what the system can do


def system(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)


@contextlib.contextmanager
def network() -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    """A network namespace: the address on our side, what a command begins with to run in there, and the
    commands that cut it and bring it back. Raises OSError where the system does not let us."""
    number = os.getpid() % 16_000
    name, ours, theirs = f"zf{number}", f"zf{number}a", f"zf{number}b"
    net, host = f"10.213.{number // 64}", 4 * (number % 64)
    first, second = f"{net}.{host + 1}", f"{net}.{host + 2}"
    made = []
    try:
        try:
            system("ip", "netns", "add", name)
            made.append(("ip", "netns", "del", name))
            system("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
            made.append(("ip", "link", "del", ours))
            system("ip", "addr", "add", f"{first}/30", "dev", ours)
            system("ip", "link", "set", ours, "up")
            inside = ["ip", "netns", "exec", name]
            system(*inside, "ip", "addr", "add", f"{second}/30", "dev", theirs)
            system(*inside, "ip", "link", "set", theirs, "up")
        except subprocess.CalledProcessError as wrong:
            raise OSError(wrong.stderr.decode().strip()) from wrong
        cut = ["ip", "link", "set", ours, "down"]
        yield first, inside, cut, [*cut[:-1], "up"]
    finally:
        for command in reversed(made):
            subprocess.run(command, check=False, capture_output=True, timeout=10)


@contextlib.contextmanager
def little_memory(pids: list[int], bytes_max: int) -> Iterator[None]:
    """A cgroup with so much memory for these processes. Raises OSError where the system does not let us."""
    root = Path("/sys/fs/cgroup/memory")
    limits = ["memory.limit_in_bytes"]
    if not root.is_dir():
        root, limits = Path("/sys/fs/cgroup"), ["memory.max"]
        if "memory" not in (root / "cgroup.subtree_control").read_text().split():
            raise OSError("cgroup: the memory controller is not given to anybody")
    group = root / f"zmws-fault-{os.getpid()}"
    group.mkdir()
    try:
        for name in limits:
            (group / name).write_text(str(bytes_max))
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:

        def removed() -> bool:
            with contextlib.suppress(OSError):  # it is busy until who was killed is gone
                for pid in (group / "cgroup.procs").read_text().split():
                    (root / "cgroup.procs").write_text(pid)
                group.rmdir()
            return not group.exists()

        await_value(lambda: removed() or None, 5)
