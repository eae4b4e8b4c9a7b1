"""`Client`: calls and jobs from ordinary threads. Thread-safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from zmws.client.answers import (
    DEFAULT_BROKER,
    accepted,
    answer_of,
    body_of,
    options_of,
    outcome_of,
    result_of,
    value_of,
)
from zmws.client.connection import Connection
from zmws.core.client_dialog import ClientSettings
from zmws.core.messages import Reply
from zmws.errors import JobTimeout

WAIT_S = 30.0  # one zmws.wait; longer waits are several
_ANSWER_S = 10.0  # patience with the broker itself


class Job:
    """A job that a broker has accepted."""

    def __init__(self, client: Client, job_id: str, service: str, durability: str, existing: bool) -> None:
        self.id = job_id
        self.service = service
        self.durability = durability  # what the acknowledgement stands for: "disk" or "memory"
        self.existing = existing  # it was there already: a repeated id, or a unique key
        self._client = client

    def status(self) -> dict[str, Any]:
        """Its record, as docs/protocol.md shows it. Raises Refused (unknown_job) when forgotten."""
        record: dict[str, Any] = self._client.ask("zmws.job", {"id": self.id})
        return record

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Its record, when it has ended. `timeout` in seconds; raises JobTimeout."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = WAIT_S if deadline is None else min(WAIT_S, max(0.0, deadline - time.monotonic()))
            status, record = self._client.ask_status("zmws.wait", {"id": self.id, "timeout": left}, left)
            if status == 200:
                assert isinstance(record, dict), record
                return record
            if deadline is not None and time.monotonic() >= deadline:
                raise JobTimeout(f"job {self.id} has not ended within {timeout:g} s", self.id)

    def result(self, timeout: float | None = None) -> Any:
        """Its result, when it has completed: JSON, bytes, or True for none.

        Raises JobTimeout, JobFailed, JobCancelled.
        """
        return outcome_of(self.wait(timeout))

    def wait_future(self, timeout: float = WAIT_S) -> Future[dict[str, Any] | None]:
        """One wait of at most `timeout` seconds, without blocking: its record if it has ended by then,
        else None."""
        asked = self._client.ask_future("zmws.wait", {"id": self.id, "timeout": timeout}, timeout)
        return _then(asked, lambda answer: answer[1] if answer[0] == 200 else None)

    def cancel(self) -> None:
        """Cancel it, waiting or running. Raises Refused (not_possible) when it has ended."""
        self._client.ask("zmws.cancel", {"id": self.id})

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.service}>"


class Client:
    """A connection to a broker, or to the first of several that answers."""

    def __init__(
        self,
        broker: str | Sequence[str] = DEFAULT_BROKER,
        *,
        connect_timeout: float = 1.5,
        reconnect_timeout: float = 15.0,
        failover_duplicates: bool = False,
        message_bytes_max: int = 8 * 1024 * 1024,
    ) -> None:
        """`broker`: client endpoint(s), `tcp://HOST:PORT`.

        `connect_timeout`: seconds until a broker that was never reached is given up;
        `reconnect_timeout`: seconds that one with requests in flight may stay away.
        `message_bytes_max`: larger parameters are refused here; the broker would cut the connection.
        `failover_duplicates`: repeat those at the next broker, at the risk of a second job.
        """
        brokers = [broker] if isinstance(broker, str) else list(broker)
        settings = ClientSettings(
            connect_s=connect_timeout,
            away_s=reconnect_timeout,
            message_bytes_max=message_bytes_max,
            failover_duplicates=failover_duplicates,
        )
        self._connection = Connection(brokers, settings)

    # ------------------------------------------------------------ synchronous

    def call(
        self,
        service: str,
        params: Any = None,
        *,
        timeout: float | None = None,
        on_partial: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Any:
        """Ask, wait, and return the result: JSON, bytes, or True for none.

        `timeout` in seconds also goes along as the job's `expires`, so that no worker begins what
        nobody waits for. `on_partial` is called with each partial result, in the client's own thread.
        Raises JobFailed, JobTimeout, ServiceUnknown, Refused, BrokerUnreachable.
        """
        return self.call_future(service, params, timeout=timeout, on_partial=on_partial, **options).result()

    def call_future(
        self,
        service: str,
        params: Any = None,
        *,
        timeout: float | None = None,
        on_partial: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Future[Any]:
        """As `call`, without waiting: many calls in flight over one connection."""
        given = options_of(options)
        relay = None if on_partial is None else lambda body: on_partial(value_of(body))
        asked = self._connection.request(service, True, given, body_of(params), timeout, relay)
        return _then(asked, lambda reply: result_of(reply, given["id"]))

    # ------------------------------------------------------------ asynchronous

    def submit(self, service: str, params: Any = None, **options: Any) -> Job:
        """Submit a job, return when it is accepted. Options: id, priority, delay, at, ttr, retries,
        backoff, expires, unique, keep, durability, group (docs/options.md).

        Raises ServiceUnknown, Refused, BrokerUnreachable.
        """
        return self.submit_future(service, params, **options).result()

    def submit_future(self, service: str, params: Any = None, **options: Any) -> Future[Job]:
        """As `submit`, without waiting for the acknowledgement."""
        asked = self._connection.request(service, False, options_of(options), body_of(params), None)

        def job(reply: Reply) -> Job:
            job_id, note = accepted(reply)
            return Job(self, job_id, service, str(note.get("durability")), bool(note.get("existing")))

        return _then(asked, job)

    def job(self, job_id: str, service: str = "") -> Job:
        """A job by its id, which the broker is not asked about yet."""
        return Job(self, job_id, service, "", True)

    # ------------------------------------------------------------ looking on

    def ask(self, service: str, question: Mapping[str, Any] | None = None) -> Any:
        """The answer of a `zmws.*` service. Raises Refused, JobTimeout, BrokerUnreachable."""
        return self.ask_status(service, question)[1]

    def ask_status(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> tuple[int, Any]:
        """Status and answer. `takes_s`: how long the broker itself may wait before it answers."""
        return self.ask_future(service, question, takes_s).result()

    def ask_future(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> Future[tuple[int, Any]]:
        """As `ask_status`, without waiting."""
        body = body_of(dict(question or {}))
        asked = self._connection.request(service, True, {}, body, takes_s + _ANSWER_S)
        return _then(asked, answer_of)

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Stored jobs, newest first, page by page: service=, state=, group=, since=, before=,
        memory=True for the broker's memory jobs, limit= for the size of a page."""
        while True:
            page = self.ask("zmws.jobs", filters)
            yield from page["jobs"]
            if page["next"] is None:
                return
            filters["cursor"] = page["next"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _then(asked: Future[Any], step: Callable[[Any], Any]) -> Future[Any]:
    """A future of what `step` makes of the reply."""
    made: Future[Any] = Future()

    def on_done(done: Future[Any]) -> None:
        if not made.set_running_or_notify_cancel():
            return
        try:
            value = step(done.result())
        except BaseException as fault:
            made.set_exception(fault)
        else:
            made.set_result(value)

    asked.add_done_callback(on_done)
    made.add_done_callback(lambda done: asked.cancel() if done.cancelled() else None)
    return made
