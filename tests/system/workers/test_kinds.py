"""What each kind of executor does in a worker process: several jobs at once, and how children end.

The whole table of faults is tests/system/fault_table.py, which is run by hand.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import (
    RunningBroker,
    RunningProcess,
    await_workers,
    broker_process,
    wait_until,
    worker_file_process,
)
from tests.system.fault_stand import below, runs
from zmws.client import Client, Job
from zmws.errors import JobCancelled

DECLARED = {
    "inline": "",
    "threads": "concurrency = 3",
    "coroutines": "concurrency = 3",
    "children": "isolate = True; concurrency = 3",
}
AT_ONCE = [kind for kind in DECLARED if kind != "inline"]

HEAD = """
import asyncio, ctypes, logging, os, signal, subprocess, sys, threading, time
from zmws import WorkerBase


def begin(job, params):
    with open(params["begun"], "a") as out:
        out.write(f"{job.id} {os.getpid()}\\n")

def wait_for_gate(params):
    while not os.path.exists(params["gate"]):
        time.sleep(0.01)

async def await_gate(params):
    while not os.path.exists(params["gate"]):
        await asyncio.sleep(0.01)

"""

WAITS = """
class {name}(WorkerBase):
    service_name = "{name}"
    {declared}

    def work(self, job_id, params):
        begin(self.job, params)
        wait_for_gate(params)
        return [self.job.id, self.job.attempt, os.getpid(), os.getppid()]
"""

AWAITS = WAITS.replace("def work", "async def work").replace("wait_for_gate", "await await_gate")


def waits(kind: str, name: str = "WAITS", more: str = "") -> str:
    """A class of this kind, whose jobs wait for their gate."""
    text = AWAITS if kind == "coroutines" else WAITS
    return text.format(name=name, declared="; ".join(filter(None, (DECLARED[kind], more))) or "pass")


def does(work: str, declared: str = "") -> str:
    """A class with isolate, whose work() is this."""
    lines = work.strip().splitlines()
    return (
        f'\n\nclass WAITS(WorkerBase):\n    service_name = "WAITS"\n    isolate = True; {declared}\n\n'
        "    def work(self, job_id, params):\n        begin(self.job, params)\n"
        + "".join(f"        {line}\n" for line in lines)
    )


class At:
    """A worker of one file, and the files by which its jobs are steered."""

    def __init__(self, folder: Path, client: Client, worker: RunningProcess) -> None:
        self.client, self.worker = client, worker
        self.begun, self.gate = folder / "begun", folder / "gate"

    def params(self, **more: Any) -> dict[str, Any]:
        return {"begun": str(self.begun), "gate": str(self.gate), **more}

    def submit(self, service: str = "WAITS", params: dict[str, Any] | None = None, **options: Any) -> Job:
        return self.client.submit(service, self.params(**(params or {})), backoff=0.05, **options)

    def pids(self, *jobs: Job) -> list[int]:
        """In which processes these are at work, when they are."""

        def there() -> list[int]:
            lines = self.begun.read_text().splitlines() if self.begun.exists() else []
            found = dict(line.split() for line in lines)
            return [int(found[job.id]) for job in jobs] if all(job.id in found for job in jobs) else []

        return wait_until(there, 10, "all jobs have begun")

    def log(self) -> str:
        return self.worker.text()

    def is_the_same(self) -> bool:
        """Whether the broker knows this one worker, which has never been lost."""
        rows, counts = self.client.workers(), self.client.stats()["counters"]
        lost = counts.get("workers_lost", 0) + counts.get("workers_expired", 0)
        return [row["pid"] for row in rows] == [self.worker.pid] and not lost and not self.worker.ended


@contextlib.contextmanager
def at_work(folder: Path, broker: RunningBroker, *classes: str, flags: tuple[str, ...] = ()) -> Iterator[At]:
    text = HEAD + "\n".join(classes)
    with (
        worker_file_process(folder, [broker.worker], text, flags=flags) as worker,
        broker.connect() as client,
    ):
        await_workers(client, 1)
        yield At(folder, client, worker)


def await_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(runs(pid) for pid in pids), 5, "no process is left")


# ---------------------------------------------------------------- several at once


@pytest.mark.parametrize("kind", AT_ONCE)
def test_jobs_run_at_once_and_each_is_itself(tmp_path: Path, broker: RunningBroker, kind: str) -> None:
    with at_work(tmp_path, broker, waits(kind)) as at:
        jobs = [at.submit() for _ in range(4)]
        pids = at.pids(*jobs[:3])
        assert [job.status()["state"] for job in jobs] == ["running"] * 3 + ["waiting"]
        assert len(set(pids)) == (3 if kind == "children" else 1)
        at.gate.touch()
        assert [job.result(10)[:2] for job in jobs] == [[job.id, 1] for job in jobs]
        if kind == "children":
            assert {job.result(5)[3] for job in jobs} == {at.worker.pid}


def test_an_inline_worker_begins_a_job_when_the_one_before_has_ended(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with at_work(tmp_path, broker, waits("inline")) as at:
        jobs = [at.submit() for _ in range(3)]
        at.pids(jobs[0])
        wait_until(lambda: jobs[0].stack()["stack"])  # it has been here for a while
        assert len(at.begun.read_text().splitlines()) == 1
        at.gate.touch()
        assert [job.result(10)[:2] for job in jobs] == [[job.id, 1] for job in jobs]


def test_services_of_several_kinds_share_a_process(tmp_path: Path, broker: RunningBroker) -> None:
    classes = [waits(kind, kind.upper()) for kind in DECLARED]
    with at_work(tmp_path, broker, *classes) as at:
        slots = {"INLINE": 1, "THREADS": 3, "COROUTINES": 3, "CHILDREN": 3}
        jobs = [at.submit(service) for service, count in slots.items() for _ in range(count)]
        pids = at.pids(*jobs)
        assert len(set(pids)) == 4, "three children, and the worker itself"
        at.gate.touch()
        assert [job.result(10)[:2] for job in jobs] == [[job.id, 1] for job in jobs]
        at.worker.signal(signal.SIGTERM)
        assert at.worker.popen.wait(10) == 0


@pytest.mark.parametrize("kind", list(DECLARED))
def test_the_stack_of_a_running_job_is_told(tmp_path: Path, broker: RunningBroker, kind: str) -> None:
    with at_work(tmp_path, broker, waits(kind)) as at:
        job = at.submit()
        at.pids(job)
        told = job.stack()["stack"]
        assert "worker.py" in told and "in work" in told, told
        assert "in wait_for_gate" in told or kind == "coroutines", told
        at.gate.touch()
        assert job.result(10)[1] == 1


# ---------------------------------------------------------------- a child dies

DIES = """
if self.job.attempt == 1:
    if params["how"] == "segfault":
        ctypes.string_at(0)
    if params["how"] == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
return [self.job.attempt, os.getppid()]
"""


@pytest.mark.parametrize(
    ("how", "told"), [("segfault", "SIGSEGV"), ("exit", "exit code 3"), ("kill", "SIGKILL")]
)
def test_what_kills_a_child_costs_one_attempt_and_not_the_worker(
    tmp_path: Path, broker: RunningBroker, how: str, told: str
) -> None:
    with at_work(tmp_path, broker, does(DIES)) as at:
        job = at.submit(params={"how": how})
        assert job.result(10) == [2, at.worker.pid]
        record = job.status()
        assert record["failures"] == 1 and at.is_the_same()
        error = record["attempts"][0]["error"]
        assert (error["code"], error["type"]) == ("job_failed", "ChildDied")
        assert told in error["error"] and "MiB" in error["error"]


DEAF = """
if params.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_gate(params)
return os.getpid()
"""


@pytest.mark.parametrize("by", ["cancel", "ttr"])
def test_the_slot_of_a_child_that_ignores_all_is_free_after_its_grace(
    tmp_path: Path, broker: RunningBroker, by: str
) -> None:
    with at_work(tmp_path, broker, does(DEAF, "kill_grace = 0.3")) as at:
        options = {"ttr": 0.3, "retries": 0} if by == "ttr" else {}
        job = at.submit(params={"deaf": True}, **options)
        (pid,) = at.pids(job)
        behind = at.submit()
        if by == "cancel":
            job.cancel()
        assert behind.result(5) != pid
        record = job.wait(5)
        assert (record["state"], runs(pid)) == ("failed" if by == "ttr" else "cancelled", False)
        assert by == "cancel" or record["error"]["code"] == "timeout"
        assert at.is_the_same()


CLEANS_UP = """
try:
    wait_for_gate(params)
finally:
    with open(params["gate"] + "-cleaned", "w") as out:
        out.write("x")
"""


def test_a_cancelled_child_runs_its_finally_and_is_replaced(tmp_path: Path, broker: RunningBroker) -> None:
    with at_work(tmp_path, broker, does(CLEANS_UP)) as at:
        job = at.submit()
        pids = at.pids(job)
        job.cancel()
        with pytest.raises(JobCancelled):
            job.result(5)
        wait_until((tmp_path / "gate-cleaned").exists, 5)
        again = at.submit()
        assert at.pids(again) != pids and at.is_the_same()
        at.gate.touch()
        again.result(5)


TICKS = """

class WAITS(WorkerBase):
    service_name = "WAITS"
    isolate = True

    async def work(self, job_id, params):
        begin(self.job, params)
        try:
            while not os.path.exists(params["gate"]):
                with open(params["begun"] + "-" + params["name"], "a") as out:
                    out.write("x")
                await asyncio.sleep(0.01)
        finally:
            open(params["gate"] + "-cleaned-" + params["name"], "a").close()
"""


def test_a_cancelled_coroutine_in_a_child_does_not_run_beside_the_next_job(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with at_work(tmp_path, broker, TICKS) as at:
        first = at.submit(params={"name": "first"})
        at.pids(first)
        first.cancel()
        first.wait(5)
        second = at.submit(params={"name": "second"})
        at.pids(second)
        done, now = (tmp_path / "begun-first").stat().st_size, tmp_path / "begun-second"
        wait_until(lambda: now.exists() and now.stat().st_size > 10)
        at.gate.touch()
        second.result(5)
        assert (tmp_path / "begun-first").stat().st_size == done
        assert (tmp_path / "gate-cleaned-first").exists()


LEAVES_HANDLER = """
if params.get("leaves"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return
wait_for_gate(params)
"""

CHATS = """
while True:
    self.job.partial("x" * 100_000)
"""


def test_a_handler_that_a_job_leaves_in_a_child_holds_no_longer_than_the_job(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with at_work(tmp_path, broker, does(LEAVES_HANDLER)) as at:
        at.submit(params={"leaves": True}).result(5)
        job = at.submit()
        at.pids(job)
        job.cancel()
        wait_until(lambda: at.client.workers()[0]["state"] == "idle", 3)
        assert "was killed" not in at.log()


def test_a_cancel_reaches_a_child_that_is_just_saying_something(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with at_work(tmp_path, broker, does(CHATS, "kill_grace = 60")) as at:
        for _ in range(8):  # not each falls into the midst of a message
            job = at.submit()
            at.pids(job)
            wait_until(lambda: at.client.workers()[0]["state"] == "busy", 5)
            job.cancel()
            wait_until(lambda: at.client.workers()[0]["state"] == "idle", 5)


IDLES = """
class WAITS(WorkerBase):
    service_name = "WAITS"
    isolate = True; concurrency = 2; idle_after = 0.05

    def idle(self):
        with open("idles", "a") as out:
            out.write("x")

    def work(self, job_id, params):
        return 1
"""


def test_children_are_idle_again_after_each_job(tmp_path: Path, broker: RunningBroker) -> None:
    idles = tmp_path / "idles"
    with at_work(tmp_path, broker, IDLES.replace('"idles"', repr(str(idles)))) as at:
        for count in (2, 4, 6):  # in each of the children, once; the spare is one of them
            wait_until(lambda count=count: idles.exists() and len(idles.read_text()) >= count, 5)  # type: ignore[misc]
            at.submit().result(5)


def test_idle_is_called_after_a_job_that_took_longer_than_the_time_to_it(
    tmp_path: Path, broker: RunningBroker
) -> None:
    idles = tmp_path / "idles"
    text = IDLES.replace('"idles"', repr(str(idles))).replace("= 0.05", "= 0.3")
    with at_work(tmp_path, broker, text.replace("return 1", "time.sleep(0.6)")) as at:
        at.submit().result(5)  # right behind the start
        wait_until(lambda: idles.exists() and len(idles.read_text()) >= 2, 5)


def test_beside_children_that_print_without_an_end_heartbeats_go_on(
    tmp_path: Path, broker: RunningBroker
) -> None:
    endless = 'while True:\n    print("x" * 10_000)'
    with at_work(tmp_path, broker, does(endless, "kill_grace = 0.1")) as at:
        job = at.submit()
        at.pids(job)
        for _ in range(3):
            heard_at = at.client.workers()[0]["heard_at"]
            wait_until(lambda at_=heard_at: at.client.workers()[0]["heard_at"] > at_, 5)  # type: ignore[misc]
        assert at.client.workers()[0]["state"] == "busy"
        job.cancel()
        wait_until(lambda: at.client.workers()[0]["state"] == "idle", 5)


# ---------------------------------------------------------------- the worker ends


def test_a_stopped_worker_lets_its_children_finish(tmp_path: Path, broker: RunningBroker) -> None:
    with at_work(tmp_path, broker, waits("children")) as at:
        jobs = [at.submit() for _ in range(2)]
        at.pids(*jobs)
        started = below(at.worker.pid)[1:]
        at.worker.signal(signal.SIGTERM)
        wait_until(lambda: at.client.workers()[0]["slots"] == 0)
        at.gate.touch()
        assert [job.result(10)[:2] for job in jobs] == [[job.id, 1] for job in jobs]
        assert at.worker.popen.wait(10) == 0 and len(started) == 5, "children, a spare, their guard"
        await_gone(started)


STARTS = 'subprocess.Popen(["sleep", "600"]); wait_for_gate(params)'


def test_what_children_do_not_finish_in_time_is_given_back_and_no_process_is_left(
    tmp_path: Path, broker: RunningBroker
) -> None:
    flags = ("--stop-timeout", "0.5")
    with at_work(tmp_path, broker, does(STARTS, "concurrency = 2"), flags=flags) as at:
        jobs = [at.submit(retries=1) for _ in range(2)]
        at.pids(*jobs)
        wait_until(lambda: len(below(at.worker.pid)) == 2 + 3 + 2, what="a guard, children, two programs")
        started = below(at.worker.pid)[1:]
        at.worker.signal(signal.SIGTERM)
        assert at.worker.popen.wait(10) == 0
        told = [job.status() for job in jobs]
        assert [(one["state"], one["failures"]) for one in told] == [("waiting", 0)] * 2
        assert "gives back" in at.log()
        await_gone(started)


def test_kill_9_of_the_worker_leaves_no_child_nor_what_that_has_started(
    tmp_path: Path, broker: RunningBroker
) -> None:
    with at_work(tmp_path, broker, does(STARTS, "concurrency = 2")) as at:
        at.pids(*[at.submit() for _ in range(2)])
        wait_until(lambda: len(below(at.worker.pid)) == 2 + 3 + 2, what="a guard, children, two programs")
        started = below(at.worker.pid)[1:]
        at.worker.signal(signal.SIGKILL)
        await_gone(started)


def test_a_setup_that_fails_in_a_child_ends_the_worker_at_the_start(tmp_path: Path) -> None:
    text = HEAD + waits("children") + "\n    def setup(self):\n        raise OSError('no database')\n"
    with (
        broker_process(tmp_path) as broker,
        broker.connect() as client,
        worker_file_process(tmp_path, [broker.worker], text) as worker,
    ):
        assert worker.popen.wait(10) == 1
        log = worker.text()
        assert "OSError: no database" in log and "worker.py" in log and "in setup" in log
        assert client.workers() == []


def test_a_signal_while_a_child_hangs_in_setup_ends_the_worker(tmp_path: Path) -> None:
    text = HEAD + waits("children")
    text += (
        f"\n    def setup(self):\n        open({str(tmp_path / 'begun')!r}, 'w')\n        time.sleep(600)\n"
    )
    with (
        broker_process(tmp_path) as broker,
        worker_file_process(tmp_path, [broker.worker], text) as worker,
    ):
        wait_until((tmp_path / "begun").exists)
        started = below(worker.pid)[1:]
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.ended, 4)
        assert worker.popen.wait() == 0
        await_gone(started)


# ---------------------------------------------------------------- a child has done enough

EATS = """
self.eaten = bytearray(b"x") * params.get("bytes", 1)
return [os.getpid(), os.getppid()]
"""


@pytest.mark.parametrize("limit", ["max_jobs = 1", 'max_memory = "150 MiB"'])
def test_past_a_limit_the_child_is_started_anew_and_not_the_worker(
    tmp_path: Path, broker: RunningBroker, limit: str
) -> None:
    with at_work(tmp_path, broker, does(EATS, limit)) as at:
        pids = []
        for _ in range(3):
            pid, parent = at.client.call("WAITS", at.params(bytes=200 * 2**20), timeout=10)
            assert parent == at.worker.pid
            pids.append(pid)
        assert len(set(pids)) == 3 and at.is_the_same()
        assert limit.partition(" ")[0] in at.log()
        await_gone(pids)


# ---------------------------------------------------------------- what a child says

SAYS = """
logging.getLogger("talk").warning("logged here")
print("printed here")
sys.stderr.write("written here\\n")
return os.getpid()
"""


def test_what_a_child_logs_and_prints_is_in_both_logs(tmp_path: Path, broker: RunningBroker) -> None:
    with at_work(tmp_path, broker, does(SAYS, "log_output = True")) as at:
        job = at.submit()
        assert job.result(10) != os.getpid()
        texts = job.status()["log"]
        said = ("WARNING talk: logged here", "stdout: printed here", "stderr: written here")
        assert all(any(one in text for text in texts) for one in said), texts
        wait_until(lambda: "printed here" in at.log() and "written here" in at.log())
        assert f"WARNING talk: [WAITS {job.id}/1] logged here" in at.log()


def test_what_a_child_reports_reaches_the_job_and_the_next_attempt(
    tmp_path: Path, broker: RunningBroker
) -> None:
    work = """
if self.job.attempt == 1:
    self.job.save({"at": 7})
    self.job.progress(0.5, "half")
    wait_for_gate(params)
    os._exit(1)
return [self.job.saved, self.client.submit("WAITS", params, delay=600).id]
"""
    with at_work(tmp_path, broker, does(work)) as at:
        job = at.submit()
        at.pids(job)
        wait_until(lambda: job.status()["progress"] == 0.5)
        at.gate.touch()
        saved, other = job.result(10)
        assert saved == {"at": 7} and at.client.job(other).status()["state"] == "scheduled"


LOUD = """
if params.get("loud"):
    for _ in range(5_000):
        print("x" * 100)
    sys.stdout.flush()
"""


def test_a_child_that_prints_where_nobody_reads_holds_up_no_other(
    tmp_path: Path, broker: RunningBroker
) -> None:
    os.mkfifo(tmp_path / "worker.log")
    unread = os.open(tmp_path / "worker.log", os.O_RDWR)
    try:
        with at_work(tmp_path, broker, does(LOUD, "concurrency = 2")) as at:
            at.pids(at.submit(params={"loud": True}))
            wait_until(lambda: at.submit().wait(3)["state"] == "complete", 5)
    finally:
        os.close(unread)
