"""Workers that die, stand still, hold on or are asked to leave: real processes, real signals (README.md)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers import RunningBroker, await_workers, broker_in_thread, counters, report, wait_until
from tests.system.deaths.acting import EXPIRY_S, INTERVAL_S, Actors, Notes, worker_row
from zmws.errors import JobCancelled, JobFailed


@pytest.fixture
def two(broker: RunningBroker, tmp_path: Path) -> Any:
    """Two actors and a client: (actors, client)."""
    with ExitStack() as stack:
        actors = Actors(stack, tmp_path, broker.worker, 2)
        client = stack.enter_context(broker.connect())
        await_workers(client, 2)
        yield actors, client


# ---------------------------------------------------------------- in turn


def test_three_workers_get_nine_jobs_three_each_in_turn(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        actors = Actors(stack, tmp_path, broker.worker, 3)
        client = stack.enter_context(broker.connect())
        await_workers(client, 3)
        for _ in range(9):
            client.call("ACT", notes.params("nothing"), timeout=10)
        pids = [note["pid"] for note in notes.all("begun")]
        assert sorted(set(pids)) == sorted(actors.by_pid)
        assert pids[3:] == pids[:-3], "every worker stands in the same place of each round"


# ---------------------------------------------------------------- a worker dies


@pytest.mark.timed
@pytest.mark.parametrize("sync", [False, True])
def test_the_job_of_a_killed_worker_runs_on_another_within_seconds(
    two: Any, notes: Notes, sync: bool, record_property: Callable[[str, object], None]
) -> None:
    actors, client = two
    if sync:
        called = client.call_future("ACT", notes.params("until"), timeout=30)
    else:
        job = client.submit("ACT", notes.params("until"))
    first = notes.wait("begun")[0]
    killed_at = time.monotonic()
    actors[first].signal(signal.SIGKILL)
    second = notes.wait("begun", 2)[1]
    took_s = second["at"] - killed_at
    record_property("seconds", took_s)
    report(f"from kill to the second start: {took_s:.2f} s")
    assert took_s < 2.5
    assert second["pid"] != first["pid"] and second["attempt"] == 2
    notes.open_gate()
    assert (called.result(10) if sync else job.result(10)) == 2


def test_a_job_that_kills_its_worker_each_time_is_failed_with_its_history(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        Actors(stack, tmp_path, broker.worker, 3)
        client = stack.enter_context(broker.connect())
        await_workers(client, 3)
        job = client.submit("ACT", notes.params("die"), retries=2, backoff=0.05)
        with pytest.raises(JobFailed) as failed:
            job.result(20)
        assert failed.value.code == "worker_lost"
        record = job.status()
        assert record["state"] == "failed"
        assert (record["attempt"], record["failures"]) == (3, 3)
        assert [entry["attempt"] for entry in record["attempts"]] == [1, 2, 3]
        assert all(entry["error"]["code"] == "worker_lost" for entry in record["attempts"])
        assert len({entry["worker"] for entry in record["attempts"]}) == 3
        assert len(notes.all("begun")) == 3


# ---------------------------------------------------------------- a worker stands still


@pytest.mark.timed
def test_the_job_of_a_stopped_worker_runs_on_another_and_its_late_result_is_refused(
    two: Any, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    actors, client = two
    caplog.set_level("INFO", "zmws.broker")
    job = client.submit("ACT", notes.params("deaf_until"))
    first = notes.wait("begun")[0]
    stopped_at = time.monotonic()
    actors[first].signal(signal.SIGSTOP)
    worker_id = worker_row(client, first["pid"])["id"]
    second = notes.wait("begun", 2)[1]
    took_s = second["at"] - stopped_at
    report(f"from SIGSTOP to the second start: {took_s:.2f} s")
    assert took_s < EXPIRY_S + 2
    assert second["pid"] != first["pid"]
    notes.open_gate()
    assert job.result(10) == 2
    before = counters(client).get("results_refused", 0)
    actors[first].signal(signal.SIGCONT)
    late = lambda: counters(client).get("results_refused", 0) > before  # noqa: E731
    wait_until(late, 10, "the late result is counted as refused")
    assert "a late result of worker" in caplog.text
    assert f"cut the connection of {worker_id}" in caplog.text
    assert r"b'\x00" not in caplog.text, "a routing id is logged"
    # Once: the same result, one completion, and both workers there again.
    assert job.status()["attempt"] == 2 and job.result(10) == 2
    row = next(s for s in client.ask("zmws.services") if s["service"] == "ACT")
    assert row["complete"] == 1
    await_workers(client, 2)
    free = lambda: all(w["state"] == "idle" for w in client.ask("zmws.workers"))  # noqa: E731
    wait_until(free, 10, "both workers are free")


def test_a_stopped_idle_worker_gets_no_job(two: Any, notes: Notes) -> None:
    actors, client = two
    stopped = next(iter(actors.by_pid.values()))
    stopped.signal(signal.SIGSTOP)
    wait_until(lambda: worker_row(client, stopped.pid) is None, EXPIRY_S + 4, "it is expired")
    for _ in range(3):
        client.call("ACT", notes.params("nothing"), timeout=5)
    assert stopped.pid not in {note["pid"] for note in notes.all("begun")}
    stopped.signal(signal.SIGCONT)
    wait_until(lambda: worker_row(client, stopped.pid), 10, "it comes back by itself")


# ---------------------------------------------------------------- work() holds on


def test_a_working_worker_is_not_taken_for_dead(broker: RunningBroker, tmp_path: Path, notes: Notes) -> None:
    ways = ("sleep", "spin", "in_c")
    with ExitStack() as stack:
        # One more, so that a job that is given up would be seen to run there.
        Actors(stack, tmp_path, broker.worker, len(ways) + 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, len(ways) + 1)
        seconds = 4 * EXPIRY_S
        jobs = [client.submit("ACT", notes.params(do, seconds=seconds)) for do in ways]
        assert [job.result(seconds + 10) for job in jobs] == [1] * len(ways)
        assert len(notes.all("begun")) == len(ways)
        known = counters(client)
        assert known.get("workers_expired", 0) == 0 and known.get("workers_lost", 0) == 0


def test_a_worker_that_goes_on_past_ttr_and_grace_is_shown_as_hung_until_its_final(
    tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_in_thread(heartbeat_interval_s=INTERVAL_S, cancel_grace_s=1.0))
        hung = next(iter(Actors(stack, tmp_path, broker.worker, 1).by_pid))
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("deaf_until"), ttr=0.5, retries=0)
        with pytest.raises(JobFailed) as failed:
            job.result(10)
        assert failed.value.code == "timeout"
        assert worker_row(client, hung)["state"] == "busy", "it has cancel_grace to let go"
        wait_until(lambda: worker_row(client, hung)["state"] == "hung", 5, "cancel_grace is over")
        assert [one["id"] for one in worker_row(client, hung)["jobs"]] == [job.id]
        assert counters(client)["workers_hung"] == 1
        waiting = client.submit("ACT", notes.params("nothing"))
        threading.Event().wait(2 * INTERVAL_S)
        assert worker_row(client, hung)["state"] == "hung", "it is not disconnected"
        assert waiting.status()["state"] == "waiting"
        notes.open_gate()
        assert waiting.result(10) == 1
        wait_until(lambda: (worker_row(client, hung) or {}).get("state") == "idle", 10, "it is back")
        assert notes.all("cancelled"), "work() could see that it was cancelled"
        assert client.call("ACT", notes.params("nothing"), timeout=5) == 1


@pytest.mark.timed
def test_cancel_of_a_running_job_reaches_its_worker(two: Any, notes: Notes) -> None:
    _, client = two
    job = client.submit("ACT", notes.params("until"))
    notes.wait("begun")
    cancelled_at = time.monotonic()
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(5)
    assert notes.wait("cancelled")[0]["at"] - cancelled_at < 1.0
    wait_until(lambda: all(w["state"] == "idle" for w in client.ask("zmws.workers")), 5)
    assert job.status()["state"] == "cancelled"
    assert client.call("ACT", notes.params("nothing"), timeout=5) == 1


# ---------------------------------------------------------------- a worker is asked to leave


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_a_worker_finish_its_job(two: Any, notes: Notes, number: signal.Signals) -> None:
    actors, client = two
    job = client.submit("ACT", notes.params("until"))
    begun = notes.wait("begun")[0]
    leaving = actors[begun]
    leaving.signal(number)
    # It takes no more, and does not leave.
    threading.Event().wait(INTERVAL_S)
    assert leaving.popen.poll() is None
    notes.open_gate()
    assert job.result(10) == 1
    assert leaving.popen.wait(10) == (75 if number == signal.SIGHUP else 0), "SIGHUP asks for a new start"
    wait_until(lambda: len(client.ask("zmws.workers")) == 1, 5, "it has left")
    assert job.status()["attempt"] == 1
    assert client.call("ACT", notes.params("nothing"), timeout=5) == 1


@pytest.mark.timed
def test_a_signal_ends_an_idle_worker_at_once(two: Any) -> None:
    actors, client = two
    leaving = next(iter(actors.by_pid.values()))
    asked_at = time.monotonic()
    leaving.signal(signal.SIGTERM)
    assert leaving.popen.wait(5) == 0
    assert time.monotonic() - asked_at < 3
    wait_until(lambda: worker_row(client, leaving.pid) is None, 5)
