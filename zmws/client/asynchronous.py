"""`AsyncClient`: the same calls with `await`. One connection and one I/O thread, as `Client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from zmws.client.answers import DEFAULT_BROKER
from zmws.client.synchronous import Client, Job


class AsyncJob:
    """A job that a broker has accepted."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.id, self.service = job.id, job.service
        self.durability, self.existing = job.durability, job.existing

    async def status(self) -> dict[str, Any]:
        """As `Job.status`."""
        return await asyncio.to_thread(self._job.status)

    async def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """As `Job.wait`."""
        return await asyncio.to_thread(self._job.wait, timeout)

    async def result(self, timeout: float | None = None) -> Any:
        """As `Job.result`."""
        return await asyncio.to_thread(self._job.result, timeout)

    async def cancel(self) -> None:
        """As `Job.cancel`."""
        await asyncio.to_thread(self._job.cancel)


class AsyncClient:
    """As `Client`, for asyncio."""

    def __init__(self, broker: str | Sequence[str] = DEFAULT_BROKER, **settings: Any) -> None:
        self._client = Client(broker, **settings)

    async def call(
        self,
        service: str,
        params: Any = None,
        *,
        timeout: float | None = None,
        on_partial: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Any:
        """As `Client.call`; `on_partial` is called in the event loop."""
        loop = asyncio.get_running_loop()

        def relay(value: Any) -> None:
            if on_partial is not None:
                loop.call_soon_threadsafe(on_partial, value)

        future = self._client.call_future(service, params, timeout=timeout, on_partial=relay, **options)
        return await asyncio.wrap_future(future)

    async def submit(self, service: str, params: Any = None, **options: Any) -> AsyncJob:
        """As `Client.submit`."""
        job = await asyncio.wrap_future(self._client.submit_future(service, params, **options))
        return AsyncJob(job)

    async def ask(self, service: str, question: Mapping[str, Any] | None = None) -> Any:
        """As `Client.ask`."""
        return await asyncio.to_thread(self._client.ask, service, question)

    async def jobs(self, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """As `Client.jobs`."""
        while True:
            page = await self.ask("zmws.jobs", filters)
            for job in page["jobs"]:
                yield job
            if page["next"] is None:
                return
            filters["cursor"] = page["next"]

    def job(self, job_id: str, service: str = "") -> AsyncJob:
        """As `Client.job`."""
        return AsyncJob(self._client.job(job_id, service))

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
