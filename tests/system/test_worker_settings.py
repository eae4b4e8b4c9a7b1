"""What `[[workers]]` says of a worker's process: where and how it runs, and how it is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.peers import wait_until
from tests.system.installation import Installation, installation, worker_table

TELLS = """
import os, sys
from zmws import worker

@worker("TELLS")
def tells() -> dict[str, object]:
    return {
        "env": os.environ.get("SHOP"), "cwd": os.getcwd(), "python": sys.executable, "nice": os.nice(0),
    }
"""


def told(zmws: Installation, more: str) -> dict[str, object]:
    """What the worker says of itself, with these settings."""
    settings = zmws.root / "etc" / "zmws.toml"
    settings.write_text(
        settings.read_text().partition("[[workers]]")[0] + worker_table("tells", "tells.py") + more
    )
    started = zmws.run("start")
    assert started.code == 0, started.err
    try:
        answer: dict[str, object] = json.loads(zmws.run("call", "TELLS").out)
        return answer
    finally:
        assert zmws.run("stop").code == 0


def test_a_worker_has_the_environment_the_folder_the_python_and_the_priority_of_its_settings(
    tmp_path: Path,
) -> None:
    with installation(tmp_path, worker_table("tells", "tells.py")) as zmws:
        (tmp_path / "tells.py").write_text(TELLS)
        plain = told(zmws, "")
        assert (plain["env"], plain["cwd"], plain["nice"]) == (None, str(tmp_path), os.nice(0))
        (tmp_path / "elsewhere").mkdir()
        script = f'#!/bin/sh\nSHOP="$SHOP, through it"; export SHOP\nexec {sys.executable} "$@"\n'
        (tmp_path / "python").write_text(script)
        (tmp_path / "python").chmod(0o755)
        given = told(zmws, 'env = { SHOP = "a b" }\ncwd = "elsewhere"\npython = "./python"\npriority = 7\n')
        assert (given["env"], given["cwd"]) == ("a b, through it", str(tmp_path / "elsewhere"))
        assert (given["nice"], given["python"]) == (7, sys.executable)


def test_a_worker_of_which_no_copy_is_to_run_is_known_and_not_started(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py", 0)) as zmws:
        started = zmws.run("start")
        assert started.code == 0 and "started: broker\n" in started.out
        assert zmws.run("start", "sleep").code == 0
        assert zmws.run("stop", "sleep").code == 0 and set(zmws.pids()) == {"broker"}


def test_a_stop_waits_for_the_stop_timeout_of_the_settings(tmp_path: Path) -> None:
    table = worker_table("sleep", "workers/sleep.py")
    with installation(tmp_path, table + "stop_timeout = 0.3\n") as zmws:
        assert zmws.run("start").code == 0
        job = zmws.run("submit", "SLEEP", "seconds:=60").out.strip()
        wait_until(lambda: zmws.run("job", "show", job, "--json").json()["state"] == "running")
        assert zmws.run("stop", "--workers").out == "stopped: sleep\n"
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["failures"]) == ("waiting", 0)


def test_status_says_how_each_process_is_and_which_runs_older_code(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("tells", "tells.py")) as zmws:
        (tmp_path / "tells.py").write_text(TELLS)
        assert zmws.run("start").code == 0
        for _ in range(2):
            assert zmws.run("call", "TELLS").code == 0
        broker, tells = zmws.run("status", "--json").json()["processes"]
        assert broker["worker"] is None and not broker["stale"]
        assert tells["worker"]["services"] == ["TELLS"] and tells["worker"]["done"] == 2
        for row in (broker, tells):
            assert 0 < row["uptime_s"] < 60 and row["memory_bytes"] > 1 << 20 and row["cpu_s"] > 0
        shown = zmws.run("status")
        assert shown.code == 0 and shown.err == ""
        assert "UP" in shown.out and "MEMORY" in shown.out and " MiB  2 " in shown.out
        os.utime(tmp_path / "tells.py")
        shown = zmws.run("status")
        assert "tells runs older code than tells.py has" in shown.err and "reload' takes it up" in shown.err
        assert zmws.run("status", "--json").json()["processes"][1]["stale"] is True


def test_a_folder_that_is_gone_keeps_a_worker_from_starting_and_nothing_from_stopping(tmp_path: Path) -> None:
    table = worker_table("sleep", "workers/sleep.py") + 'cwd = "there"\n'
    with installation(tmp_path, table) as zmws:
        (tmp_path / "there").mkdir()
        assert zmws.run("start").code == 0
        (tmp_path / "there").rmdir()
        assert zmws.run("status").code == 0 and zmws.run("stop").code == 0 and zmws.pids() == {}
        refused = zmws.run("start")
        assert (
            refused.code == 1
            and "sleep cannot be started: cwd is" in refused.err
            and "no such folder" in refused.err
            and "started: broker" in refused.out
        )
        assert "worker sleep: cwd is" in zmws.run("config", "check").err
        (tmp_path / "there").mkdir()
        assert zmws.run("start").code == 0
        before = zmws.pids()
        (tmp_path / "there").rmdir()
        assert zmws.run("restart").code == 1 and zmws.pids() == before, "nothing was stopped"


def test_copies_of_another_count_are_stopped_by_the_name_of_their_worker(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py", 3)) as zmws:
        assert zmws.run("start").code == 0
        settings = tmp_path / "etc" / "zmws.toml"
        settings.write_text(settings.read_text().replace("count = 3", "count = 1"))
        restarted = zmws.run("restart", "sleep")
        assert restarted.code == 0 and set(zmws.pids()) == {"broker", "sleep"}
        settings.write_text(settings.read_text().replace("count = 1", "count = 0"))
        assert zmws.run("stop", "sleep").out == "stopped: sleep\n" and set(zmws.pids()) == {"broker"}


def test_a_restart_refuses_before_it_stops_and_starts_beside_a_broker_of_somebody_elses(
    tmp_path: Path,
) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py")) as zmws:
        broker = zmws.popen("broker", stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: zmws.run("services").code == 0)
            assert zmws.run("start").code == 0
            before = zmws.pids()
            assert zmws.run("restart", "slep").code == 2 and zmws.pids() == before
            again = zmws.run("restart")
            assert "not started from here" in again.err and "started: sleep" in again.out
            assert zmws.pids().keys() == {"sleep"} and zmws.pids() != before
            assert zmws.run("stop", "--workers").code == 0
        finally:
            broker.terminate()
            broker.wait(20)
