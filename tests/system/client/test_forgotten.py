"""A client that is forgotten ends, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import await_workers, peer, wait_until
from tests.system.client.echo import Echo
from tests.system.installation import environment
from zmws import AsyncClient, Client, JobFailed, JobTimeout, Refused
from zmws.testing import RunningBroker
from zmws.testing.fixtures import WorkerFactory


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def nothing_left(zmws_broker: RunningBroker, zmws_worker: WorkerFactory) -> Iterator[None]:
    """Whatever the test forgets is gone without the garbage collector."""
    zmws_worker(Echo)
    with zmws_broker.connect() as other:
        await_workers(other, 1)
    gc.collect()
    gc.disable()
    before = settled()
    try:
        yield
        wait_until(lambda: tasks() <= before[0], 10, f"{before[0]} threads")
        wait_until(lambda: descriptors() <= before[1], 10, f"{before[1]} descriptors")
    finally:
        gc.enable()


def settled() -> tuple[int, int]:
    """Threads and descriptors, when they stay the same for a while."""
    last, same = (tasks(), descriptors()), 0

    def still() -> bool:
        nonlocal last, same
        now = (tasks(), descriptors())
        same = same + 1 if now == last else 0
        last = now
        return same > 20

    wait_until(still)
    return last


USES: dict[str, Callable[[Client], Any]] = {
    "nothing": lambda client: None,
    "call": lambda client: client.call("ECHO", 1, on_partial=lambda _: None),
    "submit": lambda client: client.submit("ECHO", 1).result(10),
    "events": lambda client: list(client.submit("ECHO", 1).events(timeout=10)),
    "submit_many": lambda client: [job.result(10) for job in client.submit_many([{"service": "ECHO"}] * 3)],
    "failed_call": lambda client: client.call("ECHO", "fail"),
    "failed_job": lambda client: client.submit("ECHO", "fail", retries=0).result(10),
    "timeout": lambda client: client.call("SLOW", timeout=0.05),
    "unended": lambda client: client.submit("SLOW").wait(0.05),
    "no_job": lambda client: client.job("nobody").cancel(),
    "refused": lambda client: client.submit("NOBODY"),
    "lease": lambda client: client.submit("SLOW") and client.lease("SLOW", wait=5).release(),
    "dead_lease": lambda client: client.submit("SLOW") and twice(client.lease("SLOW", wait=5)),
    "cancelled": lambda client: client.call_future("SLOW").cancel(),
    "iterated": lambda client: next(iter(client.jobs()), None),
}


def twice(lease: Any) -> None:
    with lease:
        lease.release()
        lease.reported = False  # so that the block reports once more, and is refused


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_client_that_is_forgotten_ends(
    nothing_left: None, zmws_broker: RunningBroker, use: Callable[[Client], Any]
) -> None:
    client = zmws_broker.connect()
    client.stats()
    with contextlib.suppress(JobFailed, JobTimeout, Refused):
        use(client)
    del client


def test_an_async_client_that_is_forgotten_ends(nothing_left: None, zmws_broker: RunningBroker) -> None:
    async def ask() -> None:
        client = AsyncClient(zmws_broker.client)
        assert await client.call("ECHO", 1) == 1
        job = await client.submit("ECHO", 2)
        assert await job.result(10) == 2
        assert [event["kind"] async for event in job.events(timeout=10)]
        assert len(await client.submit_many([{"service": "ECHO"}])) == 1
        for wrong in (
            lambda: client.call("ECHO", "fail"),
            lambda: client.submit("NOBODY"),
            lambda: client.job("nobody").cancel(),
            lambda: client.job("nobody").wait(1),
        ):
            try:
                await wrong()
            except (JobFailed, Refused):
                continue
            raise AssertionError("it was not refused")

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_a_request_in_flight_keeps_a_forgotten_client_until_it_is_answered(
    nothing_left: None, zmws_broker: RunningBroker
) -> None:
    with peer(zmws_broker.worker) as worker:
        future = zmws_broker.connect().call_future("SLOW", 1)
        worker.send_multipart([b"MDPW02", b"\x01", b"SLOW"])
        token = worker.recv_multipart()[2]
        assert not future.done()
        worker.send_multipart([b"MDPW02", b"\x04", token, b"", b"result"])
        assert future.result(10) == b"result"


@pytest.mark.parametrize(
    "end", ["pass", "client.close()", "del client", "future.cancel()", "del future, client"]
)
def test_a_client_does_not_hold_up_the_end_of_its_program(zmws_broker: RunningBroker, end: str) -> None:
    program = (
        "import sys\nfrom zmws import Client\nclient = Client(sys.argv[1])\n"
        f"future = client.call_future('SLOW')\nclient.stats()\n{end}\nprint('end')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, zmws_broker.client],
        capture_output=True, text=True, check=False, timeout=20, env=environment(),
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "end\n", ""), ran


def test_a_child_process_may_close_its_parents_client(zmws_broker: RunningBroker) -> None:
    program = (
        "import os, sys\nfrom zmws import Client\nclient = Client(sys.argv[1])\nclient.stats()\n"
        "if os.fork() == 0:\n    client.close()\n    os._exit(0)\n"
        "assert os.wait()[1] == 0\nclient.stats()\nprint('end')"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, zmws_broker.client],
        capture_output=True, text=True, check=False, timeout=20, env=environment(),
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "end\n"), ran
