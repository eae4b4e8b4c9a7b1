"""Whose broker it is, who has died, who does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

from tests.peers import wait_until
from tests.system.installation import ONE, ZMWS, environment, installation, processes_in, run, worker_table

# ------------------------------------------------------------ whose broker it is, and who has died


def test_the_broker_of_another_installation_is_not_taken_for_ours(tmp_path: Path) -> None:
    with installation(tmp_path / "a", ONE) as a, installation(tmp_path / "b", ONE) as b:
        b.ports = a.ports
        b.configure(ONE)
        assert a.run("start").code == 0
        assert a.run("status").code == 0
        told = b.run("status")
        assert told.code == 3 and "another installation" in told.err and a.client in told.err
        assert "up " not in told.out and str(a.pids()["broker"]) in told.err
        shown = b.run("status", "--json")
        assert shown.code == 3 and shown.json()["broker"] is None
        assert "another installation" in shown.json()["error"]
        told = b.run("start")
        assert told.code == 1 and f"of another installation (process {a.pids()['broker']})" in told.err
        # Workers may serve another's broker, if they are told to: not without a word.
        started = b.run("start", "--workers")
        assert started.code == 0 and "another installation" in started.err
        assert f"broker at {a.client}" not in started.out
        assert b.run("stop").code == 0 and a.run("stop").code == 0


def test_in_a_copy_of_an_installation_the_originals_processes_are_left_alone(tmp_path: Path) -> None:
    with installation(tmp_path / "a", ONE) as zmws:
        assert zmws.run("start").code == 0
        subprocess.run(["cp", "-a", tmp_path / "a", tmp_path / "b"], check=True)
        copied = run("stop", cwd=tmp_path / "b")
        assert zmws.run("status").code == 0
        assert copied.out == "nothing is running\n"
        assert "stopped  -" in run("status", cwd=tmp_path / "b").out


def test_a_folder_whose_name_is_not_utf_8_works_as_any(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/od\xff"))
    with installation(root, ONE) as zmws:
        for verb in ("start", "status", "check", "stop"):
            ended = zmws.run(verb)
            assert ended.code == 0 and "Traceback" not in ended.err, ended


def test_a_broker_that_was_not_started_from_here_is_known_to_start_and_stop(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws, contextlib.ExitStack() as stack:
        child = subprocess.Popen(
            [*ZMWS, "broker"], cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL
        )
        stack.callback(child.wait)
        stack.callback(child.terminate)
        wait_until(lambda: zmws.run("stats").code == 0, what="the broker to answer")
        started = zmws.run("start")
        assert (started.code, started.out.splitlines()[:2]) == (
            0,
            ["already running: broker", "started: reverse"],
        ), started
        assert f"not from here (process {child.pid})" in started.err
        stopped = zmws.run("stop")
        assert (stopped.code, stopped.out) == (1, "stopped: reverse\n"), stopped
        assert f"'kill {child.pid}'" in stopped.err


def test_a_broker_that_runs_and_does_not_answer_is_told_by_start(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        assert zmws.run("start").code == 0
        pid = zmws.pids()["broker"]
        os.kill(pid, signal.SIGSTOP)
        try:
            for verb in ("start", "status"):
                told = zmws.run(verb)
                assert told.code == 3 and f"its process {pid} runs" in told.err, told
                assert "start' starts one" not in told.err
        finally:
            os.kill(pid, signal.SIGCONT)


# `zmws`, whose questions wait for no broker longer than 0.1 s, unless they are told to.
IMPATIENT = """
from zmws.cli import main
from zmws.client import synchronous

synchronous._ANSWER_S = 0.1
main()
"""


def test_start_waits_for_a_slow_broker_as_long_as_it_is_told_to(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws, contextlib.ExitStack() as stack:
        assert (zmws.run("start").code, zmws.run("stop").code) == (0, 0)
        other = stack.enter_context(contextlib.closing(sqlite3.connect(tmp_path / "var" / "zmws.db")))
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        told = zmws.run("start", "--timeout", "2")
        assert told.code == 1 and "was not ready within 2 s" in told.err and "locked" in told.err, told
        with (tmp_path / "etc" / "zmws.toml").open("a") as file:
            file.write("\n[store]\nopen_patience = 60\n")
        command = [sys.executable, "-P", "-c", IMPATIENT, "start", "--timeout", "60"]
        starting = subprocess.Popen(command, cwd=tmp_path, env=environment())
        wait_until(lambda: "broker" in zmws.pids(), what="the broker's process")
        threading.Event().wait(1.0)  # ten times as long as a question's patience
        assert starting.poll() is None
        other.close()
        assert starting.wait(60) == 0


def test_a_process_that_has_died_is_told_from_one_that_was_stopped(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("sleep", "workers/sleep.py")) as zmws:
        assert zmws.run("start").code == 0 and zmws.run("stop", "sleep").code == 0
        good = zmws.run("status")
        assert good.code == 0 and "stopped" in good.out and "died" not in good.out
        zmws.kill_supervisor()  # else it would not stay dead
        worker = zmws.pids()["reverse"]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in processes_in(tmp_path), what="the worker to be gone")
        told = zmws.run("status")
        assert told.code == 1, (told.out, told.err)
        (line,) = [line for line in told.out.splitlines() if line.startswith("reverse")]
        assert "died" in line and "after 20" in line, line
        rows = {row["name"]: row for row in zmws.run("status", "--json").json()["processes"]}
        assert [rows[name]["state"] for name in ("broker", "reverse", "sleep")] == [
            "running",
            "died",
            "stopped",
        ]
        assert rows["reverse"]["pid"] is None and rows["reverse"]["last_sign_at"].endswith("Z")
        # Who starts it again is told of it, and then it runs.
        assert zmws.run("start").code == 0
        assert zmws.run("stop", "sleep").code == 0 and zmws.run("status").code == 0
        zmws.kill_supervisor()
        broker = zmws.pids()["broker"]
        os.kill(broker, signal.SIGKILL)
        wait_until(lambda: broker not in processes_in(tmp_path), what="the broker to be gone")
        assert zmws.run("status").code == 3 and "died" in zmws.run("status").out
        # What was stopped on purpose has not died, by whatever means, nor whatever had become of it.
        assert zmws.run("start").code == 0
        zmws.kill_supervisor()
        pids = zmws.pids()
        for name in ("reverse", "sleep", "broker"):
            os.kill(pids[name], signal.SIGTERM)
            wait_until(lambda name=name: pids[name] not in processes_in(tmp_path), what=f"{name} to end")
        assert zmws.pids() == {} and "died" not in zmws.run("status").out
        assert zmws.run("start", "--servers").code == 0
        zmws.kill_supervisor()
        os.kill(zmws.pids()["broker"], signal.SIGKILL)
        assert zmws.run("stop").code == 0
        assert "died" not in zmws.run("status").out


# ------------------------------------------------------------ out of descriptors


def test_a_broker_that_is_out_of_descriptors_says_so_and_comes_back(tmp_path: Path) -> None:
    warn = "descriptors_warn_percent = 70"
    with contextlib.ExitStack() as stack:
        zmws = stack.enter_context(installation(tmp_path, "", broker=warn))
        # Of the hard limit: the broker takes all that it may have.
        few = ["sh", "-c", 'ulimit -n 90 && exec "$@"', "sh", *ZMWS, "start"]
        started = subprocess.run(few, cwd=tmp_path, env=environment(), capture_output=True, timeout=60)
        assert started.returncode == 0, started.stderr
        log = tmp_path / "logs" / "broker.txt"
        said = lambda what: what in log.read_text()  # noqa: E731
        known = zmws.run("stats", "--json").json()
        assert known["descriptors_max"] == 90 and 10 < known["descriptors"] < 63
        assert "ulimit" not in zmws.run("status").err
        many = contextlib.ExitStack()
        stack.callback(many.close)

        def connect(count: int) -> None:
            for _ in range(count):
                many.enter_context(socket.create_connection(("127.0.0.1", zmws.ports[0])))

        connect(70 - known["descriptors"])
        wait_until(lambda: said("of 90 descriptors are in use"), what="the warning")
        assert "of 90 descriptors are in use, and each connection takes one" in zmws.run("status").err
        connect(40)
        wait_until(lambda: said("out of descriptors"), what="it to be said")
        # It can accept nobody who asks, so status looks from outside.
        told = zmws.run("status")
        assert told.code == 3 and "out of descriptors (90 of 90)" in told.err, told.err
        many.close()
        wait_until(lambda: said("there are descriptors again"), what="it to be over")
        assert zmws.run("status").code == 0
        assert zmws.run("stats", "--json").json()["counters"]["out_of_descriptors"] >= 1
        assert zmws.run("stop").code == 0
