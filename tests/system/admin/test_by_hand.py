"""The same on the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.system.admin.echo import Echo, Held, failed_job, kinds, service
from tests.system.installation import ZMWS, Ran, environment, run
from zmws import Client
from zmws.testing import RunningBroker
from zmws.testing.fixtures import WorkerFactory


@pytest.fixture
def zmws(zmws_broker: RunningBroker, tmp_path: Path) -> Any:
    """Runs a command at the test's broker."""

    def at_broker(*args: str, stdin: str | None = None) -> Ran:
        return run(*args, "--broker", zmws_broker.client, cwd=tmp_path, stdin=stdin)

    return at_broker


def test_pause_resume_and_purge_by_hand(zmws: Any, client: Client) -> None:
    assert zmws("pause", "ECHO").out == "paused: ECHO\n"
    row = next(line for line in zmws("services").out.splitlines() if line.startswith("ECHO"))
    assert "paused" in row.split()
    assert zmws("resume", "ECHO", "--json").json() == {"service": "ECHO", "paused": False}
    client.submit_many([{"service": "ECHO"}] * 3)
    assert zmws("purge", "ECHO").out == "cancelled: 3 jobs of ECHO\n"
    assert zmws("purge", "ECHO", "--json").json() == {"count": 0}
    for verb in ("pause", "resume", "purge"):
        ended = zmws(verb, "NOPE")
        assert ended.code == 4 and "unknown_service" in ended.err and ended.out == ""
        assert zmws(verb).code == 2


def test_many_jobs_are_cancelled_retried_and_deleted_by_hand(
    zmws: Any, client: Client, zmws_worker: WorkerFactory
) -> None:
    client.submit_many([{"service": "OTHER", "id": f"job-{n}", "group": str(n % 2)} for n in range(6)])
    ended = zmws("job", "cancel", "job-0", "nobody", "job-1")
    assert (ended.code, ended.out) == (4, "cancelled: job-0\ncancelled: job-1\ncancelled: 2 jobs\n")
    assert "refused (unknown_job)" in ended.err and "nobody" in ended.err
    assert zmws("job", "cancel", "job-2").out == "cancelled: job-2\n"
    assert zmws("job", "cancel", "--group", "1", "--service", "OTHER").out == "cancelled: 2 jobs\n"
    assert zmws("job", "cancel", "--all", "--json").json() == {"count": 1}
    assert (
        zmws("job", "delete", "--state", "cancelled", "--since", "2020-01-01T00:00Z").out
        == "deleted: 6 jobs\n"
    )
    zmws_worker(Echo)
    broken = failed_job(client)
    assert zmws("job", "retry", "--state", "failed", "--json").json() == {"count": 1}
    assert broken.wait(10)["attempt"] == 2
    both = zmws("job", "retry", broken.id, broken.id, "--json")
    assert both.json()["count"] >= 1


def test_ids_or_a_filter_and_never_neither(zmws: Any, client: Client) -> None:
    job = client.submit("ECHO")
    for verb in ("cancel", "retry", "delete"):
        for words in ([], ["--yes"], [job.id, "--all"], [job.id, "--service", "ECHO"]):
            ended = zmws("job", verb, *words)
            assert ended.code == 2 and "give IDs or a filter" in ended.err
    ended = zmws("job", "cancel", "--service", "ECHO", "--group", "", "--yes")  # a variable that is not set
    assert ended.code == 2 and "--group is empty" in ended.err
    assert zmws("job", "cancel", "--state", "complete").code == 2
    ended = zmws("job", "cancel", "--before", "yesterday")
    assert ended.code == 2 and "ISO 8601" in ended.err
    assert job.status()["state"] == "waiting"


def test_a_terminal_is_asked_before_many_are_cancelled(
    zmws_broker: RunningBroker, client: Client, tmp_path: Path
) -> None:
    job = client.submit("ECHO")
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        master, slave = pty.openpty()
        command = [*ZMWS, "job", "cancel", "--service", "ECHO", "--broker", zmws_broker.client]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        shown = b""
        while b"[y/N]" not in shown:
            assert select.select([master], [], [], 20)[0]
            shown += os.read(master, 4096)
        assert b"cancel 1 job of '--service ECHO'?" in shown
        os.write(master, answer)
        assert process.wait(20) == code
        os.close(master)
        assert job.status()["state"] == ("cancelled" if code == 0 else "waiting")


def test_events_by_hand(zmws: Any, zmws_broker: RunningBroker, client: Client, held: Held) -> None:
    job = client.submit("SLOW", id="mine")
    assert held.begun.wait(10)
    wait_until(lambda: len(list(job.events(follow=False))) == 3, what="its progress")
    shown = zmws("job", "events", "mine")
    lines = [re.sub(r"^\d\d:\d\d:\d\d\.\d{3}  ", "", line) for line in shown.out.splitlines()]
    assert lines == ["state     waiting", "state     running, attempt 1", "progress  50% half"], shown
    command = [*ZMWS, "job", "events", "mine", "-f", "--json", "--broker", zmws_broker.client]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        held.go.set()
        told += [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    assert kinds(told) == ["waiting", "running", "progress", "partial", "complete"]
    after = zmws("job", "events", "mine", "--after", str(told[3]["n"]), "--json")
    assert after.json() == told[4]
    assert zmws("job", "events", "nobody").code == 4
    assert zmws("job", "events", "mine", "--timeout", "1").code == 2
    client.submit("OTHER", id="waits")
    assert zmws("job", "events", "waits", "--follow", "--timeout", "0.3").code == 124


def test_stats_by_hand(zmws: Any, client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    assert client.call("ECHO", 1, timeout=10) == 1
    shown = zmws("stats")
    assert shown.code == 0 and "uptime" in shown.out and "workers" in shown.out and "limits" in shown.err
    assert zmws("stats", "--json").json()["limits"]["heartbeat_interval_s"] == 0.5


def test_each_submits_many_in_a_message(zmws: Any, client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Echo)
    lines = "".join(f"line {n}\n" for n in range(1_200))
    ended = zmws("submit", "ECHO", "--each", "-", "--wait", stdin=lines)
    assert ended.code == 0, ended.err
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"line": f"line {n}"} for n in range(1_200)
    ]
    assert service(client, "ECHO")["complete"] == 1_200


def test_each_answers_a_slow_pipe_line_by_line(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    command = [*ZMWS, "submit", "ECHO", "--each", "-", "--wait", "--broker", zmws_broker.client]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for n in range(3):
            process.stdin.write(b'{"n": %d}\n' % n)
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 20)[0], "held up until the next line"
            assert json.loads(process.stdout.readline()) == {"n": n}
        process.stdin.close()
    assert process.returncode == 0
