"""Workflows with worker processes and a broker that dies: what follows a job's end is there once, or the job
has not ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import BrokerProcess, await_workers, broker_process, worker_file_process
from zmws import PREVIOUS, Client, JobFailed

SHOP = """
import zlib
from zmws import PREVIOUS, WorkerBase


class Fetch(WorkerBase):
    '''The bytes of a picture.'''
    service_name = "FETCH"

    def work(self, job_id, params):
        return bytes(range(256)) * params["rows"]


class Shrink(WorkerBase):
    '''Takes bytes, and gives bytes.'''
    service_name = "SHRINK"

    def work(self, job_id, params):
        return zlib.compress(params)


class Measure(WorkerBase):
    service_name = "MEASURE"

    def work(self, job_id, params):
        return {"bytes": len(zlib.decompress(params)), "shrunk": len(params)}


class Album(WorkerBase):
    '''Enqueues a job for each of its pictures, which are members of its batch, and a chain of its own.'''
    service_name = "ALBUM"

    def work(self, job_id, params):
        for n in range(params["pictures"]):
            self.job.enqueue("FETCH", {"rows": n + 1}, batch=self.job.batch, priority=3)
        self.job.enqueue_chain([("FETCH", {"rows": 1}), ("SHRINK", PREVIOUS)], batch=self.job.batch)
        if self.job.attempt <= params.get("fails", 0):
            raise RuntimeError("not yet")


class Report(WorkerBase):
    service_name = "REPORT"

    def work(self, job_id, params):
        told = self.job.concludes
        return {"of": params, "as": told["as"], "complete": told["complete"], "total": told["total"]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[BrokerProcess, Client]]:
    """Two processes that do all of it, and a client."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path))
        client = stack.enter_context(broker.connect())
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            stack.enter_context(worker_file_process(tmp_path / name, [broker.worker], SHOP))
        await_workers(client, 2)
        yield broker, client


def test_bytes_go_down_a_chain_of_worker_processes(shop: tuple[BrokerProcess, Client]) -> None:
    _, client = shop
    chain = client.chain([("FETCH", {"rows": 40}), ("SHRINK", PREVIOUS), ("MEASURE", PREVIOUS)])
    told = chain.result(30)
    assert told["bytes"] == 40 * 256 and told["shrunk"] < told["bytes"]
    wrong = client.chain([("FETCH", {"rows": 1}), ("MEASURE", {"image": PREVIOUS})])
    with pytest.raises(JobFailed) as fault:
        wrong.result(30)
    assert fault.value.code == "bad_previous"


def test_the_members_of_a_batch_enqueue_members_and_then_it_is_reported_once(
    shop: tuple[BrokerProcess, Client],
) -> None:
    _, client = shop
    albums = [("ALBUM", {"pictures": n, "fails": n % 2}, {"backoff": 0.01}) for n in range(10)]
    batch = client.batch(albums, then=("REPORT", "albums"), failed="REPORT")
    row = batch.wait(60)
    # 10 albums, 45 pictures, two steps of each album's chain: what a failed attempt asked for is not there.
    assert (row["state"], row["total"], row["complete"]) == ("complete", 75, 75)
    told = client.job(row["then_id"]).result(30)
    assert told == {"of": "albums", "as": "then", "complete": 75, "total": 75}
    assert len(list(client.jobs(service="REPORT"))) == 1
    (first, *_) = batch.jobs(service="ALBUM")
    family = client.family(first["id"])
    assert family[0]["id"] == first["id"] and len(family) == 1 + 9 + 2


def test_a_broker_that_is_killed_on_the_way_loses_no_step_and_makes_none_twice(
    shop: tuple[BrokerProcess, Client],
) -> None:
    broker, client = shop
    batch = client.batch(then=("REPORT", 1), id="b")
    chains = [
        batch.add_chain([("FETCH", {"rows": n + 1}), ("SHRINK", PREVIOUS), ("MEASURE", PREVIOUS)], id=f"c{n}")
        for n in range(30)
    ]
    broker.restart()
    batch.close()
    assert [chain.result(60)["bytes"] for chain in chains] == [(n + 1) * 256 for n in range(30)]
    row = batch.wait(60)
    assert (row["total"], row["complete"]) == (90, 90)
    assert client.job(row["then_id"]).result(30)["total"] == 90
    assert len(list(batch.jobs())) == 90 and len(list(client.jobs(service="REPORT"))) == 1
