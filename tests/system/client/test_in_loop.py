"""A client that lives in its event loop: it does what AsyncClient does, and starts no thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from zmws import WorkerBase
from zmws.client.in_loop import LoopClient
from zmws.errors import BrokerUnreachable, JobFailed, JobTimeout, ZmwsError
from zmws.testing import RunningBroker, broker_in_thread, free_ports, worker_in_thread


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        if params == "fail":
            raise ValueError("as asked")
        if params == "parts":
            for n in range(3):
                self.job.partial(n)
        return params


def within(
    broker: RunningBroker | str, steps: Callable[[LoopClient], Awaitable[Any]], **settings: Any
) -> Any:
    """What the steps return, in a loop of their own."""

    async def run() -> Any:
        endpoint = broker if isinstance(broker, str) else broker.client
        async with LoopClient(endpoint, **settings) as client:
            return await asyncio.wait_for(steps(client), 30)

    return asyncio.run(run())


@pytest.fixture
def echo(zmws_broker: RunningBroker) -> Any:
    with worker_in_thread(Echo, zmws_broker):
        yield zmws_broker


def test_it_calls_submits_and_looks_and_starts_no_thread(echo: RunningBroker) -> None:
    async def steps(client: LoopClient) -> None:
        before = threading.active_count()
        parts: list[Any] = []
        assert await client.call("ECHO", "parts", on_partial=parts.append) == "parts"
        await asyncio.sleep(0)
        assert parts == [0, 1, 2] and threading.active_count() == before
        job = await client.submit("ECHO", {"a": 1})
        assert await job.result(5) == {"a": 1}
        assert [event["kind"] async for event in job.events()] == ["state"] * 3
        with pytest.raises(JobFailed, match="as asked"):
            await client.call("ECHO", "fail")
        assert "ECHO" in {row["service"] for row in await client.services()}

    within(echo, steps)


def test_many_are_in_flight_at_once(echo: RunningBroker) -> None:
    async def steps(client: LoopClient) -> list[int]:
        return list(await asyncio.gather(*(client.call("ECHO", n) for n in range(2_000))))

    assert within(echo, steps) == list(range(2_000))


def test_large_values_come_whole(echo: RunningBroker) -> None:
    async def steps(client: LoopClient) -> None:
        values = ["x" * 3_000_000, "y" * 3_000_000]
        assert await asyncio.gather(*(client.call("ECHO", value) for value in values)) == values

    within(echo, steps)


def test_a_time_that_is_over_and_one_that_is_cancelled_leave_nothing_behind(
    zmws_broker: RunningBroker,
) -> None:
    zmws_broker.server.node.broker.held.register("NOBODY")

    async def steps(client: LoopClient) -> None:
        began = time.monotonic()
        with pytest.raises(JobTimeout):
            await client.call("NOBODY", timeout=0.1)
        assert 0.1 <= time.monotonic() - began < 3
        waiting = asyncio.ensure_future(client.call("NOBODY"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert (await client.stats())["workers"] == 0
        assert not client._client._connection.dialog.pending

    within(zmws_broker, steps)


def test_a_broker_that_is_not_there_is_told_soon_and_one_that_comes_later_is_found(tmp_path: Path) -> None:
    client_port, worker_port = free_ports(2)
    endpoint = f"tcp://127.0.0.1:{client_port}"

    async def steps(client: LoopClient) -> None:
        began = time.monotonic()
        with pytest.raises(BrokerUnreachable):
            await client.services()
        assert time.monotonic() - began < 2
        for _ in range(2):  # and after a restart of it
            with broker_in_thread(client=endpoint, worker=f"tcp://127.0.0.1:{worker_port}"):
                assert await client.services() == []
            with pytest.raises(BrokerUnreachable):
                await client.services()

    within(endpoint, steps, connect_timeout=0.5, reconnect_timeout=0.5)


def test_what_is_in_flight_when_it_is_closed_is_answered(zmws_broker: RunningBroker) -> None:
    zmws_broker.server.node.broker.held.register("NOBODY")

    async def steps() -> None:
        client = LoopClient(zmws_broker.client)
        waiting = asyncio.ensure_future(client.call("NOBODY"))
        await asyncio.sleep(0.05)
        await client.close()
        await client.close()
        with pytest.raises(ZmwsError, match="closed before the answer"):
            await waiting
        with pytest.raises(ZmwsError, match="closed"):
            await client.services()

    asyncio.run(steps())
