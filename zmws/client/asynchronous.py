"""`AsyncClient`: the same calls with `await`. One connection and one I/O thread, as `Client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zmws.client.answers import Steps, T, filter_of, outcome_of
from zmws.client.asked import awaited
from zmws.client.batch import Batch, open_steps
from zmws.client.chain import Chain, chain_future
from zmws.client.given import Handle, Seconds, filters_given
from zmws.client.items import Step
from zmws.client.job import STACK_S, Events, Job
from zmws.client.lease import LEASE_TTR_S, Lease, lease_steps
from zmws.client.pages import Pages
from zmws.client.schedule import Schedule, add_future
from zmws.client.submit_message import submit_steps
from zmws.client.synchronous import Client
from zmws.errors import Refused, ZmwsError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class AsyncJob(Handle):
    """A job that a broker has accepted. `id`, `service`, `durability` and `existing` are as of `Job`."""

    _stands_for = "parent"

    def __init__(self, job: Job) -> None:
        self._job = job
        self.id, self.service = job.id, job.service
        self.durability, self.existing = job.durability, job.existing

    async def status(self) -> dict[str, Any]:
        """As `Job.status`."""
        return dict(await awaited(self._job.asked("zmws.job")))

    async def wait(self, timeout: Seconds | None = None) -> dict[str, Any]:
        """As `Job.wait`."""
        return await _finished(self._job.wait_steps(timeout))

    async def result(self, timeout: Seconds | None = None) -> Any:
        """As `Job.result`."""
        return outcome_of(await self.wait(timeout))

    async def events(
        self, after: int = 0, timeout: Seconds | None = None, follow: bool = True
    ) -> AsyncIterator[dict[str, Any]]:
        """As `Job.events`, for `async for`."""
        story = Events(self._job, after, timeout, follow)
        while not story.ended:
            for event in await _finished(story.page_steps()):
                yield event

    async def cancel(self) -> None:
        """As `Job.cancel`."""
        await awaited(self._job.asked("zmws.cancel"))

    async def retry(self) -> None:
        """As `Job.retry`."""
        await awaited(self._job.asked("zmws.retry"))

    async def delete(self) -> None:
        """As `Job.delete`."""
        await awaited(self._job.asked("zmws.delete"))

    async def copy(self, params: Any = None, *, service: str | None = None, **options: Any) -> AsyncJob:
        """As `Job.copy`."""
        return AsyncJob(await awaited(self._job.copy_future(params, service, options)))

    async def stack(self, timeout: Seconds = STACK_S) -> dict[str, Any]:
        """As `Job.stack`."""
        return dict(await awaited(self._job.stack_future(timeout)))

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id} of {self.service}>"


class AsyncLease:
    """One attempt at a job, as `Lease`: `async with lease: await lease.complete(...)`.

    `id`, `service`, `attempt`, `token`, `params`, `record` and `ttr` are as of `Lease`.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.id, self.service, self.attempt = lease.id, lease.service, lease.attempt
        self.token, self.params, self.record = lease.token, lease.params, lease.record
        self.ttr = lease.ttr

    @property
    def deadline(self) -> float:
        """As `Lease.deadline`."""
        return self._lease.deadline

    @property
    def reported(self) -> bool:
        """As `Lease.reported`."""
        return self._lease.reported

    async def complete(self, result: Any = None) -> None:
        """As `Lease.complete`."""
        await self._wait(self._lease.complete_future(result))

    async def fail(self, error: str, **more: Any) -> None:
        """As `Lease.fail`: code=, type=, traceback=, retry=, delay=."""
        await self._wait(self._lease.fail_future(error, **more))

    async def release(self) -> None:
        """As `Lease.release`."""
        await self._wait(self._lease.release_future())

    async def _wait(self, ending: Future[None]) -> None:
        try:
            await awaited(ending)
        except ZmwsError as fault:
            raise self._lease.not_taken(fault) from None

    async def progress(self, done: float, text: str | None = None) -> None:
        """As `Lease.progress`."""
        await awaited(self._lease.progress_future(done, text))

    async def partial(self, value: Any) -> None:
        """As `Lease.partial`."""
        await awaited(self._lease.partial_future(value))

    async def log(self, text: str) -> None:
        """As `Lease.log`."""
        await awaited(self._lease.log_future(text))

    async def extend(self, seconds: Seconds) -> None:
        """As `Lease.extend`."""
        await awaited(self._lease.extend_future(seconds))

    async def __aenter__(self) -> AsyncLease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _finished(self._lease.ending_steps(fault))

    def __repr__(self) -> str:
        return f"<Async{repr(self._lease)[1:]}"


class AsyncChain(Handle):
    """A chain that a broker has accepted. `id`, `first` and `existing` are as of `Chain`."""

    _stands_for = "chain"

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.id, self.first, self.existing = chain.id, AsyncJob(chain.first), chain.existing

    async def jobs(self) -> list[dict[str, Any]]:
        """As `Chain.jobs`."""
        pages = Pages(self._chain._asker, "zmws.jobs", "jobs", {"chain": self.id})
        return [row async for row in _rows(pages)][::-1]

    async def last(self) -> AsyncJob:
        """As `Chain.last`."""
        return AsyncJob(await _finished(self._chain.last_steps()))

    async def status(self) -> dict[str, Any]:
        """As `Chain.status`."""
        return await (await self.last()).status()

    async def wait(self, timeout: Seconds | None = None) -> dict[str, Any]:
        """As `Chain.wait`."""
        return await _finished(self._chain.wait_steps(timeout))

    async def result(self, timeout: Seconds | None = None) -> Any:
        """As `Chain.result`."""
        return outcome_of(await self.wait(timeout))

    async def cancel(self) -> int:
        """As `Chain.cancel`."""
        return await awaited(self._chain.count_future("zmws.cancel"))

    async def retry(self) -> int:
        """As `Chain.retry`."""
        return await awaited(self._chain.count_future("zmws.retry"))

    def __repr__(self) -> str:
        return f"<AsyncChain {self.id}>"


class AsyncBatch(Handle):
    """A batch that a broker has: `async with await client.batch(...) as batch`. `id` and `existing` are as of
    `Batch`."""

    _stands_for = "batch"

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.id, self.existing = batch.id, batch.existing

    async def add(self, service: str, params: Any = None, **options: Any) -> AsyncJob:
        """As `Batch.add`."""
        return AsyncJob(await awaited(self._batch.add_future(service, params, options)))

    async def add_many(self, jobs: Iterable[Mapping[str, Any] | Sequence[Any] | str]) -> int:
        """As `Batch.add_many`."""
        return await _finished(self._batch.added_steps(jobs))

    async def add_chain(self, steps: Sequence[Step], *, id: Any = None) -> AsyncChain:
        """As `Batch.add_chain`."""
        return AsyncChain(await awaited(chain_future(self._batch._asker, steps, id, self._batch)))

    async def close(self) -> dict[str, Any]:
        """As `Batch.close`."""
        return dict(await awaited(self._batch.asked("zmws.close")))

    async def status(self) -> dict[str, Any]:
        """As `Batch.status`."""
        return dict(await awaited(self._batch.asked("zmws.batch")))

    async def wait(self, timeout: Seconds | None = None) -> dict[str, Any]:
        """As `Batch.wait`."""
        return await _finished(self._batch.wait_steps(timeout))

    def jobs(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """As `Batch.jobs`, for `async for`."""
        question = {**filters_given(filters), "batch": self.id}
        return _rows(Pages(self._batch._asker, "zmws.jobs", "jobs", question))

    async def cancel(self) -> int:
        """As `Batch.cancel`."""
        return await _finished(self._batch.cancel_steps())

    async def retry(self) -> int:
        """As `Batch.retry`."""
        return await awaited(self._batch.count_future("zmws.retry"))

    async def __aenter__(self) -> AsyncBatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is None:
            await self.close()

    def __repr__(self) -> str:
        return f"<AsyncBatch {self.id}>"


class AsyncSchedule:
    """A schedule that a broker has, by its `name`."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.name = schedule.name

    async def status(self) -> dict[str, Any]:
        """As `Schedule.status`."""
        return await _finished(self._schedule.status_steps())

    async def pause(self) -> None:
        """As `Schedule.pause`."""
        await awaited(self._schedule.done_future("pause"))

    async def resume(self) -> None:
        """As `Schedule.resume`."""
        await awaited(self._schedule.done_future("resume"))

    async def run(self) -> AsyncJob:
        """As `Schedule.run`."""
        return AsyncJob(await awaited(self._schedule.run_future()))

    async def remove(self) -> None:
        """As `Schedule.remove`."""
        await awaited(self._schedule.done_future("remove"))

    def __repr__(self) -> str:
        return f"<AsyncSchedule {self.name}>"


class AsyncClient:
    """As `Client`, for asyncio."""

    def __init__(self, broker: str | Sequence[str] | None = None, **settings: Any) -> None:
        self._client = Client(broker, **settings)
        self.key = self._client.key  # the key file by which it proves who it is, None if it does not

    async def call(
        self,
        service: str,
        params: Any = None,
        *,
        timeout: Seconds | None = None,
        on_partial: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Any:
        """As `Client.call`; `on_partial` is called in the event loop."""
        loop = asyncio.get_running_loop()

        def relay(value: Any) -> None:
            if on_partial is not None:
                loop.call_soon_threadsafe(on_partial, value)

        # No name for the future: the traceback of what it raises would hold it.
        return await awaited(
            self._client.call_future(service, params, timeout=timeout, on_partial=relay, **options)
        )

    async def submit(self, service: str, params: Any = None, **options: Any) -> AsyncJob:
        """As `Client.submit`."""
        return AsyncJob(await awaited(self._client.submit_future(service, params, **options)))

    async def submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[AsyncJob | Refused]:
        """As `Client.submit_many`."""
        made = await _finished(submit_steps(self._client, jobs))
        return [AsyncJob(one) if isinstance(one, Job) else one for one in made]

    def job(self, job_id: str | UUID, service: str = "") -> AsyncJob:
        """As `Client.job`."""
        return AsyncJob(self._client.job(job_id, service))

    async def chain(
        self, steps: Sequence[Step], *, id: str | UUID | None = None, batch: Any = None
    ) -> AsyncChain:
        """As `Client.chain`."""
        return AsyncChain(await awaited(chain_future(self._client, steps, id, batch)))

    def get_chain(self, chain_id: str | UUID) -> AsyncChain:
        """As `Client.get_chain`."""
        return AsyncChain(self._client.get_chain(chain_id))

    async def batch(
        self,
        jobs: Iterable[Mapping[str, Any] | Sequence[Any] | str] | None = None,
        *,
        then: Step | str | None = None,
        failed: Step | str | None = None,
        id: str | UUID | None = None,
        keep: Seconds | None = None,
        meta: dict[str, Any] | None = None,
    ) -> AsyncBatch:
        """As `Client.batch`."""
        options = {"id": id, "keep": keep, "meta": meta}
        follows = {"then": then, "failed": failed}
        return AsyncBatch(await _finished(open_steps(self._client, jobs, follows, options)))

    def get_batch(self, batch_id: str | UUID) -> AsyncBatch:
        """As `Client.get_batch`."""
        return AsyncBatch(self._client.get_batch(batch_id))

    def batches(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """As `Client.batches`, for `async for`."""
        return _rows(Pages(self._client, "zmws.batches", "batches", filters))

    async def family(self, job_id: str | UUID, limit: int = 1000) -> list[dict[str, Any]]:
        """As `Client.family`."""
        return list((await self.ask("zmws.family", {"id": str(job_id), "limit": limit}))["jobs"])

    async def schedules(self) -> list[dict[str, Any]]:
        """As `Client.schedules`."""
        return list((await self.ask("zmws.schedules"))["schedules"])

    def schedule(self, name: str) -> AsyncSchedule:
        """As `Client.schedule`."""
        return AsyncSchedule(self._client.schedule(name))

    async def add_schedule(
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
    ) -> AsyncSchedule:
        """As `Client.add_schedule`."""
        when: dict[str, Any]
        when = {"cron": cron, "every": every, "zone": zone, "missed": missed, "missed_max": missed_max}
        when |= {"overlap": overlap, "jitter": jitter, "until": until, "paused": paused, "replace": replace}
        return AsyncSchedule(await awaited(add_future(self._client, name, service, params, when, options)))

    async def lease(self, service: str, wait: Seconds = 0.0, ttr: Seconds = LEASE_TTR_S) -> AsyncLease | None:
        """As `Client.lease`."""
        lease = await _finished(lease_steps(self._client, service, wait, ttr))
        return None if lease is None else AsyncLease(lease)

    def jobs(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """As `Client.jobs`, for `async for`."""
        return _rows(Pages(self._client, "zmws.jobs", "jobs", filters_given(filters)))

    async def services(self) -> list[dict[str, Any]]:
        """As `Client.services`."""
        return list(await self.ask("zmws.services"))

    async def service(self, name: str) -> dict[str, Any]:
        """As `Client.service`."""
        return dict(await self.ask("zmws.service", {"service": name}))

    async def workers(self) -> list[dict[str, Any]]:
        """As `Client.workers`."""
        return list(await self.ask("zmws.workers"))

    async def stats(self) -> dict[str, Any]:
        """As `Client.stats`."""
        return dict(await self.ask("zmws.stats"))

    async def cancel_jobs(self, **filter: Any) -> int:
        """As `Client.cancel_jobs`."""
        return await awaited(self._client.count_future("zmws.cancel", filter_of(filter)))

    async def retry_jobs(self, **filter: Any) -> int:
        """As `Client.retry_jobs`."""
        return await awaited(self._client.count_future("zmws.retry", filter_of(filter)))

    async def delete_jobs(self, **filter: Any) -> int:
        """As `Client.delete_jobs`."""
        return await awaited(self._client.count_future("zmws.delete", filter_of(filter)))

    async def purge(self, service: str) -> int:
        """As `Client.purge`."""
        return await awaited(self._client.count_future("zmws.purge", {"service": service}))

    async def pause(self, service: str) -> None:
        """As `Client.pause`."""
        await self.ask("zmws.pause", {"service": service})

    async def resume(self, service: str) -> None:
        """As `Client.resume`."""
        await self.ask("zmws.resume", {"service": service})

    async def limit(self, service: str, **limits: Any) -> dict[str, Any]:
        """As `Client.limit`."""
        return dict(await self.ask("zmws.limit", {"service": service, **limits}))

    async def peek(self, service: str, limit: int = 10) -> list[dict[str, Any]]:
        """As `Client.peek`."""
        return list((await self.ask("zmws.peek", {"service": service, "limit": limit}))["jobs"])

    async def forget(self, service: str) -> None:
        """As `Client.forget`."""
        await self.ask("zmws.forget", {"service": service})

    async def drain(self, worker: str | None = None, *, service: str | None = None) -> int:
        """As `Client.drain`."""
        asked = {"worker": worker, "service": service}
        return await awaited(self._client.count_future("zmws.drain", asked))

    async def ask(self, service: str, question: Mapping[str, Any] | None = None) -> Any:
        """As `Client.ask`."""
        return await awaited(self._client.answer_future(service, question))

    async def ask_status(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> tuple[int, Any]:
        """As `Client.ask_status`."""
        return await awaited(self._client.ask_future(service, question, takes_s))

    def endpoint(self) -> str:
        """The endpoint of the broker that it is connected to, or is about to be."""
        return self._client.endpoint()

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _rows(pages: Pages) -> AsyncIterator[dict[str, Any]]:
    """As `Pages.rows`, waiting in the event loop."""
    while not pages.ended:
        for row in await _finished(pages.page_steps()):
            yield row


async def _finished(steps: Steps[T]) -> T:
    """As `answers.finished`, waiting in the event loop."""
    asked: Future[Any] | None = None
    try:
        asked = next(steps)
        while True:
            try:
                answer = await awaited(asked)
            except Exception as fault:
                asked = steps.throw(fault)
            else:
                asked = steps.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()
        asked = None  # as in answers.finished
