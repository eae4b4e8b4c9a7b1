"""How a worker process ends: by signals, by having done enough, by a job that hangs (WORKERS, "Ends")."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import (
    BrokerProcess,
    RunningProcess,
    await_workers,
    broker_process,
    wait_until,
    worker_process,
)
from zmws.client import Client, Job

RECYCLED = 75

# Does a job until its gate is there; `deaf`: whatever it is told meanwhile.
WAITS = """
service_name = "WAITS"

def work(self, job_id, params):
    open(params["begun"], "a").write("x")
    while not os.path.exists(params["gate"]):
        if self.job.cancelled and not params.get("deaf"):
            raise RuntimeError("cancelled")
        time.sleep(0.01)
    return os.getpid()
"""


class Stand:
    """A broker with one worker, and the files by which its jobs are steered."""

    def __init__(self, folder: Path, client: Client, worker: RunningProcess) -> None:
        self.folder = folder
        self.client = client
        self.worker = worker
        self.begun, self.gate = folder / "begun", folder / "gate"

    def submit(self, **more: Any) -> Job:
        """A job that is at work when this returns."""
        before = self._begun()
        told = {"begun": str(self.begun), "gate": str(self.gate), **more}
        job = self.client.submit("WAITS", told)
        wait_until(lambda: self._begun() > before)
        return job

    def _begun(self) -> int:
        return self.begun.stat().st_size if self.begun.exists() else 0

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()


@contextmanager
def stand(folder: Path, body: str = WAITS, flags: Sequence[str] = (), **given: Any) -> Iterator[Stand]:
    with ExitStack() as stack:
        broker: BrokerProcess = stack.enter_context(broker_process(folder, **given))
        worker = stack.enter_context(worker_process(folder, broker.worker, body, flags=flags))
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        yield Stand(folder, client, worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_worker_finishes_its_job_and_takes_no_other(tmp_path: Path, number: int) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        at.worker.signal(number)
        wait_until(lambda: at.client.workers()[0]["slots"] == 0, what="it says that it takes no more")
        waits = at.client.submit("WAITS", {})
        at.gate.touch()
        assert job.result(10) == at.worker.pid and at.worker.popen.wait(10) == 0
        assert waits.status()["attempt"] == 0


def test_a_job_that_does_not_end_in_time_is_given_back_and_its_process_ends_at_once(tmp_path: Path) -> None:
    with stand(tmp_path, flags=["--stop-timeout", "0.5"]) as at:
        job = at.submit()
        at.worker.signal(signal.SIGTERM)
        assert at.worker.popen.wait(10) == 0
        told = job.status()
        assert (told["state"], told["attempt"], told["failures"]) == ("waiting", 1, 0)
        assert "gives back" in at.log() and at.begun.read_text() == "x"


def test_a_second_ctrl_c_gives_back_at_once(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        at.worker.signal(signal.SIGINT)
        wait_until(lambda: at.client.workers()[0]["slots"] == 0)
        at.worker.signal(signal.SIGINT)
        assert at.worker.popen.wait(10) == 130
        assert (job.status()["state"], job.status()["failures"]) == ("waiting", 0)


def test_a_cancel_still_works_while_a_worker_is_stopping(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        at.worker.signal(signal.SIGTERM)
        wait_until(lambda: at.client.workers()[0]["slots"] == 0)
        job.cancel()
        assert at.worker.popen.wait(10) == 0 and "RuntimeError: cancelled" in at.log()


def test_sighup_finishes_the_job_and_asks_for_a_new_start(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        at.worker.signal(signal.SIGHUP)
        at.gate.touch()
        assert at.worker.popen.wait(10) == RECYCLED and job.result(10) == at.worker.pid


def test_sigusr1_writes_all_stacks_and_changes_nothing(tmp_path: Path) -> None:
    with stand(tmp_path) as at:
        job = at.submit()
        at.worker.signal(signal.SIGUSR1)
        wait_until(lambda: 'worker.py", line' in at.log() and "in work" in at.log())
        at.gate.touch()
        assert job.result(10) == at.worker.pid


DOES_ENOUGH = WAITS + "max_jobs = 3\nmax_age = 3600\n"


def test_after_max_jobs_a_worker_leaves_and_asks_for_a_new_start(tmp_path: Path) -> None:
    with stand(tmp_path, DOES_ENOUGH) as at:
        at.gate.touch()
        jobs = [at.client.submit("WAITS", {"begun": str(at.begun), "gate": str(at.gate)}) for _ in range(4)]
        assert at.worker.popen.wait(10) == RECYCLED
        done = [job.status()["state"] for job in jobs]
        # At most a tenth fewer, of three: two.
        assert done in (["complete"] * 3 + ["waiting"], ["complete"] * 2 + ["waiting"] * 2)
        assert "max_jobs" in at.log() and sum(job.status()["failures"] for job in jobs) == 0


def test_after_max_age_an_idle_worker_leaves(tmp_path: Path) -> None:
    with stand(tmp_path, WAITS + "max_age = 1.5\n") as at:
        assert at.worker.popen.wait(10) == RECYCLED and "max_age" in at.log()


EATS = """
service_name = "WAITS"
max_memory = "200 MiB"

def work(self, job_id, params):
    self.eaten = bytearray(params)
    return len(self.eaten)
"""


def test_past_max_memory_a_worker_leaves_after_its_job(tmp_path: Path) -> None:
    with stand(tmp_path, EATS) as at:
        assert at.client.call("WAITS", 1_000, timeout=10) == 1_000
        assert at.client.call("WAITS", 300 * 2**20, timeout=10) == 300 * 2**20
        assert at.worker.popen.wait(10) == RECYCLED and "max_memory" in at.log()


GRACE = {"toml": "[broker]\ncancel_grace = 0.5\n"}


def test_a_worker_whose_job_hangs_logs_its_stacks_and_leaves_to_be_started_anew(tmp_path: Path) -> None:
    with stand(tmp_path, **GRACE) as at:
        job = at.submit(deaf=True)
        job.cancel()
        assert at.worker.popen.wait(10) == RECYCLED
        assert "hangs" in at.log() and "in work" in at.log() and job.status()["state"] == "cancelled"


def test_a_worker_that_is_to_stay_stays_hung_until_its_job_returns(tmp_path: Path) -> None:
    with stand(tmp_path, WAITS + 'on_hung = "stay"\n', **GRACE) as at:
        job = at.submit(deaf=True)
        job.cancel()
        wait_until(lambda: "hangs" in at.log())
        wait_until(lambda: at.client.workers()[0]["state"] == "hung")
        at.gate.touch()
        wait_until(lambda: at.client.workers()[0]["state"] == "idle")
        assert not at.worker.ended


def test_sys_exit_fails_the_job_and_not_the_worker(tmp_path: Path) -> None:
    body = 'service_name = "WAITS"\nretries = 0\ndef work(self, job_id, params):\n    sys.exit(params)\n'
    with stand(tmp_path, body) as at:
        failed = at.client.submit("WAITS", 3, retries=0)
        wait_until(lambda: failed.status()["state"] == "failed")
        assert failed.status()["error"]["type"] == "SystemExit" and not at.worker.ended


def test_a_setup_that_fails_ends_the_process_before_it_registers(tmp_path: Path) -> None:
    body = WAITS + "def setup(self):\n    raise OSError('no database')\n"
    with broker_process(tmp_path) as broker, broker.connect() as client:
        with worker_process(tmp_path, broker.worker, body) as worker:
            assert worker.popen.wait(10) == 1
        assert "no database" in (tmp_path / "worker.log").read_text() and client.workers() == []


def test_teardown_is_called_at_the_end_and_setup_once_before_the_first_job(tmp_path: Path) -> None:
    body = WAITS + (
        "def setup(self):\n    open('setup', 'a').write('x')\n"
        "def teardown(self):\n    open('teardown', 'a').write('x')\n"
    )
    body = body.replace("'setup'", f"{str(tmp_path / 'setup')!r}").replace(
        "'teardown'", f"{str(tmp_path / 'teardown')!r}"
    )
    with stand(tmp_path, body) as at:
        at.gate.touch()
        told = {"begun": str(at.begun), "gate": str(at.gate)}
        assert [at.client.call("WAITS", told, timeout=10) for _ in range(2)] == [at.worker.pid] * 2
        assert (tmp_path / "setup").read_text() == "x" and not (tmp_path / "teardown").exists()
        began = time.monotonic()
        at.worker.signal(signal.SIGTERM)
        assert at.worker.popen.wait(10) == 0 and time.monotonic() - began < 5
        assert (tmp_path / "teardown").read_text() == "x"


IN_C = """
service_name = "WAITS"

def work(self, job_id, params):
    import hashlib
    open(params["begun"], "a").write("x")
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000_000)  # in C, without the interpreter's lock
"""


def test_a_job_in_c_code_is_given_back_in_time_too(tmp_path: Path) -> None:
    with stand(tmp_path, IN_C, flags=["--stop-timeout", "0.5"]) as at:
        job = at.submit()
        at.worker.signal(signal.SIGTERM)
        assert at.worker.popen.wait(10) == 0
        assert (job.status()["state"], job.status()["failures"]) == ("waiting", 0)


def test_a_second_ctrl_c_is_heard_in_c_code(tmp_path: Path) -> None:
    with stand(tmp_path, IN_C) as at:
        at.submit()
        at.worker.signal(signal.SIGINT)
        wait_until(lambda: at.client.workers()[0]["slots"] == 0)
        at.worker.signal(signal.SIGINT)
        assert at.worker.popen.wait(10) == 130


HANGS = """
service_name = "WAITS"
stop_timeout = 0.2
idle_after = 0.1

def {where}(self):
    open({mark!r}, "w").close()
    time.sleep(600)

def work(self, job_id, params):
    return 1
"""


@pytest.mark.parametrize("where", ["setup", "idle", "teardown"])
def test_a_second_ctrl_c_ends_a_worker_that_hangs_anywhere(tmp_path: Path, where: str) -> None:
    mark = tmp_path / "mark"
    with broker_process(tmp_path) as broker, broker.connect() as client:
        body = HANGS.format(where=where, mark=str(mark))
        with worker_process(tmp_path, broker.worker, body) as worker:
            if where == "teardown":
                await_workers(client, 1)
                worker.signal(signal.SIGINT)
            wait_until(mark.exists)
            worker.signal(signal.SIGINT)
            if where == "idle":
                wait_until(lambda: client.workers() == [], what="the first is heard")
                worker.signal(signal.SIGINT)
            assert worker.popen.wait(10) in (0, 130)


def test_a_stop_ends_a_setup_that_waits(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with broker_process(tmp_path) as broker:
        body = HANGS.format(where="setup", mark=str(mark))
        with worker_process(tmp_path, broker.worker, body) as worker:
            wait_until(mark.exists)
            worker.signal(signal.SIGTERM)
            assert worker.popen.wait(10) == 0


def test_a_teardown_that_hangs_has_the_time_to_stop_and_no_more(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with broker_process(tmp_path) as broker, broker.connect() as client:
        body = HANGS.format(where="teardown", mark=str(mark))
        with worker_process(tmp_path, broker.worker, body) as worker:
            await_workers(client, 1)
            worker.signal(signal.SIGTERM)
            assert worker.popen.wait(10) == 0 and "teardown()" in (tmp_path / "worker.log").read_text()


LEAVES_A_THREAD = """
service_name = "WAITS"
max_jobs = 1

def work(self, job_id, params):
    threading.Thread(target=time.sleep, args=(600,), name="left").start()
"""


def test_a_thread_that_a_job_has_left_keeps_no_worker_from_ending(tmp_path: Path) -> None:
    with stand(tmp_path, LEAVES_A_THREAD) as at:
        assert at.client.call("WAITS", timeout=10) is None
        assert at.worker.popen.wait(15) == RECYCLED and "left" in at.log()


TAKES_SIGNALS = """
service_name = "WAITS"

def work(self, job_id, params):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


def test_a_job_that_takes_a_signal_for_itself_has_it_no_longer_than_it_runs(tmp_path: Path) -> None:
    with stand(tmp_path, TAKES_SIGNALS) as at:
        assert at.client.call("WAITS", timeout=10) is None
        wait_until(lambda: "another handler of SIGTERM was left" in at.log())
        at.worker.signal(signal.SIGTERM)
        assert at.worker.popen.wait(10) == 0


def test_a_worker_says_where_it_is_registered_and_what_it_has_lost(tmp_path: Path) -> None:
    with broker_process(tmp_path) as broker, worker_process(tmp_path, broker.worker, WAITS):
        log = tmp_path / "worker.log"
        wait_until(lambda: f"registered at {broker.worker}" in log.read_text())
        broker.kill()
        wait_until(lambda: f"no broker at {broker.worker}" in log.read_text())
