"""zmws.work.run: a worker at work. Nothing that its author's code raises ends it, and heartbeats go on."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.peers import wait_until
from zmws import Client, JobFailed, WorkerBase
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory


class Does(WorkerBase):
    """Does what it is told; says how often it was idle."""

    service_name = "DOES"
    idles = 0

    def work(self, job_id: str, params: Any) -> Any:
        if params == "exit":
            raise SystemExit(3)
        if params == "hold":
            until = time.monotonic() + 2.0  # of processor time, more than the intervals it may be silent for
            while time.monotonic() < until:
                sum(range(1_000))
        return [params, self.idles]

    def idle(self) -> None:
        self.idles += 1
        raise SystemExit("from idle()")


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    return zmws_broker_factory(heartbeat_interval_s=0.2)


def test_a_job_that_wants_to_exit_has_failed_and_the_worker_goes_on(
    zmws_client: Client, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Does)
    with pytest.raises(JobFailed) as failed:
        zmws_client.call("DOES", "exit", timeout=10)
    assert failed.value.type == "SystemExit"
    assert zmws_client.call("DOES", 1, timeout=10)[0] == 1


def test_heartbeats_go_on_while_work_computes(zmws_client: Client, zmws_worker: WorkerFactory) -> None:
    running = zmws_worker(Does)
    job = zmws_client.submit("DOES", "hold")
    assert job.result(20)[0] == "hold"
    assert job.status()["attempt"] == 1
    assert [(row["id"], row["state"]) for row in zmws_client.workers()] == [(running.id, "idle")]


def test_idle_is_called_once_after_three_intervals_and_again_after_a_job(
    zmws_client: Client, zmws_worker: WorkerFactory
) -> None:
    worker = Does()
    zmws_worker(worker)
    assert zmws_client.call("DOES", 0, timeout=10) == [0, 0]
    wait_until(lambda: worker.idles == 1)
    threading.Event().wait(0.8)
    assert zmws_client.call("DOES", 1, timeout=10) == [1, 1]
    wait_until(lambda: worker.idles == 2)


def test_a_fault_of_the_thread_ends_the_worker_with_it(
    zmws_broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zmws.dialog.worker import WorkerDialog

    def breaks(*_: object) -> None:
        raise TypeError("ours")

    monkeypatch.setattr(WorkerDialog, "receive", breaks)
    with pytest.raises(TypeError, match="ours"):
        Does().run([zmws_broker.worker], handle_signals=False)
