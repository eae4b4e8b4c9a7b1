"""Situations in which supervisors have failed their users: each made, and what comes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import (
    ONE,
    ZMWS,
    Installation,
    environment,
    installation,
    kill_supervisor,
    processes_in,
    supervisor_of,
    worker_table,
)
from tests.system.test_roll import VERSIONS
from tests.system.test_supervisor import another, row
from zmws.client.synchronous import Client
from zmws.testing import free_ports

SAYS = """
import pathlib, time
from zmws import WorkerBase

class Says(WorkerBase):
    service_name = "SAYS"

    def work(self, job_id, params):
        time.sleep(params or 0)
        return "{what}"
"""
SLOW = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.02)\n"
QUICK = "[supervisor]\ncheck_interval = 0.2\nsilence_max = 3\nready_timeout = 10\nkill_after = 2\n"
SCALED = '[[workers]]\nname = "says"\nfile = "says.py"\nservice = "SAYS"\n'


def says(zmws: Installation, what: str, before: str = "") -> None:
    text = before + SAYS.format(what=what) + "#" * next(VERSIONS)  # each of another size (test_roll.py)
    (zmws.root / "says.py").write_text(text)


def no_fault(zmws: Installation) -> str:
    """What the supervisor has logged: that it never failed."""
    log = (zmws.root / "logs" / "supervisor.txt").read_text()
    assert "Traceback" not in log, log
    return log


# ------------------------------------------------------------ reload and scale in each other's way


ONE_ALONE = """
import os, pathlib, time
try:
    os.mkdir("first")
except FileExistsError:
    os._exit(3)
while not pathlib.Path("go").exists():
    time.sleep(0.02)
"""


def test_new_code_takes_the_place_of_a_process_that_dies_meanwhile(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py"), more=QUICK) as zmws:
        says(zmws, "old")
        assert zmws.run("start").code == 0
        says(zmws, "new", ONE_ALONE)
        reload = zmws.popen("reload", stdout=subprocess.PIPE)
        wait_until((tmp_path / "first").exists, what="the new process")
        os.kill(zmws.pids()["says"], signal.SIGKILL)
        wait_until(lambda: row(zmws, "says")["state"] in ("backoff", "fatal"), 20, "the old one to be tried")
        (tmp_path / "go").touch()
        assert reload.communicate(timeout=40)[0] == b"rolled: says\n" and reload.returncode == 0
        assert zmws.run("call", "SAYS").out == "new\n" and zmws.run("status").code == 0
        no_fault(zmws)


def test_a_scale_and_a_second_reload_during_a_reload_are_each_done(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py", 2), more=QUICK) as zmws:
        says(zmws, "old")
        assert zmws.run("start").code == 0
        says(zmws, "new", SLOW)
        first = zmws.popen("reload", stdout=subprocess.PIPE)
        wait_until(lambda: "says_00~new" in zmws.pids(), what="the second process")
        second = zmws.popen("reload", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        scaled = zmws.run("scale", "says=1")
        assert scaled.code == 0 and scaled.out == "stopped: says_01\n", scaled
        (tmp_path / "go").touch()
        assert first.communicate(timeout=40)[0] == b"rolled: says_00\n" and first.returncode == 0
        told = second.communicate(timeout=40)
        assert second.returncode == 0 and b"ready: says_01" in told[0], (
            told
        )  # the counts of the file hold again
        assert zmws.pids().keys() == {"broker", "says_00", "says_01"}
        no_fault(zmws)


def test_a_copy_that_is_stopping_and_wanted_again_ends_both_commands(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py", 2), more=QUICK) as zmws:
        says(zmws, "x")
        assert zmws.run("start").code == 0
        for down, up in ((("stop", "says"), ("start", "says")), (("scale", "says=0"), ("scale", "says=2"))):
            jobs = [zmws.run("submit", "SAYS", "-", stdin="1.5").out.strip() for _ in range(2)]
            wait_until(lambda: zmws.run("jobs", "--state", "running", "--json").json()["jobs"].__len__() == 2)
            going = zmws.popen(*down, stdout=subprocess.PIPE)
            wait_until(lambda: row(zmws, "says_00")["state"] == "stopping", what="it to be told")
            assert zmws.run(*up).code == 0
            assert going.communicate(timeout=20)[0].count(b"stopped: says_0") == 2 and going.returncode == 0
            for job in jobs:
                assert zmws.run("job", "wait", job, "--timeout", "20").code == 0
        no_fault(zmws)


def test_what_was_stopped_is_not_started_in_part_by_a_reload(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("says", "says.py", 2)) as zmws:
        says(zmws, "x")
        assert zmws.run("start").code == 0 and zmws.run("stop", "says").code == 0
        zmws.configure(ONE + worker_table("says", "says.py", 3))
        assert zmws.run("reload").out == "nothing has changed\n"
        assert zmws.pids().keys() == {"broker", "reverse"}


@pytest.mark.parametrize("how", ["link", "mtime"])
def test_a_deployment_that_keeps_the_times_of_files_is_seen_and_so_is_going_back(
    tmp_path: Path, how: str
) -> None:
    with installation(tmp_path, "") as zmws:
        for what in ("one", "three"):
            (tmp_path / what).mkdir()
            (tmp_path / what / "says.py").write_text(SAYS.format(what=what))
        old = time.time() - 1000
        for what in ("one", "three"):
            os.utime(tmp_path / what / "says.py", (old, old))

        def deploy(what: str) -> None:
            if how == "link":
                (tmp_path / "new").symlink_to(what)
                (tmp_path / "new").replace(tmp_path / "current")
            else:
                (tmp_path / "current").mkdir(exist_ok=True)
                shutil.copy2(tmp_path / what / "says.py", tmp_path / "current" / "new")
                (tmp_path / "current" / "new").replace(tmp_path / "current" / "says.py")

        deploy("one")
        zmws.configure(worker_table("says", "current/says.py"))
        assert zmws.run("start").code == 0
        for what in ("three", "one"):
            deploy(what)
            assert "runs older code" in zmws.run("status").err
            assert zmws.run("reload").out == "rolled: says\n"
            assert zmws.run("call", "SAYS").out == f"{what}\n"
        assert zmws.run("reload").out == "nothing has changed\n"


# ------------------------------------------------------------ stopping


def test_a_second_stop_hurries_the_first_and_a_copy_that_leaves_slowly_stops_nobody(tmp_path: Path) -> None:
    table = SCALED + "count = { min = 0, max = 2, target_wait = 0.2, down_after = 1 }\n"
    with installation(tmp_path, table, more=QUICK) as zmws:
        # It takes its time to leave: longer than a look at the broker, and longer than a stop may take.
        says(zmws, "x", "import atexit, time, signal\natexit.register(time.sleep, 60)\n")
        assert zmws.run("start").code == 0
        assert zmws.run("call", "SAYS", "--timeout", "20").out == "x\n"
        log = tmp_path / "logs" / "supervisor.txt"
        wait_until(lambda: "says_00 is to stop" in log.read_text(), 20, "it to be scaled down")
        assert zmws.run("call", "SAYS", "--timeout", "20").out == "x\n", "another does it"
        first = zmws.popen("stop", "--wait", "1h", stdout=subprocess.DEVNULL)
        began = time.monotonic()
        assert zmws.run("stop", "--wait", "0.5").code == 0
        assert first.wait(10) == 0 and time.monotonic() - began < 15
        assert processes_in(tmp_path) == [] and supervisor_of(tmp_path) is None
        no_fault(zmws)


def test_a_stop_ends_what_jobs_have_left_behind(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("leaves", "leaves.py")) as zmws:
        (tmp_path / "leaves.py").write_text(
            "import subprocess\nfrom zmws import worker\n\n"
            "@worker('LEAVES')\ndef leaves() -> int:\n    return subprocess.Popen(['sleep', '600']).pid\n"
        )
        for kept in (True, False):
            assert zmws.run("start").code == 0
            pid = int(zmws.run("call", "LEAVES").out)
            if not kept:
                kill_supervisor(tmp_path)
            assert pid in processes_in(tmp_path) and zmws.run("stop").code == 0
            assert processes_in(tmp_path) == []


def test_signals_that_were_blocked_are_not_for_those_that_are_started(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        block = "import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 15})\n"
        block += "os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", block, *ZMWS, "start"]
        assert subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True).returncode == 0
        assert zmws.run("stop").out.splitlines() == ["stopped: reverse", "stopped: broker"]


# ------------------------------------------------------------ other addresses, other files


@pytest.mark.timed
def test_a_healthy_broker_is_watched_where_it_is_whatever_others_say(tmp_path: Path) -> None:
    with installation(tmp_path, ONE, more=QUICK) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()
        elsewhere = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        assert zmws.run("scale", "reverse=1", ZMWS_BROKER_CLIENT=elsewhere).code == 0
        file = tmp_path / "etc" / "zmws.toml"
        text = file.read_text()
        file.write_text(text.replace(zmws.client, elsewhere))
        told = zmws.run("reload")
        assert told.code == 0 and "the broker's settings have changed" in told.err
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 5.0, what="longer than a broker may be silent")
        assert zmws.pids() == before
        file.write_text(text)
        assert zmws.run("status").code == 0
        assert "killed" not in no_fault(zmws)


def test_a_settings_file_that_is_being_edited_keeps_nothing_from_starting_again_or_stopping(
    tmp_path: Path,
) -> None:
    with installation(tmp_path, ONE, more=QUICK) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()
        file = tmp_path / "etc" / "zmws.toml"
        file.write_text(file.read_text() + "\n[[workers\n")
        for name in ("broker", "reverse"):
            os.kill(before[name], signal.SIGKILL)
        wait_until(lambda: not {*zmws.pids().values()} & {*before.values()}, what="both to be started again")
        status = zmws.run("status")
        assert "this is not TOML" in status.err and "with the settings of before" in status.err
        wait_until(lambda: zmws.run("status").code == 0, what="both to be ready")
        assert zmws.run("call", "STR-REV", "str=ab", "--broker", zmws.client).out == "ba\n"
        assert zmws.run("reload").code == 2 and zmws.run("start").code == 2
        assert zmws.run("stop").out.splitlines() == ["stopped: reverse", "stopped: broker"]


@pytest.mark.parametrize("what", ["supervisor.sock", "*"])
def test_what_is_removed_from_run_is_made_anew(tmp_path: Path, what: str) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        before, supervisor = zmws.pids(), supervisor_of(tmp_path)
        for file in (tmp_path / "run").glob(what):
            if "settings" not in file.name:
                file.unlink()
        wait_until((tmp_path / "run" / "supervisor.sock").exists, what="the socket")
        wait_until(lambda: zmws.pids() == before, what="the numbers")
        assert supervisor_of(tmp_path) == supervisor
        assert zmws.run("status").code == 0 and "already running: broker" in zmws.run("start").out
        assert zmws.run("stop").code == 0 and processes_in(tmp_path) == []


# ------------------------------------------------------------ after its death


def test_the_next_one_knows_what_was_kept_what_was_scaled_and_what_was_about_to_stop(tmp_path: Path) -> None:
    table = worker_table("reverse", "workers/reverse.py", 2) + SCALED + "count = { min = 0, max = 2 }\n"
    table += worker_table("sleep", "workers/sleep.py")
    with installation(tmp_path, table, more=QUICK) as zmws, Client(zmws.client) as client:
        says(zmws, "x")
        assert zmws.run("start").code == 0
        job = client.submit("SLEEP", {"seconds": 3})
        wait_until(lambda: job.status()["state"] == "running")
        stopping = zmws.popen("stop", "sleep")
        wait_until(lambda: row(zmws, "sleep")["state"] == "stopping", what="it to be told")
        kill_supervisor(tmp_path)
        stopping.wait(20)
        os.kill(zmws.pids()["reverse_01"], signal.SIGKILL)
        # Any command, not a start of all.
        assert zmws.run("reload").code == 0
        wait_until(lambda: row(zmws, "reverse_01")["state"] == "running", what="the dead one to be back")
        assert client.call("SAYS", timeout=20) == "x", "a copy is added for it"
        job.result(20)
        wait_until(lambda: "sleep" not in zmws.pids(), what="it to leave")
        status = zmws.run("status", "--json").json()
        assert {one["name"]: one["state"] for one in status["processes"]}["sleep"] == "stopped"
        no_fault(zmws)


def test_one_that_was_taken_over_may_end_at_the_very_moment_of_a_command(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("reverse", "workers/reverse.py", 3), more=QUICK) as zmws:
        assert zmws.run("start").code == 0
        kill_supervisor(tmp_path)
        assert zmws.run("start").code == 0
        supervisor = supervisor_of(tmp_path)
        assert supervisor is not None
        for name in ("reverse_00", "reverse_01", "reverse_02"):
            before = zmws.pids()[name]
            os.kill(supervisor, signal.SIGSTOP)
            os.kill(before, signal.SIGKILL)
            asking = [
                zmws.popen("status", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(3)
            ]
            time.sleep(0.5)  # so that they have connected, and it sees all at once
            os.kill(supervisor, signal.SIGCONT)
            for one in asking:
                one.wait(20)
            another(zmws, name, before)
        assert supervisor_of(tmp_path) == supervisor
        no_fault(zmws)


# ------------------------------------------------------------ workers that come and go


RECYCLES = """
from zmws import WorkerBase

class Says(WorkerBase):
    service_name = "SAYS"
    max_jobs = 1

    def work(self, job_id, params):
        return "done"
"""


def test_who_has_done_enough_before_anybody_has_seen_it_ready_is_not_fatal(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py")) as zmws, Client(zmws.client) as client:
        (tmp_path / "says.py").write_text(RECYCLES)
        assert zmws.run("start").code == 0
        client.submit_many([{"service": "SAYS"} for _ in range(15)])
        wait_until(lambda: client.service("SAYS")["complete"] == 15, 30, "all to be done")
        log = no_fault(zmws)
        assert "fatal" not in log and log.count("has done enough") >= 10
        assert row(zmws, "says")["restarts"] == 0


def test_a_job_that_ends_its_process_with_the_code_of_a_recycle_is_a_death(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py")) as zmws:
        says(zmws, "x", "import os, threading\nthreading.Timer(0.3, os._exit, [75]).start()\n")
        assert zmws.run("start").code == 0
        wait_until(lambda: row(zmws, "says")["restarts"] >= 3, 20, "it to be counted")
        assert "ended with exit code 75; starts again in" in no_fault(zmws)


@pytest.mark.timed
def test_a_worker_that_does_not_come_up_is_not_scaled_up_and_goes_when_nothing_waits(tmp_path: Path) -> None:
    table = SCALED + "count = { min = 0, max = 6, target_wait = 0.2, down_after = 1 }\n"
    with installation(tmp_path, table, more=QUICK) as zmws, Client(zmws.client) as client:
        (tmp_path / "says.py").write_text("import nowhere\n")
        assert zmws.run("start").code == 0
        client.submit("SAYS")
        wait_until(lambda: "do not come up" in zmws.run("status").out, 20, "it to be told")
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 3.0, what="some looks")
        rows = [one["name"] for one in zmws.run("status", "--json").json()["processes"]]
        assert rows == ["broker", "says_00"], rows
        assert client.purge("SAYS") == 1
        wait_until(lambda: "0 copies of 0 to 6" in zmws.run("status").out, 20, "it to go")


def test_one_bad_table_of_a_worker_ends_nothing(tmp_path: Path) -> None:
    with installation(
        tmp_path, ONE + worker_table("says", "says.py") + 'flags = { x = "a\\u0000b" }\n'
    ) as zmws:
        says(zmws, "x")
        told = zmws.run("start")
        assert told.code == 2 and "flag x" in told.err and "Traceback" not in told.err


def test_no_command_ends_it_whatever_is_in_it(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        supervisor = supervisor_of(tmp_path)
        whole = {"config": None, "environ": {}, "timeout_s": 1, "names": [], "servers": True, "workers": True}
        for more in (
            {"verb": "scale", "counts": []},
            {"verb": "scale", "counts": {"reverse": "many"}},
            {"verb": "scale", "counts": {"reverse": 1}, "timeout_s": "x"},
            {"verb": "reload", "names": 7},
            {"verb": "reload", "names": [[]]},
            {"verb": "start", "environ": []},
            {"verb": "start", "environ": {"A": 1}, "names": ["reverse"]},
            {"verb": "start", "timeout_s": None},
            {"verb": "stop", "wait_s": "long"},
            {"verb": "stop", "names": ["nobody"]},
        ):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(tmp_path / "run" / "supervisor.sock"))
                line.settimeout(20)
                line.sendall(json.dumps({**whole, **more}).encode() + b"\n")
                lines = (json.loads(one) for one in iter(line.makefile().readline, ""))
                assert next(one for one in lines if "done" in one or "error" in one), more
        wait_until(lambda: supervisor_of(tmp_path) == supervisor, what="it to go on")
        assert zmws.run("start").code == 0 and zmws.run("stop").code == 0


@pytest.mark.timed
def test_a_terminal_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("reverse", "workers/reverse.py"), more=QUICK) as zmws:
        reading, writing = os.pipe()
        filling = b"x" * 65_536
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, filling)
        except BlockingIOError:
            os.set_blocking(writing, True)
        command = [*ZMWS, "start", "--foreground"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=writing, stdin=subprocess.DEVNULL
        )
        os.close(writing)
        try:
            wait_until(lambda: zmws.run("status").code == 0, 20, "all to be up")
            assert zmws.run("scale", "reverse=3").code == 0
            before = zmws.pids()["reverse_01"]
            os.kill(before, signal.SIGKILL)
            another(zmws, "reverse_01", before)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0 and processes_in(tmp_path) == []
        finally:
            os.close(reading)
            if process.poll() is None:
                process.kill()
                process.wait()
