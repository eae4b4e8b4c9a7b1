"""What an operator does with workers: drains them, asks for a stack, sees their states."""

from __future__ import annotations

from pathlib import Path

from tests.peers import counters, wait_until
from tests.system.workers.test_ends import GRACE, WAITS, stand
from zmws.work.run import DRAINED


def test_a_drained_worker_finishes_its_job_and_leaves(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        (row,) = at.client.workers()
        assert at.client.drain(row["id"]) == 1
        wait_until(lambda: at.client.workers()[0]["state"] == "draining")
        waits = at.client.submit("WAITS", {})
        at.gate.touch()
        assert job.result(10) == at.worker.pid and at.worker.popen.wait(10) == DRAINED
        assert waits.status()["attempt"] == 0 and at.client.workers() == []


def test_all_workers_of_a_service_are_drained(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        assert at.client.drain(service="WAITS") == 1
        assert at.worker.popen.wait(10) == DRAINED


def test_the_stack_of_a_job_says_where_its_code_is_now(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        stack = job.stack(10)
        assert "in work" in stack["stack"] and "time.sleep(0.01)" in stack["stack"]
        assert stack["worker"] == at.client.workers()[0]["id"]
        at.gate.touch()
        job.result(10)
        assert any("in work" in line for line in job.status()["log"])


def test_a_hung_worker_is_shown_and_counted(tmp_path: Path) -> None:
    with stand(tmp_path, WAITS + 'on_hung = "stay"\n', **GRACE) as at:
        job = at.submit(deaf=True)
        job.cancel()
        wait_until(lambda: at.client.workers()[0]["state"] == "hung")
        (row,) = at.client.workers()
        assert [one["state"] for one in row["jobs"]] == ["hung"] and counters(at.client)["workers_hung"] == 1
        at.gate.touch()
