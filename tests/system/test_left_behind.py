"""What a job leaves behind, and code of its author's that fails around it, ends no worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers import await_workers, broker_process, wait_until, worker_process
from zmws import JobFailed

ALARM = """
service_name = "ODD"
def work(self, job_id, params):
    if params == "alarm":
        def late(*_):
            raise LookupError("an alarm of a job that is over")
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return "set"
    return os.getpid()
"""
THREAD = """
service_name = "ODD"
def work(self, job_id, params):
    if params == "alarm":
        main = ctypes.c_ulong(threading.main_thread().ident)
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        threading.Timer(0.05, raise_in, (main, ctypes.py_object(LookupError))).start()
        return "set"
    return os.getpid()
"""
CLOSED_LOG = """
service_name = "ODD"
def work(self, job_id, params):
    if params == "alarm":
        sys.stderr.close()
        raise ValueError("its own fault")
    return os.getpid()
"""
BAD_FILTER = """
service_name = "ODD"
def work(self, job_id, params):
    if params == "alarm":
        import logging
        def bad(record):
            raise RuntimeError("a filter that fails")
        for handler in logging.getLogger().handlers:
            handler.addFilter(bad)
        raise ValueError("its own fault")
    return os.getpid()
"""
IDLE = """
service_name = "ODD"
calls = 0
def idle(self):
    type(self).calls += 1
    sys.exit(3)
def work(self, job_id, params):
    return os.getpid()
"""


@pytest.mark.parametrize("body", [ALARM, THREAD], ids=["alarm", "thread"])
def test_what_a_job_left_behind_ends_no_worker(tmp_path: Path, body: str) -> None:
    with (
        broker_process(tmp_path) as broker,
        worker_process(tmp_path, broker.worker, body) as worker,
        broker.connect() as client,
    ):
        await_workers(client, 1)
        pid = client.call("ODD", timeout=10)
        assert client.call("ODD", "alarm", timeout=10) == "set"
        # It raises in the wait for the next job, or in that job, which is then its failure. No OSError: one
        # that raises just while a result is handed over is taken for an error of the worker's own pipe.
        told = lambda: "after a job: the worker goes on" in worker.text()  # noqa: E731

        def goes_on() -> bool:
            try:
                return client.call("ODD", timeout=10) == pid and told()
            except JobFailed as fault:
                return fault.type == "LookupError"

        wait_until(goes_on, 10, "what was left behind has raised")
        assert client.call("ODD", timeout=10) == pid


@pytest.mark.parametrize("body", [CLOSED_LOG, BAD_FILTER], ids=["closed", "filter"])
def test_a_log_that_fails_hides_no_fault_and_ends_no_worker(tmp_path: Path, body: str) -> None:
    with (
        broker_process(tmp_path) as broker,
        worker_process(tmp_path, broker.worker, body),
        broker.connect() as client,
    ):
        await_workers(client, 1)
        pid = client.call("ODD", timeout=10)
        for _ in range(2):
            with pytest.raises(JobFailed) as failed:
                client.call("ODD", "alarm", timeout=10)
            assert failed.value.type == "ValueError"
        assert client.call("ODD", timeout=10) == pid


def test_an_idle_that_exits_ends_no_worker(tmp_path: Path) -> None:
    with (
        broker_process(tmp_path, heartbeat_interval_s=0.2) as broker,
        worker_process(tmp_path, broker.worker, IDLE) as worker,
        broker.connect() as client,
    ):
        await_workers(client, 1)
        pid = client.call("ODD", timeout=10)
        wait_until(lambda: "idle() failed; the worker goes on" in worker.text(), 10, "it was idle")
        assert client.call("ODD", timeout=10) == pid
