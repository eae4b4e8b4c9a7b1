"""zmws.testing: each fixture as a user would use it, and one job alone."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from tests.peers import REPOSITORY
from tests.system.installation import environment, run
from zmws import Client, JobFailed, Refused, WorkerBase, worker
from zmws.core.options import ServiceOptions
from zmws.store.sqlite.memory import MemoryStore
from zmws.testing import (
    BrokerProcess,
    RunningBroker,
    broker_in_thread,
    free_ports,
    run_job,
    worker_in_thread,
)
from zmws.testing.fixtures import BrokerFactory, WorkerFactory
from zmws.work import Retry
from zmws.work.declared import BadWorker


class Shaky(WorkerBase):
    """Does what its parameters say."""

    service_name = "SHAKY"

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def work(self, job_id: str, params: Any) -> Any:
        self.jobs.append(job_id)
        if params == "raise":
            raise RuntimeError("it broke")
        if params == "say":
            self.job.progress(0.5, "half")
            self.job.progress(1)
            self.job.partial({"part": 1})
            self.job.partial(b"\xff")
            self.job.log("a line")
            self.job.extend(9)
        if params == "job":
            return [self.job.id, self.job.attempt, self.job.cancelled]
        return params


class Copied(WorkerBase):
    """Does what multiprocessing does with the worker, when a child is to run a method of it."""

    service_name = "COPIED"

    def work(self, job_id: str, params: Any) -> Any:
        copy = pickle.loads(pickle.dumps(self))
        return [copy.job.id == job_id, copy.job.attempt, type(copy) is Copied]


class Slow(WorkerBase):
    """Asynchronous, and says in which thread it runs."""

    service_name = "SLOW"

    async def work(self, job_id: str, params: Any) -> Any:
        if params.get("fail"):
            raise ValueError("no")
        return threading.current_thread().name


# ---------------------------------------------------------------- one job


def test_a_job_runs_without_a_broker() -> None:
    outcome = run_job(Shaky, {"a": (1, None, "ä")})
    assert outcome.ok and outcome.state == "complete"
    assert outcome.result == {"a": [1, None, "ä"]}, "params went through JSON, as they do over the wire"
    assert outcome.code is None and outcome.traceback is None


@pytest.mark.parametrize(
    ("params", "result"), [(None, {}), (b"\x00\xff", b"\x00\xff"), (True, True), ("x", "x")]
)
def test_params_and_results_are_what_a_worker_and_a_caller_get(params: Any, result: Any) -> None:
    assert run_job(Shaky, params).result == result


def test_what_a_job_says_is_in_the_outcome() -> None:
    outcome = run_job(Shaky, "say")
    assert outcome.progress == [(0.5, "half"), (1.0, None)]
    assert outcome.partials == [{"part": 1}, b"\xff"]
    assert outcome.log == ["a line"] and outcome.extended == [9.0]


def test_an_exception_is_a_failure_with_type_message_and_traceback() -> None:
    outcome = run_job(Shaky, "raise")
    assert not outcome.ok and outcome.result is None and outcome.retried
    assert (outcome.state, outcome.code) == ("failed", "job_failed")
    assert (outcome.type, outcome.message) == ("RuntimeError", "it broke")
    assert outcome.traceback is not None and "in work" in outcome.traceback


def test_false_is_a_failure_without_a_type() -> None:
    outcome = run_job(Shaky, False)
    assert (outcome.state, outcome.type, outcome.message) == ("failed", None, "work() returned False")


def test_a_result_that_is_not_json_is_a_failure_for_good_that_says_where() -> None:
    class Odd(WorkerBase):
        service_name = "ODD"

        def work(self, job_id: str, params: Any) -> Any:
            return {"made": [object()]}

    outcome = run_job(Odd)
    assert (outcome.code, outcome.retried) == ("bad_result", False)
    assert outcome.message == "the result['made'][0] is a object, which JSON cannot hold"


@pytest.mark.parametrize("frames", [[b"PARAM-JSON: {"], [b"PARAM: x"], [b"PARAM-JSON: 1", b"JSON-PARAM: 2"]])
def test_bad_params_fail_for_good(frames: list[bytes]) -> None:
    outcome = run_job(Shaky, frames=frames)
    assert (outcome.state, outcome.code, outcome.retried) == ("failed", "bad_params", False)


def test_params_that_cannot_be_sent_are_an_error_of_the_test() -> None:
    with pytest.raises(TypeError):
        run_job(Shaky, object())


def test_a_coroutine_runs_to_its_end() -> None:
    assert run_job(Slow, {}).result == threading.current_thread().name
    assert run_job(Slow, {"fail": 1}).type == "ValueError"


def test_the_job_at_hand_is_as_the_test_says() -> None:
    assert run_job(Shaky, "job", job_id="mine", attempt=3, cancel=True).result == ["mine", 3, True]


def test_several_jobs_run_on_one_object() -> None:
    worker = Shaky()
    assert run_job(worker, 1).ok and run_job(worker, 2, job_id="second").ok
    assert len(worker.jobs) == 2 and worker.jobs[1] == "second"


class Whole(Shaky):
    """Has all that a class may have."""

    service_name = ""
    flags = (click.Option(["--path"], default="x.log"), click.Option(["--twice"], is_flag=True))
    log_output = True
    calls: list[str] = []

    def setup(self) -> None:
        self.calls.append("setup")

    def teardown(self) -> None:
        self.calls.append("teardown")

    def work(self, job_id: str, params: dict[str, Any]) -> Any:
        self.calls.append("work")
        logging.getLogger("shop").warning("it is %s", "late")
        sys.stdout.write("printed\nno end")
        if (saved := self.job.saved) is not None:
            self.job.save([*saved, 1])
            self.job.save((2, date(2027, 1, 31)))
        if "again" in params:
            raise Retry("busy", delay=5, count=False)
        if "client" in params:
            return self.client.call("OTHER", 1)
        return [dict(self.options), self.job.service, saved]


@pytest.fixture
def calls() -> list[str]:
    Whole.calls.clear()
    return Whole.calls


def test_a_class_is_set_up_and_torn_down_and_an_object_is_not(calls: list[str]) -> None:
    run_job(Whole)
    assert calls == ["setup", "work", "teardown"]
    run_job(Whole())
    assert calls[3:] == ["work"]


def test_a_setup_that_fails_is_raised_and_a_failed_job_is_torn_down(calls: list[str]) -> None:
    class Fails(Whole):
        def setup(self) -> None:
            raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        run_job(Fails)
    assert calls == []
    assert run_job(Whole, {"again": 1}).state == "failed" and calls == ["setup", "work", "teardown"]


def test_what_was_saved_comes_in_and_what_is_saved_comes_out() -> None:
    outcome = run_job(Whole, {}, saved=(7,))
    assert outcome.result[2] == [7], "it went through JSON"
    assert outcome.saved == [[7, 1], [2, "2027-01-31"]]
    assert run_job(Whole).saved == []


def test_what_is_logged_and_printed_is_in_the_log() -> None:
    assert run_job(Whole).log == ["WARNING shop: it is late", "stdout: printed", "stdout: no end"]


def test_a_retry_says_when_and_whether_it_counts() -> None:
    outcome = run_job(Whole, {"again": 1})
    assert (outcome.retried, outcome.delay, outcome.counted) == (True, 5.0, False)
    assert (run_job(Shaky, "raise").delay, run_job(Shaky, "raise").counted) == (None, True)


def test_options_are_the_defaults_of_the_flags_and_what_is_given() -> None:
    assert run_job(Whole).result[:2] == [{"path": "x.log", "twice": False}, "TESTED"]
    assert run_job(Whole, options={"path": "y"}).result[0] == {"path": "y", "twice": False}


def test_the_client_is_the_one_that_is_given() -> None:
    client = SimpleNamespace(call=lambda service, value: [service, value])
    assert run_job(Whole, {"client": 1}, client=client).result == ["OTHER", 1]
    outcome = run_job(Whole, {"client": 1})
    assert outcome.message == "self.client is there while the worker runs; in a test give run_job a client"


def test_parameters_are_checked_as_a_worker_does() -> None:
    outcome = run_job(Whole, [1])
    assert (outcome.code, outcome.message) == ("bad_params", "expected an object, got a list")


def test_what_cannot_be_run_is_raised() -> None:
    for made in (Client, type("Odd", (Shaky,), {"retries": -1}), type("Odd", (Shaky,), {"work": None})):
        with pytest.raises(BadWorker):
            run_job(made)
    with pytest.raises(KeyboardInterrupt):
        run_job(type("Stops", (Shaky,), {"work": lambda *_: signal.raise_signal(signal.SIGINT)}))


# ---------------------------------------------------------------- the fixtures


def test_a_client_calls_a_worker_of_this_process(zmws_client: Client, zmws_worker: WorkerFactory) -> None:
    running = zmws_worker(Shaky)
    assert zmws_client.call("SHAKY", {"a": 1}, timeout=10) == {"a": 1}
    assert isinstance(running.worker, Shaky) and len(running.worker.jobs) == 1
    assert [row["id"] for row in zmws_client.workers()] == [running.id]


def test_a_worker_can_be_pickled_in_its_work(zmws_client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Copied)
    assert zmws_client.call("COPIED", timeout=10) == run_job(Copied).result == [True, 1, True]


def test_a_worker_may_be_an_object_and_serve_another_service(
    zmws_client: Client, zmws_worker: WorkerFactory
) -> None:
    worker = Shaky()
    zmws_worker(worker, service="OTHER")
    zmws_worker(Slow)
    assert zmws_client.call("OTHER", "raised not", timeout=10) == "raised not"
    assert str(zmws_client.call("SLOW", {}, timeout=10)) == "zmws-test-Slow"
    with pytest.raises(JobFailed, match="it broke"):
        zmws_client.call("OTHER", "raise", timeout=10)


def test_a_worker_that_cannot_start_says_why(zmws_worker: WorkerFactory) -> None:
    class Nameless(WorkerBase):
        pass

    with pytest.raises(ValueError, match=r"Nameless\.service_name"):
        zmws_worker(Nameless)


def test_a_worker_whose_setup_fails_says_so_at_once(zmws_worker: WorkerFactory) -> None:
    class Broken(Shaky):
        def setup(self) -> None:
            raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        zmws_worker(Broken)


def test_a_worker_that_was_stopped_is_gone(zmws_broker: RunningBroker, zmws_client: Client) -> None:
    with worker_in_thread(Shaky, zmws_broker) as running:
        running.stop()
        running.stop()
        assert not running.thread.is_alive()
    assert zmws_client.workers() == []


def test_the_factory_makes_brokers_with_limits_services_a_store_or_a_file(
    zmws_broker_factory: BrokerFactory, zmws_worker: WorkerFactory, tmp_path: Path
) -> None:
    file = tmp_path / "zmws.toml"
    file.write_text('[broker]\nclient = "tcp://127.0.0.1:1"\nframes_max = 9\n[services.FILED]\nretries = 1\n')
    store = MemoryStore()
    one = zmws_broker_factory(store=store, services={"KNOWN": ServiceOptions(retries=9)}, wait_s_max=7.0)
    two = zmws_broker_factory(file=file, frames_max=10)
    assert one.client != two.client and not two.client.endswith(":1")
    with one.connect() as client:
        job = client.submit("KNOWN", 1)
        assert job.status()["retries"] == 9 and client.stats()["limits"]["wait_s_max"] == 7.0
        with pytest.raises(Refused, match="FILED"):
            client.submit("FILED")
    with two.connect() as client:
        zmws_worker(Shaky, broker=two)
        assert client.submit("FILED").status()["retries"] == 1
        assert client.call("SHAKY", 2, timeout=10) == 2
    with pytest.raises(TypeError, match="no_such_limit"):
        zmws_broker_factory(no_such_limit=1)


def test_a_broker_with_a_file_finds_its_jobs_again(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/zmws.db"
    with broker_in_thread({"KNOWN": ServiceOptions()}, store=url) as running, running.connect() as client:
        assert client.submit("KNOWN", id="mine").durability == "disk"
    with broker_in_thread(store=url) as running, running.connect() as client:
        assert client.job("mine").status()["state"] == "waiting"


def test_a_broker_ends_with_its_block() -> None:
    with broker_in_thread() as running, running.connect() as client:
        assert client.services() == []
    assert not any(thread.name == "zmws-test-broker" for thread in threading.enumerate())


# ---------------------------------------------------------------- as a user has it


USERS = """
from zmws import JobFailed, WorkerBase
from zmws.testing import run_job
import pytest

pytest_plugins = ["zmws.testing"]


class Reverse(WorkerBase):
    service_name = "STR-REV"

    def work(self, job_id, params):
        return params["str"][::-1]


def test_alone():
    assert run_job(Reverse, {"str": "abc"}).result == "cba"


def test_over_a_broker(zmws_client, zmws_worker):
    zmws_worker(Reverse)
    zmws_worker(Reverse)
    assert zmws_client.call("STR-REV", {"str": "abc"}, timeout=10) == "cba"
    assert zmws_client.submit("STR-REV", {"str": "ab"}).result(10) == "ba"
    with pytest.raises(JobFailed):
        zmws_client.call("STR-REV", {}, timeout=10)


def test_the_worker_first(zmws_worker, zmws_broker, zmws_client):
    zmws_worker(Reverse)
    assert zmws_client.call("STR-REV", {"str": "abc"}, timeout=10) == "cba"
"""


def test_a_users_test_file_runs_with_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_reverse.py").write_text(USERS)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 passed" in ended.stdout


def test_a_broker_process_keeps_its_jobs_over_its_death(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, toml="[services.S]\n") as broker, broker.connect() as client:
        job = client.submit("S", 1)
        first, endpoints = broker.pid, (broker.client, broker.worker, broker.news, broker.mdp)
        assert broker.resident_bytes() > 1024 * 1024 and broker.cpu_s() >= 0
        broker.restart()
        assert broker.pid != first
        assert (broker.client, broker.worker, broker.news, broker.mdp) == endpoints
        assert job.status()["state"] == "waiting"
        shown = run("stats", "--json", "-c", str(broker.settings), cwd=tmp_path)
        assert shown.json()["pid"] == broker.pid
        assert broker.stop() == 0 and broker.ended and "stopped" in broker.said()
        broker.start()
        broker.await_ready()
        last = broker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def test_a_broker_process_takes_settings_with_a_table_of_the_brokers(tmp_path: Path) -> None:
    toml = "[store]\ncheck = 0.5\n[broker]\nsubmit_many_max = 7\n[services.S]\n"
    with BrokerProcess(tmp_path, toml=toml, mdp=False) as broker, broker.connect() as client:
        assert broker.mdp == "" and client.ask("zmws.services")[0]["service"] == "S"


def test_a_broker_process_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="heartbeats") as told,
        BrokerProcess(tmp_path, toml="[broker]\nheartbeats = 1\n"),
    ):
        pass
    assert "the broker ended by itself" in str(told.value)


def test_what_ends_the_block_of_a_broker_process_carries_its_log(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as told, BrokerProcess(tmp_path):
        raise KeyError("x")
    assert f"{tmp_path}/broker.log" in told.value.__notes__[0] and "client: tcp" in told.value.__notes__[0]


def test_free_ports_are_given_once() -> None:
    ports = free_ports(50)
    assert len(set(ports + free_ports(50))) == 100


FAILING = """
pytest_plugins = ["zmws.testing"]


def test_it(zmws_broker_process_factory):
    broker = zmws_broker_process_factory("--heartbeat-interval", "0.5")
    with broker.connect() as client:
        assert client.ask("zmws.stats")["pid"] == 0
"""


def test_with_a_test_that_fails_the_log_of_its_broker_process_is_shown(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 1 and "1 failed" in ended.stdout, ended.stdout + ended.stderr
    assert "client: tcp://127.0.0.1:" in ended.stdout


def test_one_job_needs_no_pytest() -> None:
    program = (
        "import sys\n"
        "sys.modules['pytest'] = None\n"
        "from zmws import WorkerBase\n"
        "from zmws.testing import run_job\n"
        "class W(WorkerBase):\n    def work(self, job_id, params): return params\n"
        "print(run_job(W, 3).result)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "3\n", "")


def test_what_a_job_logs_at_info_is_heard_as_in_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    @worker("SAYS")
    def says() -> None:
        logging.getLogger("shop").info("it is done")
        logging.getLogger("shop").debug("in detail")

    before = logging.getLogger().level
    assert run_job(says).log == ["INFO shop: it is done"] and logging.getLogger().level == before
    caplog.set_level(logging.ERROR)
    assert run_job(says).log == [], "the test has chosen a level"
