"""Several services in one process, and what a worker's class declares, over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import RunningProcess, await_workers, broker_process, wait_until, worker_file_process
from zmws.client import Client
from zmws.errors import JobFailed

THREE = """
import logging, os
from dataclasses import dataclass, field
from zmws import Fail, Retry, WorkerBase
from zmws.work import worker

log = logging.getLogger("shop")

@dataclass
class Item:
    name: str
    count: int = 1

@dataclass
class Order:
    items: list[Item]

class Total(WorkerBase):
    service_name = "TOTAL"

    def validate(self, params: Order):
        if len(params.items) > 3:
            raise Fail("at most 3 items")

    def work(self, job_id, params: Order):
        log.warning("counting %d", len(params.items))
        return sum(item.count for item in params.items)

class Asks(WorkerBase):
    service_name = "ASKS"
    retry_on = {ConnectionError: 0.0}
    fail_on = (ValueError,)
    retries = 5

    def work(self, job_id, params):
        if params == "client":
            return self.client.call("TOTAL-2", "abc", timeout=10)
        if params == "value":
            raise ValueError("no")
        if params == "connection" and self.job.attempt < 3:
            raise ConnectionError("again")
        if params == "later" and self.job.attempt < 3:
            raise Retry(delay=0, count=False)
        return [self.job.attempt, os.getpid()]

@worker("LENGTH")
def length(text: str, times: int = 1) -> int:
    return len(text) * times
"""


@contextmanager
def shop(folder: Path, text: str = THREE, **given: Any) -> Iterator[tuple[Client, RunningProcess]]:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(folder, **given))
        process = stack.enter_context(worker_file_process(folder, [broker.worker], text, "shop"))
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        yield client, process


def test_one_session_serves_all_services_of_a_file(tmp_path: Path) -> None:
    with shop(tmp_path) as (client, process):
        (row,) = client.workers()
        assert row["services"] == ["TOTAL", "ASKS", "LENGTH"] and row["slots"] == 1
        assert row["pid"] == process.pid
        items = [{"name": "a", "count": 2}, {"name": "b"}]
        assert client.call("TOTAL", {"items": items}, timeout=10) == 3
        assert client.call("LENGTH", {"text": "abc", "times": 2}, timeout=10) == 6
        assert client.call("ASKS", "x", timeout=10) == [1, process.pid]


@pytest.mark.parametrize(
    ("service", "params", "told"),
    [
        ("TOTAL", {"items": [{"name": "a"}, {"name": 3}]}, "'items[1].name': expected 'str', got 'int'"),
        ("TOTAL", {}, "object missing required field 'items'"),
        ("TOTAL", {"items": [{"name": "a"}] * 4}, "at most 3 items"),
        ("LENGTH", {"text": 3}, "'text': expected a text, got a whole number"),
        ("LENGTH", {"txt": "a"}, "there is no parameter 'txt'; did you mean 'text'?"),
    ],
)
def test_wrong_parameters_name_the_field_and_what_was_expected_wherever_one_looks(
    tmp_path: Path, service: str, params: Any, told: str
) -> None:
    with shop(tmp_path) as (client, _):
        with pytest.raises(JobFailed) as failed:
            client.call(service, params, timeout=10)
        assert (failed.value.code, str(failed.value)) == ("bad_params", told)
        job = client.submit(service, params, retries=5)
        with pytest.raises(JobFailed):
            job.result(10)
        record = job.status()
        assert record["error"]["error"] == told and record["attempt"] == 1, "it is not tried again"
        assert told in (tmp_path / "shop.log").read_text()


def test_what_a_class_declares_of_exceptions_holds(tmp_path: Path) -> None:
    with shop(tmp_path) as (client, process):
        assert client.submit("ASKS", "connection").result(10) == [3, process.pid]
        again = client.submit("ASKS", "later", retries=0)
        assert again.result(10) == [3, process.pid] and again.status()["failures"] == 0
        failed = client.submit("ASKS", "value")
        with pytest.raises(JobFailed, match="no"):
            failed.result(10)
        assert failed.status()["attempt"] == 1


def test_what_a_job_logs_is_in_its_log_and_each_line_of_the_process_names_the_job(tmp_path: Path) -> None:
    with shop(tmp_path) as (client, _):
        job = client.submit("TOTAL", {"items": []})
        assert job.result(10) == 0
        assert job.status()["log"] == ["WARNING shop: counting 0"]
        log = (tmp_path / "shop.log").read_text()
        assert f"WARNING shop: [TOTAL {job.id}/1] counting 0" in log
        ended = f"INFO zmws.worker: [TOTAL {job.id}/1] complete in 0.0"
        wait_until(lambda: ended in (tmp_path / "shop.log").read_text())


def test_a_traceback_marks_the_authors_own_frames(tmp_path: Path) -> None:
    text = THREE + (
        "\nclass Breaks(WorkerBase):\n    service_name = 'BREAKS'\n"
        "    def work(self, job_id, params):\n        import json\n        json.loads('{')\n"
    )
    with shop(tmp_path, text) as (client, _):
        with pytest.raises(JobFailed) as failed:
            client.call("BREAKS", timeout=10)
        trace = str(failed.value.traceback).splitlines()
        own = [line for line in trace if line.startswith("> File")]
        assert len(own) == 1 and "shop.py" in own[0] and any('  File "' in line for line in trace)


def test_a_process_that_serves_several_services_is_flat_in_memory(tmp_path: Path) -> None:
    jobs, first = 30_000, 10_000
    with shop(tmp_path, heartbeat_interval_s=60.0) as (client, process):
        services = [("TOTAL", {"items": []}), ("ASKS", "x"), ("LENGTH", {"text": "a"})]

        def run(count: int) -> int:
            calls = []
            for n in range(count):
                service, params = services[n % 3]
                calls.append(client.call_future(service, params, timeout=120))
                if len(calls) == 200:
                    for call in calls:
                        call.result(120)
                    calls.clear()
            for call in calls:
                call.result(120)
            return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])

        before = run(first)
        after = run(jobs - first)
        assert after <= 1.05 * before, json.dumps([before, after])
