"""kill -9 of the broker and power cuts under a mixed load: nothing that was accepted is lost.

The long runs are made by hand: `python -m tests.system.crash` and `python -m tests.system.power`.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from pathlib import Path

import pytest

from tests.peers import BrokerProcess, report, skip_unless_possible
from tests.system import family_crash
from tests.system.crash import crash
from tests.system.disks import NotPossible
from tests.system.lasting import patient, workers
from tests.system.ledger import Findings, Ledger, check, read_runs, run_line
from tests.system.load import SERVICE
from tests.system.power import cut_power


def seed_of(config: pytest.Config) -> int:
    given = config.getoption("--crash-seed")
    return given if given is not None else random.randrange(2**32)


@pytest.mark.timeout(3600)
def test_nothing_is_lost_when_the_broker_is_killed_under_load(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rounds, seed = pytestconfig.getoption("--crash-rounds"), seed_of(pytestconfig)
    findings = crash(tmp_path, rounds, seed)
    report("\n".join([f"{rounds} rounds, seed {seed}", *findings.lines()]))
    assert findings.ok, f"--crash-seed={seed}\n" + "\n".join(findings.lines())
    assert findings.sizes["acknowledged"] > 10 * rounds


@pytest.mark.timeout(3600)
def test_every_chain_and_batch_ends_as_it_should_when_broker_and_workers_are_killed(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rounds, seed = max(1, pytestconfig.getoption("--crash-rounds") // 3), seed_of(pytestconfig)
    wrong, counts = family_crash.crash(tmp_path, rounds, seed)
    report(f"{rounds} rounds, seed {seed}: {dict(counts)}")
    assert not wrong, f"--crash-seed={seed}\n" + "\n".join(wrong[:50])
    assert counts["chains"] > rounds and counts["batches"] > rounds and counts["that followed"] > rounds


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


def test_the_checker_finds_each_kind_of_wrong(broker: BrokerProcess, tmp_path: Path) -> None:
    names = ("good", "lost", "undone", "again", "cancelled", "key-1", "key-2", "unearned")
    ledger = Ledger()
    with workers(tmp_path, broker), patient(broker) as client:
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
