"""Jobs ahead over the wire: short ones do not wait behind a long one while another worker is free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers import await_workers, broker_process, wait_until, worker_file_process
from zmws.client import Client

BOTH = """
import ctypes, time
from zmws import worker

@worker("SHORT")
def short(asked_at: float = 0.0) -> float:
    late = time.time() - asked_at
    time.sleep(0.005)
    return late

@worker("LONG")
def long(seconds: float, locked: bool = False) -> str:
    if locked:  # the interpreter's lock is kept all the while: no other thread of the process runs
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    else:
        time.sleep(seconds)
    return "done"
"""
LATE_S_MAX = 0.25


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Of a broker with two workers that take both services, one job at a time, and jobs ahead."""
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path))
        for name in ("one", "two"):
            flags = ["--log-level", "error"]
            stack.enter_context(worker_file_process(tmp_path, [broker.worker], BOTH, name, flags))
        made = stack.enter_context(broker.connect())
        await_workers(made, 2, "SHORT")
        await_workers(made, 2, "LONG")
        yield made


def warm(client: Client) -> None:
    """Until it is known how long short ones run, and some were sent ahead."""
    jobs = client.submit_many([{"service": "SHORT"} for _ in range(200)])
    for job in jobs:
        job.wait(20)
    assert client.stats()["counters"].get("sent_ahead", 0) > 0


@pytest.mark.timed
def test_a_short_job_does_not_wait_behind_a_long_one_while_another_worker_is_free(client: Client) -> None:
    warm(client)
    long = client.submit("LONG", {"seconds": 3.0})
    wait_until(lambda: long.status()["state"] == "running")
    for _ in range(50):
        assert client.call("SHORT", {"asked_at": time.time()}, timeout=20) < LATE_S_MAX
    assert long.status()["state"] == "running"


@pytest.mark.timed
@pytest.mark.parametrize("locked", [False, True])
def test_what_lies_ahead_of_a_worker_that_does_not_come_to_it_goes_to_another(
    client: Client, locked: bool
) -> None:
    warm(client)
    shorts = client.submit_many([{"service": "SHORT"} for _ in range(300)])
    long = client.submit("LONG", {"seconds": 20.0, "locked": locked})
    more = client.submit_many([{"service": "SHORT"} for _ in range(100)])
    for job in (*shorts, *more):
        job.wait(10)  # 400 of 5 ms take 2 s by one worker, and what lies a second at most
    assert long.status()["state"] == "running"
