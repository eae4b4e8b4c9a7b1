"""What dies, stops, hangs or is cut off: real processes, real signals, real connections (README.md).

Heartbeats are every 0.5 s here, three of them an expiry of 1.5 s. A worker writes what it does into a
file of notes, with times of the machine's one monotonic clock, which tests compare with their own.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.peers import (
    RawZmtp,
    RunningBroker,
    RunningProcess,
    await_workers,
    broker_in_thread,
    broker_process,
    counters,
    peer,
    proxy,
    report,
    wait_until,
    worker_process,
)
from zmws.client import Client
from zmws.errors import BrokerUnreachable, JobCancelled, JobFailed, ZmwsError
from zmws.worker.line import WorkerLine

INTERVAL_S = 0.5
LIVENESS = 3
EXPIRY_S = INTERVAL_S * LIVENESS

# One worker for all that happens here: it notes what it does, and does what the job says.
ACTOR = """
service_name = "ACT"

def note(self, what):
    line = {"what": what, "pid": os.getpid(), "attempt": self.job.attempt, "at": time.monotonic()}
    with open(self.notes, "a") as out:
        out.write(json.dumps(line) + "\\n")

def work(self, job_id, params):
    self.notes = params["notes"]
    self.note("begun")
    end = getattr(self, params["do"])(params)
    self.note("cancelled" if self.job.cancelled else "ended")
    return end

def nothing(self, params):
    return self.job.attempt

def until(self, params):
    while not os.path.exists(params["gate"]) and not self.job.cancelled:
        time.sleep(0.01)
    return self.job.attempt

def deaf_until(self, params):
    while not os.path.exists(params["gate"]):
        time.sleep(0.01)
    return self.job.attempt

def sleep(self, params):
    time.sleep(params["seconds"])
    return self.job.attempt

def spin(self, params):
    until = time.monotonic() + params["seconds"]
    while time.monotonic() < until:
        pass
    return self.job.attempt

def in_c(self, params):
    ctypes.PyDLL(None).usleep(int(params["seconds"] * 1e6))  # PyDLL keeps the interpreter's lock
    return self.job.attempt

def chat(self, params):
    while not os.path.exists(params["gate"]):
        self.job.partial("x" * 10_000)
        time.sleep(0.0001)
    return self.job.attempt

def die(self, params):
    os._exit(7)

def many(self, params):
    for n in range(params["count"]):
        self.job.partial("x" * 1_000)
    return params["count"]
"""


class Notes:
    """What the workers wrote down."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.gate = folder / "gate"

    def params(self, do: str, **more: Any) -> dict[str, Any]:
        """Parameters of a job for the actor."""
        return {"notes": str(self.path), "gate": str(self.gate), "do": do, **more}

    def open_gate(self) -> None:
        """Let the jobs that wait for the gate end."""
        self.gate.touch()

    def all(self, what: str) -> list[dict[str, Any]]:
        """The notes of one kind, in order."""
        text = self.path.read_text() if self.path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["what"] == what]

    def wait(self, what: str, count: int = 1, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Until there are so many of one kind."""
        some = lambda: len(self.all(what)) >= count  # noqa: E731
        wait_until(some, timeout_s, f"{count} notes '{what}'")
        return self.all(what)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


class Actors:
    """Worker processes by pid."""

    def __init__(self, stack: ExitStack, folder: Path, endpoint: str, count: int) -> None:
        self.by_pid: dict[int, RunningProcess] = {}
        for n in range(count):
            one = stack.enter_context(worker_process(folder, endpoint, ACTOR, f"actor-{n}"))
            self.by_pid[one.pid] = one

    def __getitem__(self, note: dict[str, Any]) -> RunningProcess:
        return self.by_pid[note["pid"]]


@pytest.fixture
def two(broker: RunningBroker, tmp_path: Path) -> Any:
    """Two actors and a client: (actors, client)."""
    with ExitStack() as stack:
        actors = Actors(stack, tmp_path, broker.worker, 2)
        client = stack.enter_context(broker.connect())
        await_workers(client, 2)
        yield actors, client


def worker_row(client: Client, pid: int) -> dict[str, Any] | None:
    return next((w for w in client.ask("zmws.workers") if w["pid"] == pid), None)


def await_state(client: Client, job_id: str, state: str, timeout_s: float = 10.0) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        record = client.ask("zmws.job", {"id": job_id})
        return record if record["state"] == state else None

    return wait_until(there, timeout_s, f"job {job_id} is {state}")


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


# ---------------------------------------------------------------- a connection is cut


def test_a_short_cut_of_the_connection_costs_a_running_job_nothing(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        between = stack.enter_context(proxy(broker.worker))
        Actors(stack, tmp_path, between.endpoint, 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("until"))
        notes.wait("begun")
        # Another stands by, so that a job that is given up would be seen to run there.
        other = stack.enter_context(worker_process(tmp_path, broker.worker, ACTOR, "other"))
        await_workers(client, 2)
        for _ in range(3):
            before = counters(client).get("reattached", 0)
            between.refuse()
            wait_until(lambda: _is_lost(client, other.pid), 5, "the broker has seen the cut")
            threading.Event().wait(0.2)
            between.accept_again()
            back = lambda was=before: counters(client).get("reattached", 0) > was  # noqa: E731
            wait_until(back, 5, "the worker took its job over")
        notes.open_gate()
        assert job.result(10) == 1
        record = job.status()
        assert record["attempt"] == 1 and record["failures"] == 0
        assert [n["attempt"] for n in notes.all("begun")] == [1]


def test_a_connection_that_breaks_while_a_worker_sends_harms_neither(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        between = stack.enter_context(proxy(broker.worker))
        Actors(stack, tmp_path, between.endpoint, 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("chat"))
        notes.wait("begun")
        for n in range(20):
            between.cut()
            back = lambda: counters(client).get("reattached", 0) > n  # noqa: B023, E731
            wait_until(back, 5, "the worker took its job over")
        notes.open_gate()
        assert job.result(10) == 1


def _is_lost(client: Client, but: int) -> bool:
    return any(w["state"] == "lost" for w in client.ask("zmws.workers") if w["pid"] != but)


def test_a_long_cut_gives_the_job_to_another_and_cancels_the_first(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        between = stack.enter_context(proxy(broker.worker))
        cut_off = next(iter(Actors(stack, tmp_path, between.endpoint, 1).by_pid))
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("until"))
        notes.wait("begun")
        other = stack.enter_context(worker_process(tmp_path, broker.worker, ACTOR, "other"))
        await_workers(client, 2)
        between.refuse()
        cut_at = time.monotonic()
        second = notes.wait("begun", 2)[1]
        assert second["pid"] == other.pid and second["attempt"] == 2
        assert second["at"] - cut_at < 2.5
        wait_until(lambda: time.monotonic() > cut_at + 10, 15, "ten seconds of a cut")
        between.accept_again()
        # Its next try may be a whole step of its backoff away.
        cancelled = notes.wait("cancelled", 1, 20)
        assert [n["pid"] for n in cancelled] == [cut_off]
        notes.open_gate()
        assert job.result(10) == 2
        wait_until(lambda: (worker_row(client, cut_off) or {}).get("state") == "idle", 10)
        assert len(notes.all("begun")) == 2
        row = next(s for s in client.ask("zmws.services") if s["service"] == "ACT")
        assert row["complete"] == 1


# ---------------------------------------------------------------- work() holds on


@pytest.mark.parametrize("do", ["sleep", "spin", "in_c"])
def test_a_working_worker_is_not_taken_for_dead(two: Any, notes: Notes, do: str) -> None:
    _, client = two
    seconds = 4 * EXPIRY_S
    job = client.submit("ACT", notes.params(do, seconds=seconds))
    assert job.result(seconds + 10) == 1
    assert len(notes.all("begun")) == 1
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
    assert leaving.popen.wait(10) == 0
    wait_until(lambda: len(client.ask("zmws.workers")) == 1, 5, "it has left")
    assert job.status()["attempt"] == 1
    assert client.call("ACT", notes.params("nothing"), timeout=5) == 1


def test_a_signal_ends_an_idle_worker_at_once(two: Any) -> None:
    actors, client = two
    leaving = next(iter(actors.by_pid.values()))
    asked_at = time.monotonic()
    leaving.signal(signal.SIGTERM)
    assert leaving.popen.wait(5) == 0
    assert time.monotonic() - asked_at < 3
    wait_until(lambda: worker_row(client, leaving.pid) is None, 5)


# ---------------------------------------------------------------- the broker stands still, dies, is away


@pytest.mark.parametrize("still_s", [2.5 * EXPIRY_S, 8 * EXPIRY_S])
def test_nobody_is_expired_when_the_broker_stood_still(tmp_path: Path, notes: Notes, still_s: float) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S))
        actors = Actors(stack, tmp_path, broker.worker, 3)
        client = stack.enter_context(broker.connect())
        await_workers(client, 3)
        job = client.submit("ACT", notes.params("until"))
        called = client.call_future("ACT", notes.params("until"), timeout=60)
        notes.wait("begun", 2)
        os.kill(broker.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped_at + still_s, still_s + 5)
        os.kill(broker.pid, signal.SIGCONT)
        # A job that were given to another would be begun again by now: the window is a second.
        threading.Event().wait(4)
        notes.open_gate()
        assert job.result(15) == 1 and called.result(15) == 1
        assert [n["attempt"] for n in notes.all("begun")] == [1, 1]
        assert job.status()["failures"] == 0
        known = counters(client)
        assert known.get("workers_expired", 0) == 0
        await_workers(client, len(actors.by_pid))


def test_workers_come_back_to_a_broker_that_was_killed(tmp_path: Path, notes: Notes) -> None:
    with ExitStack() as stack:
        first = ExitStack()
        # A store that forgets: what the settings name is known from the start.
        known = {"heartbeat_interval_s": INTERVAL_S, "toml": "[services.ACT]\n"}
        broker = first.enter_context(broker_process(tmp_path, **known))
        Actors(stack, tmp_path, broker.worker, 2)
        client = stack.enter_context(broker.connect())
        await_workers(client, 2)
        repeated = client.call_future("ACT", notes.params("until"), timeout=60)
        once = client.call_future("ACT", notes.params("until"), timeout=60, retries=0)
        notes.wait("begun", 2)
        os.kill(broker.pid, signal.SIGKILL)
        first.close()
        stack.enter_context(broker_process(tmp_path, at=broker, **known))
        began_at = time.monotonic()
        with pytest.raises(BrokerUnreachable) as unreachable:
            once.result(15)
        assert unreachable.value.maybe_accepted
        # The other is repeated, and runs as soon as a worker has let go of what the dead broker gave.
        notes.open_gate()
        assert repeated.result(20) == 1
        await_workers(client, 2)
        report(f"the workers were back after {time.monotonic() - began_at:.2f} s")
        for _ in range(4):
            assert client.call("ACT", notes.params("nothing"), timeout=10) == 1


def test_a_client_and_a_worker_that_know_two_brokers_go_to_the_one_that_is_there(
    tmp_path: Path, notes: Notes
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with ExitStack() as stack:
        gone = ExitStack()
        a = gone.enter_context(broker_process(tmp_path / "a", heartbeat_interval_s=INTERVAL_S))
        b = stack.enter_context(broker_process(tmp_path / "b", heartbeat_interval_s=INTERVAL_S))
        worker = worker_process(tmp_path, a.worker, ACTOR, "both", also=[b.worker])
        pid = stack.enter_context(worker).pid
        client = stack.enter_context(Client([a.client, b.client]))
        await_workers(client, 1)
        assert client.call("ACT", notes.params("nothing"), timeout=10) == 1
        os.kill(a.pid, signal.SIGKILL)
        gone.close()

        def asked() -> bool:
            try:
                return client.ask("zmws.stats")["workers"] in (0, 1)
            except ZmwsError:
                return False  # it went to the broker that is gone before that was known

        wait_until(asked, 30, "the client asks the other broker")
        wait_until(lambda: worker_row(client, pid), 15, "the worker is at the other broker")
        assert client.call("ACT", notes.params("nothing"), timeout=10) == 1


def test_a_worker_without_descriptors_comes_back_to_its_broker(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short, tries = threading.Event(), list[int]()
    real = zmq.Context.socket

    def socket_of(context: Any, kind: int, *given: Any, **named: Any) -> Any:
        if kind == zmq.DEALER and not short.is_set():
            tries.append(1)
            raise zmq.ZMQError(errno.EMFILE)
        return real(context, kind, *given, **named)

    monkeypatch.setattr(zmq.Context, "socket", socket_of)
    line = WorkerLine("HOARD", [broker.worker])
    line.start()
    try:
        wait_until(lambda: "Too many open files; it is tried again" in caplog.text, 10, "it to be told")
        wait_until(lambda: len(tries) >= 3, 10, "more tries")
        short.set()
        assert line.registered.wait(20)
        assert caplog.text.count("it is tried again") == 1
    finally:
        line.stop()
        line.join(10)
        line.close()


@pytest.mark.parametrize("first", ["hangs", "has no address"])
def test_a_first_broker_that_cannot_be_reached_does_not_keep_them_from_the_second(
    tmp_path: Path, notes: Notes, first: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung, broker_process(tmp_path) as broker:
        port = hung.getsockname()[1]  # the system accepts there, and nobody says anything: a stopped process
        host = (
            "127.0.0.1" if first == "hangs" else f"{'x' * 64}.invalid"
        )  # longer than a name can be: no look-up
        unreachable = f"tcp://{host}:{port}"
        worker = worker_process(tmp_path, unreachable, ACTOR, "second", also=[broker.worker])
        with worker, Client([unreachable, broker.client], connect_timeout=10) as client:
            await_workers(client, 1)
            assert client.call("ACT", notes.params("nothing"), timeout=10) == 1


# ---------------------------------------------------------------- pipes that are full


def test_a_client_that_reads_late_gets_its_final_behind_twenty_thousand_partials(
    tmp_path: Path, notes: Notes
) -> None:
    count = 20_000
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S))
        Actors(stack, tmp_path, broker.worker, 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        reader = stack.enter_context(peer(broker.client))
        reader.setsockopt(zmq.RCVHWM, 10)
        params = b"PARAM-JSON: " + json.dumps(notes.params("many", count=count)).encode()
        before = broker.resident_bytes()
        reader.disconnect(broker.client)  # RCVHWM holds for connections made after it
        reader.connect(broker.client)
        reader.send_multipart([b"MDPC02", b"\x01", b"SYNC-ACT", params])
        notes.wait("ended", 1, 30)
        done = lambda: worker_row(client, notes.all("ended")[0]["pid"])["done"] == 1  # noqa: E731
        wait_until(done, 20, "its result is taken")
        grown = broker.resident_bytes() - before
        assert grown < 100 * 1024 * 1024, grown
        partials = 0
        while (frames := reader.recv_multipart())[1] == b"\x02":
            partials += 1
        assert frames[1] == b"\x03" and frames[3].startswith(b"COMPLETE: ACT")
        assert frames[4] == b"PARAM-JSON: %d" % count
        dropped = counters(client).get("outbox_dropped", 0)
        report(f"{partials} partials came, {dropped} were dropped, the broker grew by {grown >> 20} MiB")
        assert partials + dropped == count


def test_a_client_that_never_reads_harms_nobody(tmp_path: Path, notes: Notes) -> None:
    with ExitStack() as stack:
        limits = '[broker]\noutbox_bytes_max = "1 MiB"\nmessage_bytes_max = "1 MiB"\n'
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S, toml=limits))
        Actors(stack, tmp_path, broker.worker, 2)
        client = stack.enter_context(broker.connect())
        await_workers(client, 2)
        deaf = stack.enter_context(peer(broker.client))
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.disconnect(broker.client)
        deaf.connect(broker.client)
        params = b"PARAM-JSON: " + json.dumps(notes.params("many", count=20_000)).encode()
        deaf.send_multipart([b"MDPC02", b"\x01", b"SYNC-ACT", params])
        notes.wait("begun")
        assert client.call("ACT", notes.params("nothing"), timeout=5) == 1
        wait_until(lambda: counters(client).get("outbox_dropped", 0) > 0, 20, "what overflows is counted")
        asked_at = time.monotonic()
        assert client.call("ACT", notes.params("nothing"), timeout=5) == 1
        assert time.monotonic() - asked_at < 1


def test_a_worker_that_never_reads_its_socket_is_passed_over(tmp_path: Path, notes: Notes) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S))
        client = stack.enter_context(broker.connect())
        deaf = stack.enter_context(RawZmtp(broker.worker))
        deaf.handshake()
        deaf.send([b"MDPW02", b"\x01", b"ACT"])
        await_workers(client, 1)
        # More than the kernel's buffers hold, so that the request cannot leave whole.
        padding = "x" * 7_000_000
        job = client.submit("ACT", notes.params("nothing", padding=padding))
        await_state(client, job.id, "running", 5)
        Actors(stack, tmp_path, broker.worker, 1)
        begun = notes.wait("begun", 1, 15)[0]
        assert begun["attempt"] == 2
        assert job.result(10) == 2
        for _ in range(3):
            client.call("ACT", notes.params("nothing"), timeout=10)


def test_a_thousand_idle_workers_cost_little(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=5.0))
        client = stack.enter_context(broker.connect())
        context = stack.enter_context(zmq.Context())
        context.set(zmq.MAX_SOCKETS, 3_000)
        crowd = []
        for n in range(1_000):
            one = context.socket(zmq.DEALER)
            one.setsockopt(zmq.LINGER, 0)
            one.connect(broker.worker)
            one.send_multipart([b"MDPW02", b"\x01", b"IDLE-%d" % (n % 50)])
            crowd.append(one)
        try:
            wait_until(lambda: client.ask("zmws.stats")["workers"] == 1_000, 30, "a thousand workers")
            cpu, begun_at = broker.cpu_s(), time.monotonic()
            while time.monotonic() < begun_at + 6:
                for one in crowd:
                    while one.poll(0):
                        one.recv_multipart()
                        one.send_multipart([b"MDPW02", b"\x05"])
                threading.Event().wait(0.5)
            share = (broker.cpu_s() - cpu) / (time.monotonic() - begun_at)
            report(f"a thousand idle workers: {share:.1%} of a core")
            assert client.ask("zmws.stats")["workers"] == 1_000
            assert share < 0.15
        finally:
            for one in crowd:
                one.close()
