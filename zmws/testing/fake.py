"""`FakeClient`: what a client is, for an application's tests that need no broker.

    client = FakeClient()                          keeps what is submitted, and runs nothing
    welcome(client, user)                          the code that is tested
    assert [(job.service, job.params) for job in client.submitted] == [("EMAIL", {"to": user.email})]

    client = FakeClient(workers=[Reverse])         runs jobs, in this thread
    assert client.call("STR-REV", {"str": "abc"}) == "cba"

    client = FakeClient(workers={"PRICE": lambda params: 42})       a function stands for a worker
    assert client.call("PRICE", {"article": 7}) == 42

It is a Client, over a broker in this thread (in_process.py): options, refusals, repeats, records and events
are the real ones. What is other than with a broker:

    - Nothing waits. `work()` is run when a job is submitted, or with `run_at_once=False` when `run_all` is
      called or somebody waits. A retry comes at once, without its backoff. What is to start later waits for
      `pass_time`, for `run_all`, or for somebody who waits for it: then the fake's clock is moved on.
    - However long a `work()` takes, it takes no time by that clock beyond what really passes.
    - A wait that would never end, for nobody serves that service, is refused (ZmwsError).
    - What a `work()` submits runs after it, and what it calls or waits for within it.
    - As long as no worker is given every service is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zmws.client.asynchronous import AsyncClient
from zmws.client.synchronous import Client
from zmws.core.options import ServiceOptions, service_options
from zmws.core.states import SCHEDULED, WAITING
from zmws.errors import ZmwsError
from zmws.testing.fake_connection import FakeConnection
from zmws.testing.in_process import InProcess, Submitted
from zmws.work import WorkerBase

Workers = Iterable[type[WorkerBase] | WorkerBase] | Mapping[str, Callable[[Any], Any]]
Services = Mapping[str, ServiceOptions | Mapping[str, Any]]

_ANSWER_S = 10.0  # as long as a real client would wait for the broker itself


class FakeClient(Client):
    """A client that needs no broker. May be used by many threads, as a Client."""

    def __init__(
        self, workers: Workers | None = None, *, run_at_once: bool = True, services: Services | None = None
    ) -> None:
        """`workers`: classes, of each of which an object is made, or objects; or, of each service, a function
        of the parameters that stands for its worker. None: jobs are kept, and every
        service is known. `services`: their options, as `[services.NAME]` has them; these
        are known, also without a worker. Raises ValueError for a worker without a service's name or a
        `work()`, and OptionError.
        """
        given = {
            name: one if isinstance(one, ServiceOptions) else service_options(one)
            for name, one in (services or {}).items()
        }
        self._use(InProcess(given, run_at_once))
        if isinstance(workers, Mapping):
            self.add_workers(*(_worker_of(name, function) for name, function in workers.items()))
        elif workers is not None:
            self.add_workers(*workers)

    def _use(self, broker: InProcess) -> None:
        self._broker = broker
        self._answer_s = _ANSWER_S
        self._connection = FakeConnection(broker)  # type: ignore[assignment]

    # ------------------------------------------------------------ for the test

    @property
    def submitted(self) -> list[Submitted]:
        """The jobs that were made, in order, those of `call` too. A test may clear it. What was refused is
        not in it, nor a repeat of what is there already (`id`, `unique`)."""
        return self._broker.submitted

    def add_workers(self, *workers: type[WorkerBase] | WorkerBase) -> None:
        """More workers. From now on only services that are served, or that have options, are known."""
        self._broker.takes_any_service = False
        for worker in workers:
            self._broker.hire(worker, self)
        if self._broker.run_at_once:
            self._broker.work()

    def run_all(self) -> int:
        """Let the workers do all there is, also what is to start later; how many attempts that were."""
        return self._broker.run_all()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, without waiting for it: what is due by then is done, or expires, and so on.

        The fake's clock is ahead of the machine's afterwards, also for `at`.
        """
        self._broker.pass_time(seconds)

    def connect(self, broker: str | Sequence[str] | None = None, **settings: Any) -> FakeClient:
        """Another client of the same. In place of the class, in code that makes its own clients:
        `monkeypatch.setattr(app, "Client", fake.connect)`. What a Client would be given is not looked at."""
        other = object.__new__(type(self))
        other._use(self._broker)
        return other

    def connect_async(self, broker: str | Sequence[str] | None = None, **settings: Any) -> AsyncFakeClient:
        """As `connect`, in place of AsyncClient."""
        other = object.__new__(AsyncFakeClient)
        other._client = self.connect()
        return other

    # ------------------------------------------------------------ as a client waits

    def monotonic(self) -> float:
        """By the clock of the fake."""
        return self._broker.now()

    def check_endless(self, job_id: str) -> None:
        """Raises ZmwsError where nobody here will do this job."""
        broker = self._broker
        if self._state(job_id) == SCHEDULED:
            broker.move_on_until(lambda: self._state(job_id) != SCHEDULED)
        if self._state(job_id) == WAITING:
            why = broker.why_never(self.ask("zmws.job", {"id": job_id})["service"])
            if why is not None:
                raise ZmwsError(f"job {job_id} waits: {why}")

    def check_endless_batch(self, batch_id: str) -> None:
        """Raises ZmwsError where nobody here will do its jobs, or close it."""
        broker = self._broker
        later = [row["id"] for row in self.jobs(batch=batch_id, state=SCHEDULED)]
        waiting = self.jobs(batch=batch_id, state=WAITING)
        whys = [why for row in waiting if (why := broker.why_never(row["service"])) is not None]
        row = self.ask("zmws.batch", {"id": batch_id})
        if row["unfinished"] > len(whys) + len(later):
            return  # somebody can do something at once
        if later:
            broker.move_on_until(lambda: any(self._state(job_id) != SCHEDULED for job_id in later))
        elif whys:
            raise ZmwsError(f"batch {batch_id} waits: {whys[0]}")
        elif not row["closed"]:
            raise ZmwsError(f"batch {batch_id} is open, and whoever waits for its end would wait for ever")

    def _state(self, job_id: str) -> str:
        return str(self.ask("zmws.job", {"id": job_id})["state"])

    def __enter__(self) -> FakeClient:
        return self

    def __repr__(self) -> str:
        return f"<FakeClient with {len(self.submitted)} jobs submitted>"


def _worker_of(service: str, function: Callable[[Any], Any]) -> type[WorkerBase]:
    """A worker that does what a function does."""

    class Function(WorkerBase):
        service_name = service

        def work(self, job_id: str, params: Any) -> Any:
            return function(params)

    return Function


class AsyncFakeClient(AsyncClient):
    """As FakeClient, in place of an AsyncClient. What is for the test needs no `await`."""

    _client: FakeClient

    def __init__(
        self, workers: Workers | None = None, *, run_at_once: bool = True, services: Services | None = None
    ) -> None:
        """As of FakeClient."""
        self._client = FakeClient(workers, run_at_once=run_at_once, services=services)

    @property
    def submitted(self) -> list[Submitted]:
        """As `FakeClient.submitted`."""
        return self._client.submitted

    def add_workers(self, *workers: type[WorkerBase] | WorkerBase) -> None:
        """As `FakeClient.add_workers`."""
        self._client.add_workers(*workers)

    def run_all(self) -> int:
        """As `FakeClient.run_all`."""
        return self._client.run_all()

    def pass_time(self, seconds: float) -> None:
        """As `FakeClient.pass_time`."""
        self._client.pass_time(seconds)

    def connect(self, broker: str | Sequence[str] | None = None, **settings: Any) -> AsyncFakeClient:
        """As `FakeClient.connect`, in place of AsyncClient."""
        return self._client.connect_async()

    async def __aenter__(self) -> AsyncFakeClient:
        return self

    def __repr__(self) -> str:
        return f"<AsyncFakeClient with {len(self.submitted)} jobs submitted>"
