"""The same with `await`."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.conftest import SERVICES
from tests.client.workers import WORKERS
from zmws import PREVIOUS, AsyncClient, JobFailed, Refused
from zmws.client import AsyncBatch, AsyncChain, AsyncJob, AsyncSchedule
from zmws.testing import AsyncFakeClient, broker_in_thread, worker_in_thread


async def use(client: AsyncClient) -> None:
    chain = await client.chain([("ECHO", 1), ("ECHO", [PREVIOUS])], id="c")
    assert isinstance(chain, AsyncChain) and isinstance(chain.first, AsyncJob) and not chain.existing
    assert await chain.result(20) == [1] and (await chain.status())["step"] == 2
    assert [row["id"] for row in await chain.jobs()] == ["c:1", "c:2"] and (await chain.last()).id == "c:2"
    assert await client.get_chain("c").result(20) == [1]
    await client.job("c:1").delete()
    assert await chain.result(20) == [1]
    failing = await client.chain([("SHAKY", {"fails": 1}, {"retries": 0}), ("ECHO", PREVIOUS)])
    with pytest.raises(JobFailed):
        await failing.result(20)
    assert await failing.retry() == 1 and await failing.result(20) == 2
    assert await failing.cancel() == 0
    assert len(await client.family("c:2")) == 1

    async with await client.batch(then="TOLD", id="b") as batch:
        assert isinstance(batch, AsyncBatch)
        job = await batch.add("ECHO", 1)
        assert await batch.add_many(("ECHO", n) for n in range(5)) == 5
        assert await (await batch.add_chain([("ECHO", 1)])).result(20) == 1
    assert (await batch.wait(20))["complete"] == 7 == (await batch.status())["total"]
    assert (
        len([row async for row in batch.jobs()]) == 7 == len([row async for row in client.jobs(batch=batch)])
    )
    assert [row["id"] async for row in client.batches()] == ["b"] and await job.result(20) == 1
    assert await batch.retry() == 0 and (await client.get_batch("b").close())["closed"]
    with pytest.raises(ZeroDivisionError):
        async with await client.batch() as half:
            raise ZeroDivisionError
    await half.add("NOBODY")
    assert await half.cancel() == 1
    with pytest.raises(Refused, match="job 1 of batch"):
        await client.batch(["NONE"])

    for _ in range(2):
        again = await client.batch(["ECHO", ("ECHO", 1)], id="again")
        assert (await again.wait(20))["total"] == 2
        assert {row["id"] async for row in again.jobs()} == {"again:1", "again:2"}

    one = await client.add_schedule("s", "ECHO", 5, every=3600, retries=1)
    assert isinstance(one, AsyncSchedule) and (await one.status())["options"] == {"retries": 1}
    await one.pause()
    assert (await client.schedules())[0]["paused"]
    await one.resume()
    assert await (await client.schedule("s").run()).result(20) == 5
    await one.remove()
    assert await client.schedules() == []


def test_with_a_broker() -> None:
    async def run(endpoint: str) -> None:
        async with AsyncClient(endpoint) as client:
            await use(client)

    with broker_in_thread(services=SERVICES) as broker:
        running = [worker_in_thread(worker, broker) for worker in WORKERS]
        try:
            for one in running:
                one.__enter__()
            asyncio.run(run(broker.client))
        finally:
            for one in running:
                one.__exit__(None, None, None)


def test_with_the_fake() -> None:
    async def run() -> None:
        async with AsyncFakeClient(workers=WORKERS, services=SERVICES) as client:
            await use(client)

    asyncio.run(run())
