"""The same with `await`."""

from __future__ import annotations

import asyncio

import pytest

from tests.system.admin.echo import Echo, Held, kinds
from zmws import AsyncClient, Refused, ServiceUnknown
from zmws.client import AsyncJob
from zmws.testing import RunningBroker
from zmws.testing.fixtures import WorkerFactory


def test_the_asynchronous_client_does_the_same(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)

    async def use() -> None:
        async with AsyncClient(zmws_broker.client) as client:
            made = await client.submit_many([{"service": "ECHO", "params": 1}, {"service": "NOPE"}])
            job, refused = made
            assert isinstance(job, AsyncJob) and isinstance(refused, ServiceUnknown)
            assert await job.result(10) == 1
            told = [event async for event in job.events(timeout=10)]
            assert kinds(told)[-1] == "complete" and (await job.status())["state"] == "complete"
            await job.delete()
            with pytest.raises(Refused):
                await job.status()

            broken = await client.submit("ECHO", {"fail": 99}, retries=0)
            assert (await broken.wait(10))["state"] == "failed"
            await broken.retry()
            assert (await broken.wait(10))["attempt"] == 2
            assert await client.retry_jobs(state="failed") == 1
            await broken.wait(10)
            assert await client.delete_jobs(service="ECHO") == 1

            with pytest.raises(Refused):
                await broken.stack(1)
            assert (await client.service("ECHO"))["workers"] == 1 and await client.drain(service="OTHER") == 0

            await client.pause("ECHO")
            await client.submit("ECHO")
            assert (await client.services())[0]["service"] == "ECHO" and len(await client.workers()) == 1
            assert await client.purge("ECHO") == 1
            await client.resume("ECHO")
            assert await client.cancel_jobs(all=True) == 0

            assert await client.lease("OTHER") is None
            leasing = asyncio.create_task(client.lease("OTHER", wait=10, ttr=9))
            other = await client.submit("OTHER", "p")
            lease = await leasing
            assert lease is not None and (lease.id, lease.params, lease.ttr) == (other.id, "p", 9.0)
            with pytest.raises(KeyError):
                async with lease:
                    await lease.progress(0.5, "half")
                    await lease.partial(1)
                    await lease.log("line")
                    await lease.extend(20)
                    raise KeyError("x")
            async with await client.lease("OTHER", wait=10) or lease as again:
                assert again.attempt == 2 and not again.reported
            third = await client.lease("OTHER", wait=10)
            assert third is not None and third.attempt == 3
            await third.complete({"ok": 1})
            assert await other.result(10) == {"ok": 1}
            with pytest.raises(Refused):
                await third.release()

    asyncio.run(use())


def test_a_hundred_waits_of_asyncio_go_on_at_once(zmws_broker: RunningBroker, held: Held) -> None:
    async def use() -> None:
        async with AsyncClient(zmws_broker.client) as client:
            job = await client.submit("SLOW")
            waits = [asyncio.create_task(job.wait(20)) for _ in range(100)]
            assert await client.stats()
            held.go.set()
            assert {record["state"] for record in await asyncio.gather(*waits)} == {"complete"}

    asyncio.run(use())
