"""Disks that are full, a store's file that another program has locked, disks that fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import BrokerProcess, await_workers, process, report, skip_unless_possible, wait_until
from tests.system.disks import NotPossible, small_disk
from tests.system.installation import run
from tests.system.lasting import lasting_broker, patient, workers
from tests.system.ledger import read_store
from tests.system.load import SERVICE
from zmws.errors import Refused
from zmws.store.sqlite import upkeep

MIB = 1024 * 1024


# ---------------------------------------------------------------- a disk that is full


def fill_to_the_last_byte(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


GATED = """
service_name = "GATED"

def work(self, job_id, params):
    while "gate" in params and not os.path.exists(params["gate"]):
        time.sleep(0.01)
    return "x" * params.get("size", 1)
"""


def test_a_full_disk_refuses_new_jobs_and_nothing_else(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", 12))
        except NotPossible as reason:
            skip_unless_possible(False, str(reason), reason.refused)
            raise
        store = f'url = "sqlite:{disk}/zmws.db"\nreserve_bytes = "1 MiB"\nfree_bytes_min = "1 MiB"'
        broker = stack.enter_context(lasting_broker(tmp_path, f"{store}\n[services.PILE]"))
        stack.enter_context(workers(tmp_path, broker, 2, GATED))
        client = stack.enter_context(patient(broker))
        running = client.submit("GATED", {"gate": str(gate), "size": 20_000})
        wait_until(lambda: running.status()["state"] == "running", 10)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (4 * MIB))
        acknowledged: list[str] = []

        def pile_up() -> Refused:
            while True:
                try:
                    acknowledged.append(client.submit("PILE", b"x" * 20_000).id)
                except Refused as refused:
                    return refused

        refused = pile_up()
        assert refused.code == "disk_full" and "disk" in str(refused)
        assert len(acknowledged) > 20
        # Not the early alarm alone: nothing at all is left.
        fill_to_the_last_byte(ballast)
        assert pile_up().code == "disk_full"
        many = client.submit_many({"service": "PILE", "params": n} for n in range(3))
        assert [one.code if isinstance(one, Refused) else one for one in many] == ["disk_full"] * 3
        assert client.call("GATED", {"size": 3}, timeout=10) == "xxx"
        assert client.submit("GATED", {}, durability="memory").result(10) == "x"
        page = client.ask("zmws.jobs", {"service": "PILE", "limit": 5})
        assert [row["id"] for row in page["jobs"]] == acknowledged[:-6:-1]
        assert client.job(acknowledged[0]).status()["state"] == "waiting"
        assert {row["service"] for row in client.services()} == {"GATED", "PILE"}
        # Who repeats what was accepted is answered as ever.
        assert client.submit("PILE", b"x", id=acknowledged[0]).existing
        gate.touch()
        assert running.result(20) == "x" * 20_000
        client.job(acknowledged.pop(0)).cancel()
        assert "new jobs are refused until there is room" in broker.said()
        broker.restart()
        await_workers(client, 2, "GATED")
        assert pile_up().code == "disk_full"
        assert client.call("GATED", {"size": 3}, timeout=10) == "xxx"

        ballast.unlink()
        freed_at = time.monotonic()

        def accepted() -> bool:
            with contextlib.suppress(Refused):
                acknowledged.append(client.submit("PILE", b"again").id)
                return True
            return False

        wait_until(accepted, 10, "new jobs are accepted again")
        report(f"{len(acknowledged)} jobs; accepted again {time.monotonic() - freed_at:.2f} s after")
        assert client.submit("GATED", {}).result(10) == "x"
        broker.restart()
        known = read_store(disk / "zmws.db")
        assert [one for one in acknowledged if one not in known or known[one].state != "waiting"] == []
        assert running.result(10) == "x" * 20_000
        assert broker.stop() == 0
        assert upkeep.check(disk / "zmws.db") == []


# ---------------------------------------------------------------- a file that another program has locked


@contextlib.contextmanager
def locked(store: Path) -> Iterator[None]:
    """As an `sqlite3` does that was left open in the middle of a transaction."""
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_file_holds_up_commits_and_nothing_else(broker: BrokerProcess, tmp_path: Path) -> None:
    with workers(tmp_path, broker, 2), patient(broker) as client:
        before = client.submit(SERVICE, {})
        assert before.result(10)
        with locked(tmp_path / "var" / "zmws.db"):
            locked_at = time.monotonic()
            waiting = client.submit_future(SERVICE, {})
            # Longer than SQLite itself would wait by default.
            while time.monotonic() < locked_at + 6:
                client.call(SERVICE, {}, timeout=5)
            assert client.submit(SERVICE, {}, durability="memory").result(5)
            assert [row["id"] for row in client.ask("zmws.jobs", {"service": SERVICE})["jobs"]] == [before.id]
            assert not waiting.done()
            why = f"another program (process {os.getpid()}) has locked the file"
            assert client.stats()["store_waits_for"] == why
            told = run("status", "-c", str(tmp_path / "etc" / "zmws.toml"), cwd=tmp_path)
            assert f"commits wait: {why}" in told.err, told
            ended = run(
                *("submit", SERVICE, "--wait", "--timeout", "4", "-c", str(tmp_path / "etc" / "zmws.toml")),
                cwd=tmp_path,
            )
            assert ended.code == 124 and "not accepted within 4 s" in ended.err, ended
            assert f"accepts nothing now, its commits wait: {why}" in ended.err, ended
        assert waiting.result(10).result(10)
        wait_until(lambda: client.stats()["store_waits_for"] is None, what="it is over")
    assert broker.said().count("has locked the file") == 1 and "commits go on" in broker.said()
    assert broker.stop() == 0
    assert upkeep.check(tmp_path / "var" / "zmws.db") == []


def test_a_broker_that_waits_for_a_locked_file_can_be_stopped(broker: BrokerProcess, tmp_path: Path) -> None:
    store = tmp_path / "var" / "zmws.db"
    with workers(tmp_path, broker), patient(broker) as client, locked(store):
        waiting = client.submit_future(SERVICE, {})
        wait_until(lambda: client.stats()["store_waits_for"], what="the commit waits")
        assert broker.stop() == 0
        assert "None of that was acknowledged" in broker.said() and not waiting.done()
    assert read_store(store) == {}


# ---------------------------------------------------------------- a disk that fails


@contextlib.contextmanager
def failing(broker: BrokerProcess, calls: str, nth: int, folder: Path) -> Iterator[None]:
    """The `nth` of these system calls of the broker from now on fails with EIO, and no later one."""
    skip_unless_possible(shutil.which("strace"), "there is no strace here")
    assert broker.running is not None
    inject = f"inject={calls}:error=EIO:when={nth}"
    command = ["strace", "-f", "-e", f"trace={calls}", "-e", inject, "-p", str(broker.running.pid)]
    with process(command, folder / "strace.log") as strace:

        def attached() -> bool:
            ended = strace.popen.poll() is not None
            skip_unless_possible(not ended, f"strace cannot attach: {strace.text()}", refused_by_system=True)
            return "attached" in strace.text()

        wait_until(attached, 10, "strace is attached")
        yield
        assert "INJECTED" in strace.text(), strace.text()


@pytest.mark.parametrize(("calls", "nth"), [("fsync,fdatasync", 1), ("pwrite64", 1), ("pwrite64", 4)])
def test_an_error_of_the_disk_ends_the_broker_and_what_it_had_acknowledged_is_there(
    broker: BrokerProcess, tmp_path: Path, calls: str, nth: int
) -> None:
    with workers(tmp_path, broker), patient(broker) as client:
        client.pause(SERVICE)
        before = [client.submit(SERVICE, {}).id for _ in range(20)]
        with failing(broker, calls, nth, tmp_path):
            many = client.submit_many_future({"service": SERVICE, "params": {}} for _ in range(10))
            one = client.submit_future(SERVICE, {})
            code = broker.await_end()
            said = broker.said()
        assert code not in (0, -signal.SIGKILL)
        assert "the store failed, and nothing of this batch is acknowledged" in said
        assert "Traceback" not in said, said
        # Repeated, not answered: a client of ours asks again when the broker is back.
        assert not many.done() and not one.done()
        broker.start()
        after = [job.id for job in many.result(20) if not isinstance(job, Refused)]
        after.append(one.result(20).id)
        client.resume(SERVICE)
        for job_id in before + after:
            assert client.job(job_id).wait(20)["state"] == "complete"
    assert len(after) == 11
    assert sorted(read_store(tmp_path / "var" / "zmws.db")) == sorted(before + after)
    assert broker.stop() == 0
    assert upkeep.check(tmp_path / "var" / "zmws.db") == []
