"""A mixed load over real sockets, written down in a Ledger: clients in threads, workers in processes.

Rule 1: the load goes on whatever happens to the broker; who is away for long is an error of the test.
Rule 2: what a client does is drawn from a seed. (When it happens is the machine's affair.)
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from tests.peers import RunningProcess, wait_until, worker_process
from tests.system.ledger import Ledger, run_line
from zmws import ids
from zmws.client import Client
from zmws.errors import BrokerUnreachable, JobFailed, JobTimeout, Refused

SERVICE = "MIX"
AWAY_S = 120.0  # longer than any broker stays away here
IN_FLIGHT_MAX = 20
ANSWER_S = 180.0

# Notes each start and end in a file of its own, so that its kill loses nothing that it has noted.
WORKER = """
service_name = "{service}"
{declares}
out = os.open(os.path.join({folder!r}, f"ran-{{os.getpid()}}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(self, what):
    token = self.job._token.decode()
    line = f"{{what}} {{self.job.id}} {{self.job.attempt}} {{token}} {{time.monotonic()!r}}\\n"
    os.write(self.out, line.encode())

def work(self, job_id, params):
    self.note("start")
    if params.get("sleep"):
        time.sleep(params["sleep"])
    while "gate" in params and not os.path.exists(params["gate"]):
        time.sleep(0.01)
    for n in range(params.get("say", 0)):
        self.job.log(f"line {{n}}")
        self.job.partial({{"n": n}})
        self.job.progress(n / 10, "some of it")
    if self.job.attempt <= params.get("fails", 0):
        self.note("fail")
        raise (RuntimeError, ValueError, OSError)[params["fails"] % 3]("as it was told")
    self.note("end")
    return {{"id": job_id}}
"""


# What each of the workers declares, in turn: one of each kind that takes several jobs, and jobs ahead.
KINDS = ("prefetch = 16", "concurrency = 4; prefetch = 8", "isolate = True; concurrency = 4; prefetch = 4")


class Workers:
    """Worker processes, of which one can be killed; another takes its place."""

    def __init__(self, folder: Path, endpoint: str, count: int) -> None:
        self._folder = folder
        self._endpoint = endpoint
        self._stack = ExitStack()
        self._made = 0
        self.killed = 0
        self.running: list[RunningProcess] = []
        for _ in range(count):
            self._add()

    def _add(self) -> None:
        declares = KINDS[self._made % len(KINDS)]
        self._made += 1
        body = WORKER.format(service=SERVICE, folder=str(self._folder), declares=declares)
        # A job that fails is told as a warning: what is left is what went wrong in the worker itself.
        flags = ["--log-level", "error"]
        one = worker_process(self._folder, self._endpoint, body, f"worker-{self._made}", flags=flags)
        self.running.append(self._stack.enter_context(one))

    def kill_one(self, chance: random.Random) -> None:
        """kill -9 for one of them, and a new one in its place."""
        one = self.running.pop(chance.randrange(len(self.running)))
        one.popen.kill()
        one.popen.wait(10)
        self.killed += 1
        self._add()

    def faults(self) -> list[str]:
        """What those say that have ended by themselves, or failed."""
        said = [(one.popen.poll(), one.text()) for one in self.running]
        return [text[-2000:] for code, text in said if code is not None or "Traceback" in text]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class Load:
    """Clients that keep a broker busy until `stop`."""

    def __init__(
        self, endpoint: str, news: str, folder: Path, ledger: Ledger, seed: int, clients: int = 4
    ) -> None:
        self.ledger = ledger
        self._endpoint = endpoint
        self._news = news
        self._folder = folder
        self._seed = seed
        self._stopping = threading.Event()
        self._faults: list[BaseException] = []
        tasks: list[Callable[[], None]] = [lambda n=n: self._be_a_client(n) for n in range(clients)]
        tasks += [self._lease, self._hear_news]
        self._threads = [threading.Thread(target=self._run, args=(task,), daemon=True) for task in tasks]

    def stop(self) -> None:
        """End the load: what has been asked is waited for. Raises what a client failed with."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * ANSWER_S)
            assert not thread.is_alive(), "a client of the load does not come to its end"
        if self._faults:
            raise self._faults[0]

    @property
    def failed(self) -> bool:
        """Whether a client has failed by now."""
        return bool(self._faults)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as fault:
            self._faults.append(fault)

    def connect(self, away_s: float = AWAY_S) -> Client:
        return Client(self._endpoint, connect_timeout=AWAY_S, reconnect_timeout=away_s)

    def _be_a_client(self, n: int) -> None:
        # One is hasty: it does not repeat what a broker has left unanswered.
        with self.connect() as client, self.connect(away_s=0.01) as hasty:
            _Caller(self.ledger, client, hasty, random.Random(f"{self._seed}-{n}")).run(self._stopping)

    def _lease(self) -> None:
        """Works without being a worker."""
        out = os.open(self._folder / "ran-by-lease", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        chance = random.Random(f"{self._seed}-lease")
        with self.connect() as client:
            while not self._stopping.wait(chance.uniform(0, 0.05)):
                with contextlib.suppress(JobTimeout):
                    lease = client.lease(SERVICE, wait=0.2, ttr=3.0)
                    if lease is None:
                        continue
                    given = (lease.id, lease.attempt, lease.token)
                    os.write(out, run_line("start", *given, time.monotonic()))
                    # Here, too, a broker may die between start and end.
                    self._stopping.wait(chance.uniform(0, 0.1))
                    os.write(out, run_line("end", *given, time.monotonic()))
                    try:
                        lease.complete({"id": lease.id})
                    except Refused as refused:
                        assert refused.code == "token_dead", refused
                        self.ledger.count("leases that were over")
                    else:
                        self.ledger.confirmed(lease.id)
                        self.ledger.count("completed by lease")
        os.close(out)

    def _hear_news(self) -> None:
        with zmq.Context() as context:
            socket = context.socket(zmq.SUB)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SUBSCRIBE, f"{SERVICE}.complete".encode())
            socket.connect(self._news)
            while not self._stopping.is_set():
                if socket.poll(100):
                    self.ledger.confirmed(json.loads(socket.recv_multipart()[1])["id"])
                    self.ledger.count("news of completions")
            socket.close()


class _Caller:
    """One client of the load."""

    def __init__(self, ledger: Ledger, client: Client, hasty: Client, chance: random.Random) -> None:
        self.ledger = ledger
        self.client = client
        self.hasty = hasty
        self.chance = chance
        self.in_flight: deque[tuple[Future[Any], Callable[[Future[Any]], None]]] = deque()
        self._unanswered: deque[tuple[str, dict[str, Any]]] = deque(maxlen=100)
        self._acts = {
            self._submit: 40,
            self._submit_many: 6,
            self._submit_hastily: 8,
            self._submit_again: 6,
            self._cancel: 10,
            self._call: 8,
            self._look: 14,
        }

    def run(self, stopping: threading.Event) -> None:
        acts, weights = list(self._acts), list(self._acts.values())
        while not stopping.wait(self.chance.expovariate(70)):
            self.chance.choices(acts, weights)[0]()
            while self.in_flight and (len(self.in_flight) > IN_FLIGHT_MAX or self.in_flight[0][0].done()):
                self._take_answer()
        while self.in_flight:
            self._take_answer()

    def _take_answer(self) -> None:
        asked, answered = self.in_flight.popleft()
        with contextlib.suppress(BrokerUnreachable, JobTimeout, JobFailed):
            wait_until(asked.done, ANSWER_S, "an answer")
            answered(asked)
            return
        self.ledger.count("requests without an answer")

    # ------------------------------------------------------------ jobs

    def _new(self) -> dict[str, Any]:
        """A job's id, parameters and options; noted as attempted."""
        chance = self.chance
        params: dict[str, Any] = {}
        job: dict[str, Any] = {"id": ids.new_id(), "ttr": 20, "backoff": 0.05, "params": params}
        kind = chance.random()
        if kind < 0.15:
            params["fails"] = chance.randint(1, 4)
            job["retries"] = chance.randint(0, 3)
        elif kind < 0.25:
            params["say"] = chance.randint(1, 8)
        elif kind < 0.5:
            params["sleep"] = chance.choice((0.001, 0.01, 0.05, 0.3))
        if chance.random() < 0.2:
            job["unique"] = f"key-{chance.randrange(12)}"
        if chance.random() < 0.3:
            job["group"] = f"tenant-{chance.randrange(5)}"
        if chance.random() < 0.3:
            job["priority"] = chance.randint(-10, 10)
        if chance.random() < 0.15:
            job["delay"] = round(chance.uniform(0.01, 2.0), 3)
        self.ledger.attempt(job["id"], job.get("unique"))
        return job

    def _submit(self) -> None:
        self._send(self.client, self._new())

    def _submit_hastily(self) -> None:
        job = self._new()
        self._unanswered.append((job["id"], dict(job)))
        self._send(self.hasty, job)

    def _submit_again(self) -> None:
        """What may have been accepted, or was: once more under its id."""
        if self._unanswered:
            self._send(self.client, self._unanswered[self.chance.randrange(len(self._unanswered))][1])

    def _send(self, client: Client, job: dict[str, Any]) -> None:
        asked = client.submit_future(SERVICE, **job)

        def answered(done: Future[Any]) -> None:
            made = done.result()
            self.ledger.accepted(job["id"], made.id, made.durability)

        asked.add_done_callback(lambda done: None if done.exception() else answered(done))
        self.in_flight.append((asked, lambda done: done.result()))

    def _submit_many(self) -> None:
        jobs = [self._new() for _ in range(self.chance.randint(2, 30))]
        asked = self.client.submit_many_future({"service": SERVICE, **job} for job in jobs)

        def answered(done: Future[Any]) -> None:
            for job, made in zip(jobs, done.result(), strict=True):
                if isinstance(made, Refused):
                    self.ledger.fault(f"one of many was refused: {made}")
                else:
                    self.ledger.accepted(job["id"], made.id, made.durability)

        self.in_flight.append((asked, answered))

    # ------------------------------------------------------------ what is done to them

    def _some(self, most: int) -> str | None:
        """One of the jobs that were acknowledged last."""
        known = self.ledger.some(most)
        return self.chance.choice(known) if known else None

    def _cancel(self) -> None:
        job_id = self._some(20)
        if job_id is None:
            return
        asked = self.client.ask_future("zmws.cancel", {"id": job_id})

        def answered(done: Future[Any]) -> None:
            try:
                done.result()
            except Refused as refused:
                if refused.code != "not_possible":
                    self.ledger.fault(f"a cancel of {job_id}: {refused.code}: {refused}")
            else:
                self.ledger.was_cancelled(job_id)

        self.in_flight.append((asked, answered))

    def _call(self) -> None:
        job_id = ids.new_id()
        self.ledger.called(job_id)
        asked = self.client.call_future(SERVICE, {}, id=job_id, timeout=30)

        def answered(done: Future[Any]) -> None:
            if done.result() != {"id": job_id}:
                self.ledger.fault(f"the call {job_id} was answered with {done.result()!r}")
            self.ledger.count("synchronous calls answered")

        self.in_flight.append((asked, answered))

    def _look(self) -> None:
        """At a job that was acknowledged: there it has to be, whatever its state."""
        job_id = self._some(200)
        if job_id is None:
            return
        verb, more = self.chance.choice((("wait", {"timeout": 2}), ("events", {"after": 0}), ("job", {})))
        asked = self.client.ask_future(f"zmws.{verb}", {"id": job_id, **more}, 2)

        def answered(done: Future[Any]) -> None:
            try:
                _, told = done.result()
            except Refused as refused:
                self.ledger.fault(f"zmws.{verb} of {job_id}: {refused.code}: {refused}")
                return
            seen = told if isinstance(told, list) else [told]
            if any(one.get("state") == "complete" for one in seen):
                self.ledger.confirmed(job_id)
                self.ledger.count(f"completions seen by zmws.{verb}")

        self.in_flight.append((asked, answered))
