"""`Client`: calls and jobs from ordinary threads. Thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from zmws import tracing
from zmws.client.answers import (
    Steps,
    accepted,
    body_of,
    filter_of,
    finished,
    options_of,
    result_of,
)
from zmws.client.asked import then, waited
from zmws.client.asker import Asker
from zmws.client.given import Seconds, filters_given, seconds_or_none, service_of
from zmws.client.job import Job
from zmws.client.lease import LEASE_TTR_S, Lease, lease_steps
from zmws.client.pages import Pages
from zmws.client.submit_message import JOBS_MAX, SubmitMessage, message_steps, submit_steps
from zmws.errors import Refused
from zmws.wire import values
from zmws.wire.at_client import Reply

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from zmws.client.batch import Batch
    from zmws.client.chain import Chain
    from zmws.client.items import Step
    from zmws.client.news import News
    from zmws.client.schedule import Schedule

_COROUTINE = 0x80  # CO_COROUTINE of inspect, whose import costs the start of every command


class Client(Asker):
    """A connection to a broker, or to the first of several that answers."""

    # ------------------------------------------------------------ synchronous

    def call(
        self,
        service: str,
        params: Any = None,
        *,
        timeout: Seconds | None = None,
        on_partial: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Any:
        """Ask, wait, and return the result: JSON, bytes, or None for none.

        `timeout` in seconds also goes along as the job's `expires`, so that no worker begins what
        nobody waits for. `on_partial` is called with each partial result, in the client's own thread.
        Raises JobFailed, JobTimeout, ServiceUnknown, Refused, BrokerUnreachable.
        """
        return waited(self.call_future(service, params, timeout=timeout, on_partial=on_partial, **options))

    def call_future(
        self,
        service: str,
        params: Any = None,
        *,
        timeout: Seconds | None = None,
        on_partial: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Future[Any]:
        """As `call`, without waiting: many calls in flight over one connection."""
        name, given, patience = service_of(service), options_of(options), seconds_or_none("timeout", timeout)
        if getattr(getattr(on_partial, "__code__", None), "co_flags", 0) & _COROUTINE:
            raise TypeError("on_partial is an 'async def', and nobody would await it; give a plain function")
        relay = None if on_partial is None else lambda body: on_partial(values.value_of(body))
        send = partial(self._connection.request, name, True, given, body_of(params), patience, relay)
        return self._sent(name, given, send, lambda reply: result_of(reply, given["id"]))

    # ------------------------------------------------------------ asynchronous

    def submit(self, service: str, params: Any = None, **options: Any) -> Job:
        """Submit a job, return when it is accepted. Options: id, priority, delay, at, ttr, retries, backoff,
        expires, unique, keep, durability, group, meta, batch, on_complete, on_failed (docs/options.md). `at`
        may be a datetime with its zone, `id` a UUID, `batch` a Batch, and what is in seconds a timedelta.

        Raises ServiceUnknown, Refused, BrokerUnreachable.
        """
        return waited(self.submit_future(service, params, **options))

    def submit_future(self, service: str, params: Any = None, **options: Any) -> Future[Job]:
        """As `submit`, without waiting for the acknowledgement."""
        name, given = service_of(service), options_of(options)
        send = partial(self._connection.request, name, False, given, body_of(params), None)

        def job(reply: Reply) -> Job:
            job_id, note = accepted(reply)
            return Job(self, job_id, name, str(note.get("durability")), bool(note.get("existing")))

        return self._sent(name, given, send, job)

    def _sent(
        self,
        service: str,
        options: dict[str, Any],
        send: Callable[[], Future[Reply]],
        step: Callable[[Reply], Any],
    ) -> Future[Any]:
        """What `step` makes of the answer to a job that `send` sends, with these options."""
        spans = tracing.on
        sending = None if spans is None else spans.sending(service, options, self.endpoint())
        if sending is None:
            return then(send(), step)
        from zmws.client.sent import then_end  # not at the top: most programs trace nothing

        try:
            return then_end(send(), step, sending)
        except BaseException as fault:
            sending.end(fault)
            raise

    def submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[Job | Refused]:
        """Submit many jobs in as few messages as they fit into: far quicker than one by one.

        Each is a mapping `{"service": ..., "params": ..., **options}` with the options of `submit`, or a
        chain, `{"chain": steps}` with `id` and `batch`, steps as of `chain`. The list has a Job for each that
        was accepted (of a chain its first), and for any other the Refused that `submit` would have raised, in
        order. Raises BrokerUnreachable; jobs whose ids you gave can then be submitted again.
        """
        return finished(submit_steps(self, jobs))

    def submit_many_future(self, jobs: Iterable[Mapping[str, Any]]) -> Future[list[Job | Refused]]:
        """As `submit_many`, without waiting, in one message. Raises Refused (too_large) if they do not
        fit into one."""
        limits = self._connection.dialog
        message = SubmitMessage(limits.message_bytes_max, limits.submit_many_max, self.endpoint())
        for job in jobs:
            if not message.add(job):
                text = f"more jobs than one message holds, which is full at {len(message)}"
                raise Refused("too_large", text)
        return message.submit_future(self)

    def job(self, job_id: str | UUID, service: str = "") -> Job:
        """A job by its id, which the broker is not asked about yet."""
        return Job(self, str(job_id), service, "", True)

    # ------------------------------------------------------------ chains, batches, schedules
    # What they are made of is not imported at the top: `zmws call` needs none of it.

    def chain(self, steps: Sequence[Step], *, id: str | UUID | None = None, batch: Any = None) -> Chain:
        """Submit jobs that follow one another: each is made by the commit that ends the one before, exactly
        once, and can have its result.

            client.chain([("FETCH", {"url": url}), ("RESIZE", PREVIOUS), ("STORE", {"image": PREVIOUS})])

        A step is (service,), (service, params), (service, params, options), or a dict with `service`,
        `params` and options as of `submit`, but for `id`, `at`, `batch` and, from the second on, `unique`.
        PREVIOUS as the parameters is the result before as it is, bytes too; within them it stands for a JSON
        value. A step that does not complete ends the chain there. `id`: of the chain, whose jobs are ID:1,
        ID:2 and so on; the same again is the same chain. `batch`: each step is a member of this.

        Raises ValueError, TypeError, BadValue, ServiceUnknown, Refused, BrokerUnreachable.
        """
        from zmws.client.chain import chain_future

        return waited(chain_future(self, steps, id, batch))

    def get_chain(self, chain_id: str | UUID) -> Chain:
        """A chain by its id, which the broker is not asked about yet."""
        from zmws.client.chain import Chain

        return Chain(self, str(chain_id), self.job(f"{chain_id}:1"))

    def batch(
        self,
        jobs: Iterable[Mapping[str, Any] | Sequence[Any] | str] | None = None,
        *,
        then: Step | str | None = None,
        failed: Step | str | None = None,
        id: str | UUID | None = None,
        keep: Seconds | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Batch:
        """Open a batch: jobs, any number, at whose end together something follows, exactly once.

            with client.batch(then=("REPORT", {"month": 3})) as batch:
                for path in paths:
                    batch.add("RESIZE", {"path": path})

        With `jobs` (as of `Batch.add_many`, any iterator) these are added and it is closed, also where there
        are none; without it is open, until it is closed: add to it, also from within its jobs. `then` follows
        if all have completed, else `failed`: (service, params, options), a dict, or the name of a service
        alone, whose job is then told of the batch. `id`: the same again is the same batch, and with `jobs`
        in the same order they are the same jobs, also when it is closed: those that name no id have ID:1,
        ID:2 and so on, by their place. `keep`: how long its row is kept after its end. `meta`: a JSON object
        of your own.

        Raises ServiceUnknown, Refused (too_many_batches ...), BrokerUnreachable. Where one of `jobs` is
        refused the batch stays open, and nothing follows; the text names it.
        """
        from zmws.client.batch import open_steps

        options = {"id": id, "keep": keep, "meta": meta}
        return finished(open_steps(self, jobs, {"then": then, "failed": failed}, options))

    def get_batch(self, batch_id: str | UUID) -> Batch:
        """A batch by its id, which the broker is not asked about yet."""
        from zmws.client.batch import Batch

        return Batch(self, str(batch_id))

    def batches(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """The rows of batches, newest first, page by page: state= (open, running, complete or failed), limit=
        for the size of a page."""
        return Pages(self, "zmws.batches", "batches", filters).rows()

    def family(self, job_id: str | UUID, limit: int = 1000) -> list[dict[str, Any]]:
        """The jobs that followed from one another's ends, of which one is this: the first of them, then each
        behind its `parent`, as lists show jobs, with `depth`, `step` and `steps`. At most `limit`. Raises
        Refused (unknown_job)."""
        return list(self.ask("zmws.family", {"id": str(job_id), "limit": limit})["jobs"])

    def schedules(self) -> list[dict[str, Any]]:
        """The rows of all schedules, by name, as docs/protocol.md shows them."""
        return list(self.ask("zmws.schedules")["schedules"])

    def schedule(self, name: str) -> Schedule:
        """A schedule by its name, which the broker is not asked about yet."""
        from zmws.client.schedule import Schedule

        return Schedule(self, name)

    def add_schedule(
        self,
        name: str,
        service: str,
        params: Any = None,
        *,
        cron: str | None = None,
        every: Seconds | None = None,
        zone: str | None = None,
        missed: str | None = None,
        missed_max: int | None = None,
        overlap: str | None = None,
        jitter: Seconds | None = None,
        until: datetime | str | None = None,
        paused: bool | None = None,
        replace: bool | None = None,
        **options: Any,
    ) -> Schedule:
        """Submit a job again and again: `cron="30 8 * * MON-FRI", zone="Europe/Berlin"`, or `every` so many
        seconds, from 1 on. `options` are those of each job, but for id, at and batch.

        `missed`: what of the times at which no broker ran is made up for: none, once (unless given) or all,
        of which at most `missed_max`, the newest. `overlap`: allow (unless given), skip or cancel, while its
        last job has not ended. `jitter`: each is late by up to so many seconds, by chance. `until`: none
        after this time. `replace`: in the place of one of that name.

        Raises Refused (bad_option, exists, not_possible, too_many_schedules), ServiceUnknown.
        """
        from zmws.client.schedule import add_future

        when: dict[str, Any]
        when = {"cron": cron, "every": every, "zone": zone, "missed": missed, "missed_max": missed_max}
        when |= {"overlap": overlap, "jitter": jitter, "until": until, "paused": paused, "replace": replace}
        return waited(add_future(self, name, service, params, when, options))

    # ------------------------------------------------------------ a worker's part

    def lease(self, service: str, wait: Seconds = 0.0, ttr: Seconds = LEASE_TTR_S) -> Lease | None:
        """Take a job of `service` to do it here; None if none came within `wait` seconds.

        It runs under the lease for `ttr` seconds, which `Lease.extend` moves; then it is another's. Who dies
        while waiting may have been given a job: it, too, comes back after its `ttr`.
        """
        return finished(lease_steps(self, service, wait, ttr))

    # ------------------------------------------------------------ looking on

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Stored jobs, newest first, page by page: service=, state=, group=, since=, before=, parent= (a
        Job, or its id), chain=, batch=, memory=True for the broker's memory jobs, limit= for the size of a
        page."""
        return Pages(self, "zmws.jobs", "jobs", filters_given(filters)).rows()

    def services(self) -> list[dict[str, Any]]:
        """The services with their counts, as docs/protocol.md shows them."""
        return list(self.ask("zmws.services"))

    def service(self, name: str) -> dict[str, Any]:
        """One of them, with the `options` of its jobs, each with its `value` and where that is `from`
        (configuration, worker, default), and the JSON Schema of its `params`, None where no worker has told
        one. Raises ServiceUnknown."""
        return dict(self.ask("zmws.service", {"service": name}))

    def workers(self) -> list[dict[str, Any]]:
        """The workers, as docs/protocol.md shows them."""
        return list(self.ask("zmws.workers"))

    def stats(self) -> dict[str, Any]:
        """The broker's counters and limits, as docs/protocol.md shows them."""
        return dict(self.ask("zmws.stats"))

    def news(self, service: str | None = None) -> News:
        """What happens to all jobs and workers from now on, or to those of one service: `zmws.client.news`.
        Raises BrokerUnreachable, and Refused: not_allowed, or no_news from a broker too old to say where."""
        hello = self.ask("zmws.hello")
        told = hello.get("news")
        if hello.get("news_refused"):
            raise Refused("not_allowed", f"the broker tells no news to {hello['news_refused']}")
        if not told:
            raise Refused(
                "no_news", "the broker does not say where it tells its news; it is too old for that"
            )
        from zmws.client.news import News  # not at the top: `zmws call` needs none of it
        from zmws.settings.addresses import seen_from

        return News(seen_from(told, self.endpoint()), service, self.key)

    # ------------------------------------------------------------ an operator's part

    def cancel_jobs(self, **filter: Any) -> int:
        """Cancel every job that is waiting, scheduled or running and matches; how many.

        `filter`: service=, state=, group=, since= and before= (ISO 8601 with zone, or datetimes), parent=,
        chain= and batch= (ids, or a Job, a Chain, a Batch), all that are given have to match; or all=True.
        Raises TypeError, ValueError, Refused.
        """
        return waited(self.count_future("zmws.cancel", filter_of(filter)))

    def retry_jobs(self, **filter: Any) -> int:
        """Let every failed job that matches wait again, or with `state` every cancelled or expired one; how
        many. `filter` as of `cancel_jobs`."""
        return waited(self.count_future("zmws.retry", filter_of(filter)))

    def delete_jobs(self, **filter: Any) -> int:
        """Delete the records of ended jobs that match; how many. `filter` as of `cancel_jobs`."""
        return waited(self.count_future("zmws.delete", filter_of(filter)))

    def purge(self, service: str) -> int:
        """Cancel all jobs of a service that wait or are scheduled; how many."""
        return waited(self.count_future("zmws.purge", {"service": service}))

    def pause(self, service: str) -> None:
        """Start no more jobs of a service until `resume`; what runs goes on, and new jobs are taken."""
        self.ask("zmws.pause", {"service": service})

    def resume(self, service: str) -> None:
        """Start jobs of a paused service again."""
        self.ask("zmws.resume", {"service": service})

    def limit(self, service: str, **limits: Any) -> dict[str, Any]:
        """Set limits of a service, as of now: max_running=, rate=, max_waiting= (None: as the configuration
        says), paused=; with version=, as `service` told it, only if nobody has changed the service since.
        They hold over a restart. Returns what `service` does. Raises Refused (changed), ServiceUnknown."""
        return dict(self.ask("zmws.limit", {"service": service, **limits}))

    def peek(self, service: str, limit: int = 10) -> list[dict[str, Any]]:
        """The jobs of a service that would start next, in their order; none is taken. Raises
        ServiceUnknown."""
        return list(self.ask("zmws.peek", {"service": service, "limit": limit})["jobs"])

    def forget(self, service: str) -> None:
        """Make a service unknown, until a worker registers it again; records of its jobs are kept. Raises
        Refused (not_possible) while it has workers or unfinished jobs, or the settings name it."""
        self.ask("zmws.forget", {"service": service})

    def drain(self, worker: str | None = None, *, service: str | None = None) -> int:
        """Let a worker (its `id`, as `workers` has it), or all of a service, finish what they run, and leave:
        they are given no more jobs. How many. Raises Refused (unknown_worker), ServiceUnknown."""
        return waited(self.count_future("zmws.drain", {"worker": worker, "service": service}))

    # ------------------------------------------------------------ any question

    def ask(self, service: str, question: Mapping[str, Any] | None = None) -> Any:
        """The answer of a `zmws.*` service. Raises Refused, JobTimeout, BrokerUnreachable."""
        return self.ask_status(service, question)[1]

    def ask_status(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> tuple[int, Any]:
        """Status and answer. `takes_s`: how long the broker itself may wait before it answers."""
        return waited(self.ask_future(service, question, takes_s))

    def message_steps(self, jobs_max: int = JOBS_MAX) -> Steps[Callable[[], SubmitMessage]]:
        """What makes messages of many jobs, as large as the broker takes."""
        return message_steps(self, jobs_max)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
