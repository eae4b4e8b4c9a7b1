"""Our side of the benchmarks: a zmws broker on a store of its own, its workers, and what is asked of it."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import zmq
from harness import (
    Broken,
    CannotRun,
    Drained,
    Process,
    Processes,
    Watched,
    check_alive,
    cpu_of,
    uninterrupted,
    wait_until,
    watch_drain,
)
from wire import Wire

from zmws import Client, Job, ids
from zmws.errors import ZmwsError
from zmws.key_file import KeyFile
from zmws.settings import key_files
from zmws.testing import BrokerProcess

START_TIMEOUT_S = 30.0
JOBS_A_MESSAGE = 1000
WORKER_LIFETIME_S = 3600  # a worker in C ends by itself then, whatever became of us

WORKER = """
    from zmws import WorkerBase


    class Worker(WorkerBase):
        service_name = "{service}"

        def work(self, job_id, params):
            return {answer}
"""


class Broker:
    """`zmws broker` as it is shipped, on a SQLite store in the folder of `processes`."""

    def __init__(
        self,
        processes: Processes,
        services: Sequence[str],
        name: str = "broker",
        environment: Mapping[str, str] | None = None,
        memory: bool = False,
        curve: bool = False,
    ) -> None:
        """`services`: known without a worker. `memory`: nothing is on disk. `curve`: it asks everybody for a
        key. Returns when it answers. Raises CannotRun."""
        self.store = processes.folder / f"{name}.db"
        self.durability = "memory" if memory else "disk"
        self._processes = processes
        self._name = name
        self.key = _keys(processes.folder / name / "etc" / "keys") if curve else None
        self._key_file = processes.folder / name / "etc" / "keys" / "operator.key"
        security = '[security]\ncurve = "on"\n' if curve else ""
        self._life = BrokerProcess(
            processes.folder / name,
            *("--store", "memory:" if memory else f"sqlite:{self.store}"),
            toml=security + "".join(f"[services.{service}]\n" for service in services),
            mdp=False,
            more={"PYTHONPATH": processes.pythonpath, **(environment or {})},
        )
        self.client_endpoint, self.worker_endpoint = self._life.client, self._life.worker
        self.process = processes.started(self._start, self._life.close)
        self.await_answer()

    def kill(self) -> None:
        """kill -9."""
        self._life.close()

    def start(self) -> None:
        """Again, on the same store and ports, without waiting for it."""
        with uninterrupted():
            self.process = self._start()

    def _start(self) -> Watched:
        self._life.start()
        assert self._life.running is not None
        return Watched(self._name, self._life.running.popen, self._life.said)

    def await_answer(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Until it answers. Raises CannotRun."""

        def answers() -> bool:
            if self.process.ended:
                raise CannotRun(self.process.why_ended())
            try:
                with self.connect() as client:
                    client.ask("zmws.stats")
            except ZmwsError:
                return False
            return True

        if not wait_until(answers, timeout_s):
            raise CannotRun(f"the broker does not answer within {timeout_s:.0f} s")

    def connect(self) -> Client:
        return Client(self.client_endpoint, key=self.key)

    def cpu_s(self) -> float:
        """Raises Broken when it has ended, CannotRun where there is no /proc."""
        if self.process.ended:
            raise Broken(self.process.why_ended())
        used = self.process.cpu_s()
        if used is None:
            raise CannotRun("no /proc here (not Linux)")
        return used

    def store_bytes(self) -> int:
        """The size of its store's files."""
        return sum(file.stat().st_size for file in self.store.parent.glob(f"{self.store.name}*"))

    def python_workers(self, service: str, count: int, answer: str = "1") -> list[Process]:
        """Worker processes of ours whose work() returns that: an expression, which may name `params`."""
        file = self._processes.folder / f"worker_{service}.py"
        file.write_text(textwrap.dedent(WORKER).format(service=service, answer=answer))
        command = [sys.executable, "-m", "zmws", "worker", str(file), "--broker", self.worker_endpoint]
        environment = None if self.key is None else {"ZMWS_SECURITY_KEY": str(self._key_file)}
        return [self._processes.start(f"worker-{service}-{n}", command, environment) for n in range(count)]

    def c_workers(self, program: Path, service: str, count: int, answer: str | None = None) -> list[Process]:
        """Strict RFC 18 workers in C (c/echo_worker.c), so that the broker is what is measured. They echo,
        or answer the same to everything."""
        command = [program, self.worker_endpoint, service, str(WORKER_LIFETIME_S)]
        command += [] if answer is None else [answer]
        return [self._processes.start(f"c-worker-{service}-{n}", command) for n in range(count)]


def _keys(folder: Path) -> KeyFile:
    """The broker's key and one that may everything, which is given back."""
    (public, secret), (own_public, own_secret) = (
        tuple(part.decode() for part in zmq.curve_keypair()) for _ in range(2)
    )
    key_files.write(folder / f"{key_files.BROKER}.key", KeyFile(key_files.BROKER, public, secret))
    rights = {"submit": ["*"], "work": ["*"]}
    own = KeyFile("operator", own_public, own_secret, public, role="operator", rights=rights)
    key_files.write(folder / "operator.key", own)
    return own


def service_row(client: Client, service: str) -> dict[str, Any]:
    """Its line of `zmws.services`."""
    rows = client.ask("zmws.services")
    found = [row for row in rows if row["service"] == service]
    if not found:
        raise Broken(f"the broker does not know the service {service}")
    return dict(found[0])


def await_workers(broker: Broker, service: str, workers: Sequence[Process]) -> None:
    """Until all of them are ready. Raises CannotRun."""
    with broker.connect() as client:

        def ready() -> bool:
            for process in (broker.process, *workers):
                if process.ended:
                    raise CannotRun(process.why_ended())
            time.sleep(0.05)
            return bool(service_row(client, service)["workers"] >= len(workers))

        if not wait_until(ready, START_TIMEOUT_S):
            raise CannotRun(f"the workers are not ready after {START_TIMEOUT_S:.0f} s")


def check_waiting(broker: Broker, service: str, jobs: int) -> None:
    """Raises Broken if not so many wait as were accepted."""
    with broker.connect() as client:
        waiting = service_row(client, service)["waiting"]
    if waiting != jobs:
        raise Broken(f"{jobs} jobs accepted, and {waiting} waiting")


def submit_in_flight(client: Client, jobs: int, in_flight: int, service: str, params: Any) -> None:
    """Single submits through our Client, so many of them not yet accepted."""
    under_way: deque[Future[Job]] = deque()
    for _ in range(jobs):
        if len(under_way) == in_flight:
            accepted_on_disk(under_way.popleft().result())
        under_way.append(client.submit_future(service, params))
    for future in under_way:
        accepted_on_disk(future.result())


def accepted_on_disk(job: Job | Exception) -> None:
    """Raises Broken if it was refused, or the acknowledgement promises less."""
    if isinstance(job, Exception):
        raise Broken(f"a job was refused: {job}")
    if job.durability != "disk" or job.existing:
        raise Broken(f"job {job.id}: durability {job.durability}, existing {job.existing}")


def many_jobs(service: str, jobs: int, params: Any) -> Iterator[list[dict[str, Any]]]:
    """Lists of jobs with ids of their own, JOBS_A_MESSAGE each."""
    for begin in range(0, jobs, JOBS_A_MESSAGE):
        count = min(JOBS_A_MESSAGE, jobs - begin)
        yield [{"service": service, "params": params, "id": ids.new_id()} for _ in range(count)]


def many_message(listed: list[dict[str, Any]]) -> bytes:
    """The body of one `zmws.submit`."""
    return json.dumps(listed).encode()


def fill(broker: Broker, service: str, jobs: int, params: Any) -> None:
    """Submit many, whatever it takes."""
    with Wire(broker.client_endpoint, broker.durability, broker.key) as wire:
        accepted = wire.submit_many(many_message(listed) for listed in many_jobs(service, jobs, params))
    if accepted != jobs:
        raise Broken(f"{accepted} of {jobs} jobs were accepted")


def drained(
    broker: Broker,
    service: str,
    jobs: int,
    workers: Sequence[Process],
    start: Callable[[], None],
    timeout_s: float,
) -> Drained:
    """What it takes to do the jobs that wait, from `start` on, which may add to `workers`; the CPU is the
    broker's and theirs. Raises Broken if a worker's 1 is not the result that is kept."""

    def running() -> list[Watched]:
        return [broker.process, *workers]

    with broker.connect() as client:

        def done() -> int:
            check_alive(running())
            return int(service_row(client, service)["complete"])

        found = watch_drain(
            start, done, jobs, lambda: cpu_of(running()), timeout_s, lambda: cpu_of([broker.process])
        )
        job = next(client.jobs(service=service, limit=1))
        result = client.job(job["id"]).result(timeout=10)
    if result != 1:
        raise Broken(f"job {job['id']} has the result {result!r}")
    return found
