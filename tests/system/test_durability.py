"""What was accepted is kept: kills of the broker, power cuts, disks that are full or fail.

Brokers and workers are processes here, stores are files. The long runs of the first two kinds are made by
hand: `python -m tests.system.crash` and `python -m tests.system.power`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.peers import (
    await_workers,
    process,
    report,
    skip_unless_possible,
    wait_until,
    worker_process,
)
from tests.system.crash import CrashingBroker, crash
from tests.system.disks import NotPossible, small_disk
from tests.system.installation import run
from tests.system.ledger import Findings, Ledger, check, read_runs, read_store, run_line
from tests.system.load import SERVICE, WORKER
from tests.system.power import cut_power
from zmws.client import Job
from zmws.errors import Refused
from zmws.store.sqlite import upkeep

MIB = 1024 * 1024


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[CrashingBroker]:
    """A broker that is up, on a store of its own."""
    with CrashingBroker(tmp_path) as made:
        made.start()
        made.await_up()
        yield made


@contextlib.contextmanager
def workers(folder: Path, broker: CrashingBroker, count: int = 1, body: str = "") -> Iterator[None]:
    """Workers that note what they run, known to the broker."""
    body = body or WORKER.format(service=SERVICE, folder=str(folder))
    with contextlib.ExitStack() as stack:
        for n in range(count):
            stack.enter_context(worker_process(folder, broker.addresses["worker"], body, f"worker-{n}"))
        with broker.connect() as client:
            await_workers(client, count)
        yield


def restart(broker: CrashingBroker) -> None:
    """kill -9, and again."""
    broker.kill()
    broker.start()
    broker.await_up()


def await_running(jobs: list[Job]) -> None:
    """Until all run, and that is on disk: a kill before that runs a job again."""
    for job in jobs:
        wait_until(lambda job=job: job.status()["state"] == "running", 10, f"{job} runs")


def seed_of(config: pytest.Config) -> int:
    given = config.getoption("--crash-seed")
    return given if given is not None else random.randrange(2**32)


# ---------------------------------------------------------------- kill -9 and power cuts under load


@pytest.mark.timeout(3600)
def test_nothing_is_lost_when_the_broker_is_killed_under_load(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rounds, seed = pytestconfig.getoption("--crash-rounds"), seed_of(pytestconfig)
    findings = crash(tmp_path, rounds, seed)
    report("\n".join([f"{rounds} rounds, seed {seed}", *findings.lines()]))
    assert findings.ok, f"--crash-seed={seed}\n" + "\n".join(findings.lines())
    assert findings.sizes["acknowledged"] > 10 * rounds


def cuts_of(folder: Path, config: pytest.Config, lax: bool) -> Findings:
    cuts, seed = config.getoption("--power-cuts"), seed_of(config)
    cuts = 1 if lax else cuts
    try:
        findings = cut_power(folder, cuts, seed, lax)
    except NotPossible as reason:
        skip_unless_possible(False, str(reason), reason.refused)
        raise
    report("\n".join([f"{cuts} power cuts, seed {seed}", *findings.lines()]))
    return findings


@pytest.mark.timeout(600)
def test_nothing_is_lost_when_the_power_of_the_disk_is_cut(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    findings = cuts_of(tmp_path, pytestconfig, lax=False)
    assert findings.ok, "\n".join(findings.lines())


@pytest.mark.timeout(600)
def test_a_broker_that_does_not_sync_is_seen_to_lose_jobs(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    findings = cuts_of(tmp_path, pytestconfig, lax=True)
    assert findings.wrong["acknowledged jobs lost"]


def test_the_checker_finds_each_kind_of_wrong(broker: CrashingBroker, tmp_path: Path) -> None:
    names = ("good", "lost", "undone", "again", "cancelled", "key-1", "key-2", "unearned")
    ledger = Ledger()
    with workers(tmp_path, broker), broker.connect() as client:
        for name in names:
            unique = "k" if name.startswith("key") else None
            ledger.attempt(name, unique)
            job = client.submit(SERVICE, {}, id=name, unique=unique)
            ledger.accepted(name, job.id, job.durability)
            job.result(10)
            ledger.confirmed(name)
        client.submit(SERVICE, {}, id="unheard-of").result(10)
        ledger.was_cancelled("cancelled")
        ledger.accepted("asked", "good", "memory")
    assert broker.stop() == 0
    store = tmp_path / "var" / "zmws.db"
    with contextlib.closing(sqlite3.connect(store)) as file, file:
        file.execute("DELETE FROM jobs WHERE id = 'lost'")
        file.execute("UPDATE jobs SET state = 'waiting', forget_at = NULL WHERE id = 'undone'")
        file.execute("UPDATE jobs SET nonce = 'another' WHERE id = 'unearned'")
        file.execute("UPDATE jobs SET created_at = created_at - 60 WHERE id = 'key-2'")
    with (tmp_path / "ran-by-hand").open("wb") as file:
        file.write(run_line("start", "again", 2, "again/2/x", time.monotonic()))
        file.write(run_line("start", "cancelled", 2, "cancelled/2/x", time.monotonic()))
        file.write(run_line("start", "nobody", 1, "nobody/1/x", time.monotonic()))
    wrong = check(ledger, store, read_runs(tmp_path)).wrong
    assert {what: len(whom) for what, whom in wrong.items()} == {
        "acknowledged jobs lost": 2,
        "unexpected: in the store, and never attempted": 1,
        "unexpected: run, and never attempted": 3,  # one of them start and end
        "jobs that ran after their completion was confirmed": 2,
        "completions that were confirmed and are not in the store": 2,
        "jobs that ran after their cancel was acknowledged": 1,
        "cancels that were acknowledged and are not in the store": 1,
        "unique keys of two jobs at a time": 1,
        "answered with a job that does not hold their key": 0,
        "complete, and no worker completed that attempt": 1,
        "answers that should not have come": 1,
        "problems of the store's file": 2,  # a body of no job, a count that is wrong
    }


# ---------------------------------------------------------------- a restart costs nobody their work


def test_ten_jobs_that_run_when_the_broker_is_killed_complete_at_their_first_attempt(
    broker: CrashingBroker, tmp_path: Path
) -> None:
    with workers(tmp_path, broker, 10), broker.connect() as client:
        jobs = [client.submit(SERVICE, {"sleep": 5.0}) for _ in range(10)]
        # Begun, though perhaps not yet on disk as running: then its worker says that it has it.
        begun = lambda: sum(run.what == "start" for run in read_runs(tmp_path)) == 10  # noqa: E731
        wait_until(begun, 10, "ten jobs begun")
        restart(broker)
        restart(broker)  # and before its workers have all come back, perhaps
        records = [job.wait(20) for job in jobs]
    assert [(record["state"], record["attempt"], record["failures"]) for record in records] == [
        ("complete", 1, 0)
    ] * 10
    runs = read_runs(tmp_path)
    assert sorted(run.job_id for run in runs if run.what == "start") == sorted(job.id for job in jobs)
    assert broker.stop() == 0


def test_a_job_that_ends_while_the_broker_is_away_is_not_run_again(
    broker: CrashingBroker, tmp_path: Path
) -> None:
    with workers(tmp_path, broker), broker.connect() as client:
        job = client.submit(SERVICE, {"sleep": 0.5})
        await_running([job])
        broker.kill()
        wait_until(lambda: len(read_runs(tmp_path)) == 2, 10, "it has ended")
        broker.start()
        assert job.result(20) == {"id": job.id}
        assert job.status()["attempt"] == 1
    assert [run.what for run in read_runs(tmp_path)] == ["start", "end"]


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_scheduled_jobs_keep_their_time_and_paused_services_stay_paused(
    broker: CrashingBroker, tmp_path: Path
) -> None:
    with workers(tmp_path, broker), broker.connect() as client:
        later = client.submit(SERVICE, {}, delay=2.5)
        before = later.status()
        far = client.submit(SERVICE, {}, delay=3600.0)
        restart(broker)
        assert later.status() == before and far.status()["state"] == "scheduled"
        done = later.wait(20)
        late_s = seconds(done["started_at"]) - seconds(before["ready_at"])
        report(f"a scheduled job was started {late_s:.3f} s after its time")
        assert done["ready_at"] == before["ready_at"] and 0 <= late_s < 1
        client.pause(SERVICE)
        waits = client.submit(SERVICE, {}, priority=3)
        restart(broker)
        await_workers(client, 1, SERVICE)
        row = next(row for row in client.services() if row["service"] == SERVICE)
        assert row["paused"] and (row["waiting"], row["scheduled"]) == (1, 1)
        assert waits.status()["state"] == "waiting"
        client.resume(SERVICE)
        assert waits.result(10) == {"id": waits.id}
        far.cancel()
        restart(broker)
        assert far.status()["state"] == "cancelled"
        row = next(row for row in client.services() if row["service"] == SERVICE)
        assert not row["paused"] and (row["complete"], row["waiting"], row["scheduled"]) == (2, 0, 0)


def test_a_leased_job_is_reported_after_a_restart_and_the_report_may_be_repeated(
    tmp_path: Path,
) -> None:
    with CrashingBroker(tmp_path, "[services.LEASED]") as broker:
        broker.start()
        broker.await_up()
        with broker.connect() as client:
            job = client.submit("LEASED", {"n": 1})
            lease = client.lease("LEASED", wait=5, ttr=60)
            assert lease is not None and lease.id == job.id
            lease.progress(0.5, "half of it")
            restart(broker)
            assert (job.status()["state"], job.status()["progress"]) == ("running", 0.5)
            assert client.lease("LEASED") is None, "it is held, whatever became of the broker"
            lease.extend(120)
            lease.complete({"sum": 2})
            lease.complete({"sum": 2})
            restart(broker)
            lease.complete({"sum": 2})
            with pytest.raises(Refused) as refused:
                lease.progress(1.0)
            assert refused.value.code == "token_dead"
            done = job.status()
            assert (done["state"], done["attempt"], done["result"]) == ("complete", 1, {"sum": 2})


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
        broker = stack.enter_context(CrashingBroker(tmp_path, f"{store}\n[services.PILE]"))
        broker.start()
        broker.await_up()
        stack.enter_context(workers(tmp_path, broker, 2, GATED))
        client = stack.enter_context(broker.connect())
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
        restart(broker)
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
        restart(broker)
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


def test_a_locked_file_holds_up_commits_and_nothing_else(broker: CrashingBroker, tmp_path: Path) -> None:
    with workers(tmp_path, broker, 2), broker.connect() as client:
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
            assert f"commits wait: {why}" in told.out, told.out
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


def test_a_broker_that_waits_for_a_locked_file_can_be_stopped(broker: CrashingBroker, tmp_path: Path) -> None:
    store = tmp_path / "var" / "zmws.db"
    with workers(tmp_path, broker), broker.connect() as client, locked(store):
        waiting = client.submit_future(SERVICE, {})
        wait_until(lambda: client.stats()["store_waits_for"], what="the commit waits")
        assert broker.stop() == 0
        assert "None of that was acknowledged" in broker.said() and not waiting.done()
    assert read_store(store) == {}


# ---------------------------------------------------------------- a disk that fails


@contextlib.contextmanager
def failing(broker: CrashingBroker, calls: str, nth: int, folder: Path) -> Iterator[None]:
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
    broker: CrashingBroker, tmp_path: Path, calls: str, nth: int
) -> None:
    with workers(tmp_path, broker), broker.connect() as client:
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


# ---------------------------------------------------------------- a store that cannot be opened


def set_newer(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as file:
        file.execute("PRAGMA user_version = 999")


def damage(store: Path) -> None:
    with store.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xa5" * (store.stat().st_size - 3 * 4096))


def cut_short(store: Path) -> None:
    with store.open("r+b") as file:
        file.truncate(50)


def empty(store: Path) -> None:
    with store.open("r+b") as file:
        file.truncate(0)


def refused_start(broker: CrashingBroker, *more: str) -> str:
    """`zmws broker` once more: the one line that it ends with."""
    ended = run("broker", "-c", str(broker.folder / "etc" / "zmws.toml"), *more, cwd=broker.folder)
    lines = (ended.out + ended.err).strip().splitlines()
    assert ended.code != 0 and len(lines) == 1, (ended.code, lines)
    return lines[0]


def test_a_file_that_cannot_be_used_is_refused_in_a_line_and_left_as_it_is(tmp_path: Path) -> None:
    store, whole = tmp_path / "var" / "zmws.db", tmp_path / "whole"
    with CrashingBroker(tmp_path, "[services.PILE]") as broker:
        broker.start()
        broker.await_up()
        with broker.connect() as client:
            client.submit_many({"service": "PILE", "params": "x" * 1000} for _ in range(100))
        assert broker.stop() == 0
        shutil.copy(store, whole)
        for spoil, told in (
            (set_newer, "run the newer zmws"),
            (damage, "put back a backup"),
            (cut_short, "put back a backup"),
            (empty, "put back a backup"),
        ):
            shutil.copy(whole, store)
            spoil(store)
            before = store.read_bytes()
            line = refused_start(broker)
            assert str(store) in line and told in line, line
            assert store.read_bytes() == before
            beside = {one.name for one in store.parent.iterdir()}
            assert beside <= {"zmws.db", "zmws.db.lock", "zmws.db.reserve"}, beside
        # `zmws check` tells of it too, and of the whole one that there is nothing.
        config = ("-c", str(tmp_path / "etc" / "zmws.toml"))
        assert run("check", *config, cwd=tmp_path).code == 1
        shutil.copy(whole, store)
        assert run("check", *config, cwd=tmp_path).code == 0
        broker.start()
        broker.await_up()
        assert broker.stop() == 0


def test_a_second_broker_on_the_same_store_is_refused_and_the_first_goes_on(
    broker: CrashingBroker, tmp_path: Path
) -> None:
    other = [f"--{name}=tcp://127.0.0.1:*" for name in broker.addresses]
    assert broker.running is not None
    line = refused_start(broker, *other)
    assert f"in use by another broker (process {broker.running.pid})" in line
    with workers(tmp_path, broker), broker.connect() as client:
        assert client.submit(SERVICE, {}).result(10)
    # A lock that its holder took along into its death is none.
    restart(broker)
    assert broker.stop() == 0


def test_a_folder_that_cannot_be_written_to_is_refused_in_a_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with CrashingBroker(tmp_path, f'url = "sqlite:{in_the_way}/zmws.db"') as broker:
        line = refused_start(broker)
    assert "is no folder" in line and str(in_the_way) in line


def test_a_store_on_a_disk_that_is_not_mounted_is_refused_in_a_line(tmp_path: Path) -> None:
    with CrashingBroker(tmp_path, 'url = "sqlite:disk/zmws.db"') as broker:
        line = refused_start(broker)
        assert f"{tmp_path}/disk: there is no such folder" in line and "mount that first" in line
        (tmp_path / "disk").mkdir()
        broker.start()
        broker.await_up()
        assert "there was no store; made a new one" in broker.said()
        assert broker.stop() == 0


def test_a_disk_that_is_read_only_is_refused_in_a_line(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", 1, read_only=True))
        except NotPossible as reason:
            skip_unless_possible(False, str(reason), reason.refused)
            raise
        with CrashingBroker(tmp_path, f'url = "sqlite:{disk}/zmws.db"') as broker:
            line = refused_start(broker)
    assert str(disk) in line
