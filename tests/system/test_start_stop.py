"""`zmws start` and `zmws stop`: what runs afterwards, what does not, and what is said."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests import shipped
from tests.peers import REPOSITORY, wait_until
from tests.system.installation import (
    ONE,
    ZMWS,
    environment,
    installation,
    processes_in,
    run,
    worker_table,
)
from zmws.testing import free_ports


def test_start_runs_what_the_file_names_and_stop_leaves_nothing(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("sleep", "workers/sleep.py", 2)) as zmws:
        started = zmws.run("start")
        assert started.code == 0, started.err
        assert "started: broker, reverse, sleep_00, sleep_01" in started.out and "call STR-REV" in started.out
        assert zmws.run("call", "STR-REV", "str=abc").out == "cba\n"  # ready means ready
        pids = zmws.pids()
        assert sorted(processes_in(tmp_path)) == sorted(pids.values())
        for name, pid in pids.items():
            assert (tmp_path / "run" / f"{name}.pid").read_text() == f"{pid}\n"
            assert json.loads((tmp_path / "run" / f"{name}.json").read_text())["pid"] == pid
            assert os.getsid(pid) == pid  # detached from whoever started it

        again = zmws.run("start")
        assert again.code == 0 and "already running: broker, reverse, sleep_00, sleep_01" in again.out
        assert zmws.pids() == pids

        assert zmws.run("stop", "sleep_00").out == "stopped: sleep_00\n"
        assert zmws.run("stop", "sleep").out == "stopped: sleep_01\n"
        assert zmws.run("start", "sleep_01", "--json").json()["started"].keys() == {"sleep_01"}
        assert zmws.run("stop", "--workers").code == 0
        assert set(zmws.pids()) == {"broker"}
        assert zmws.run("start", "--workers").code == 0
        unknown = zmws.run("stop", "slep")
        assert (
            unknown.code == 2
            and "'slep' is no process of this installation; did you mean 'sleep" in unknown.err
        )

        stopped = zmws.run("stop")
        assert stopped.code == 0 and stopped.out.endswith("stopped: broker\n")  # the last one
        assert zmws.pids() == {} and processes_in(tmp_path) == []
        assert zmws.run("stop").out == "nothing is running\n"
        assert zmws.run("stop", "--json").json() == {"stopped": [], "killed": []}
        status = zmws.run("status")
        assert status.code == 3 and "stopped" in status.out and zmws.client in status.err


def test_a_stopping_worker_finishes_its_job(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py")) as zmws:
        assert zmws.run("start").code == 0
        job = zmws.run("submit", "SLEEP", "seconds:=1.5").out.strip()
        assert zmws.run("stop", "--workers").out == "stopped: sleep\n"
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["attempt"]) == ("complete", 1)


def test_a_job_that_does_not_end_in_time_is_given_back_which_is_no_failure(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py")) as zmws:
        assert zmws.run("start").code == 0
        job = zmws.run("submit", "SLEEP", "seconds:=60").out.strip()
        wait_until(lambda: zmws.run("job", "show", job, "--json").json()["state"] == "running")
        stopped = zmws.run("stop", "--workers", "--wait", "0.5")
        assert stopped.code == 0 and stopped.out == "stopped: sleep\n"
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["failures"]) == ("waiting", 0)


HOLDS = """
import ctypes, signal
from zmws import WorkerBase

class Holds(WorkerBase):
    service_name = "HOLDS"

    def work(self, job_id, params):
        open("begun", "w").close()
        # In C, with the interpreter's lock, where no signal interrupts it: no thread of Python runs.
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        ctypes.PyDLL(None).sleep(60)
"""


def test_a_worker_that_cannot_even_give_back_is_killed(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("holds", "holds.py")) as zmws:
        (tmp_path / "holds.py").write_text(HOLDS)
        assert zmws.run("start").code == 0
        assert zmws.run("submit", "HOLDS").code == 0
        wait_until((tmp_path / "begun").exists)
        stopped = zmws.run("stop", "--wait", "0.5")
        assert stopped.code == 0 and "killed: holds" in stopped.out and "stopped: broker" in stopped.out
        assert processes_in(tmp_path) == []


def test_a_stale_pid_file_and_a_reused_number_are_not_ours(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        (tmp_path / "run").mkdir()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
            # The broker of yesterday had the number that a stranger's process has today.
            (tmp_path / "run" / "broker.pid").write_text(f"{stranger.pid}\n")
            about = {"pid": stranger.pid, "began": "1"}
            (tmp_path / "run" / "broker.json").write_text(json.dumps(about))
            assert zmws.run("stop").out == "nothing is running\n"
            assert stranger.poll() is None
            (tmp_path / "run" / "broker.pid").write_text(f"{stranger.pid}\n")
            assert "started: broker" in zmws.run("start").out
            assert zmws.pids()["broker"] != stranger.pid and stranger.poll() is None
            stranger.kill()
        # Killed by hand: its file is stale, and start makes a new one.
        broker = zmws.pids()["broker"]
        zmws.kill_supervisor()
        os.kill(broker, signal.SIGKILL)
        wait_until(lambda: broker not in processes_in(tmp_path), what="the broker to be gone")
        assert zmws.run("status").code == 3
        assert "started: broker" in zmws.run("start").out
        assert zmws.run("stop").code == 0


def test_a_port_that_another_program_has_is_named(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws, socket.create_server(("127.0.0.1", zmws.ports[1])):
        ended = zmws.run("start")
        assert ended.code == 1 and f"broker.worker (tcp://127.0.0.1:{zmws.ports[1]})" in ended.err
        assert processes_in(tmp_path) == [] and zmws.pids() == {}
        foreground = zmws.run("broker")
        assert foreground.code == 2 and "is in use already" in foreground.err
        assert "Traceback" not in foreground.err


def test_a_worker_file_that_is_broken_is_named_with_its_fault(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("bad", "bad.py")) as zmws:
        (tmp_path / "bad.py").write_text("import zmws\n\n1 / 0\n")
        ended = zmws.run("start")
        assert ended.code == 1 and "started: broker" in ended.out
        assert (
            "bad ended with exit code 2" in ended.err and "ZeroDivisionError: division by zero" in ended.err
        )
        assert "bad.py:3: 1 / 0" in ended.err
        assert processes_in(tmp_path) == [zmws.pids()["broker"]]
        status = zmws.run("status")
        assert status.code == 1 and "fatal" in status.out and "exit code 2" in status.err
        (tmp_path / "bad.py").write_text("from zmws import WorkerBase\n")
        assert "it defines no subclass of WorkerBase" in zmws.run("start").err
        for wrong in ("missing.py", "etc/zmws.toml"):
            assert zmws.run("worker", wrong).code == 2


@pytest.mark.timed
def test_workers_without_a_broker_are_not_started(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        began = time.monotonic()
        ended = zmws.run("start", "--workers")
        assert ended.code == 3 and zmws.client in ended.err and len(ended.err.splitlines()) == 1
        assert time.monotonic() - began < 3.0
        assert processes_in(tmp_path) == []
        assert zmws.run("start", "--servers").code == 0
        assert "started: reverse" in zmws.run("start", "--workers").out


def test_a_folder_without_a_settings_file_runs_its_workers(tmp_path: Path) -> None:
    client, worker, news, mdp, http = (f"127.0.0.1:{port}" for port in free_ports(5))
    ports = {
        "ZMWS_BROKER_CLIENT": f"tcp://{client}",
        "ZMWS_BROKER_WORKER": f"tcp://{worker}",
        "ZMWS_BROKER_NEWS": f"tcp://{news}",
        "ZMWS_BROKER_MDP": f"tcp://{mdp}",
        "ZMWS_GATEWAY_HTTP": http,
    }
    with installation(tmp_path, "") as zmws:
        (tmp_path / "etc" / "zmws.toml").unlink()
        # A folder of the program's name must not be taken for the program.
        (tmp_path / "zmws").mkdir()
        started = run("start", cwd=tmp_path, **ports)
        assert started.code == 0, started.err
        assert set(zmws.pids()) == {"broker", "gateway", *shipped.WORKERS}
        assert run("call", "STR-REV", "str=ab", cwd=tmp_path, **ports).out == "ba\n"
        assert run("stop", cwd=tmp_path, **ports).code == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = run("start", "--workers", cwd=empty, **ports)
    assert ended.code == 0 and "nothing to start" in ended.err


def test_one_checkout_serves_two_installations(tmp_path: Path) -> None:
    with installation(tmp_path / "a", ONE) as a, installation(tmp_path / "b", ONE) as b:
        assert a.run("start").code == 0 and b.run("start").code == 0
        assert not set(a.pids().values()) & set(b.pids().values())
        # From anywhere, by the file.
        assert run("stop", "-c", str(a.root / "etc" / "zmws.toml"), cwd=REPOSITORY).code == 0
        assert processes_in(a.root) == [] and a.run("call", "STR-REV", "str=ab").code == 3
        assert b.run("call", "STR-REV", "str=ab").out == "ba\n"
        assert b.run("stop").code == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        (tmp_path / "run").write_text("a file where a folder has to be")
        ended = zmws.run("start")
        assert ended.code == 1 and f"cannot write in {tmp_path}" in ended.err
        assert len(ended.err.splitlines()) == 1


def test_a_folder_of_another_user_is_named() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o555)
        drop = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [*ZMWS, "start"]
        try:
            ended = subprocess.run(
                command, cwd=folder, env=environment(), capture_output=True, timeout=30, **drop
            )
        except PermissionError:
            pytest.skip("another user cannot run this interpreter")
        finally:
            folder.chmod(0o755)
        if b"zmws:" not in ended.stderr:
            pytest.skip("another user cannot read this checkout")
        assert ended.returncode == 1 and f"cannot write in {folder}".encode() in ended.stderr


def test_ctrl_c_in_start_stops_what_was_started(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("slow", "slow.py")) as zmws:
        slow = "import time\ntime.sleep(60)\n"
        (tmp_path / "slow.py").write_text(slow)
        process = zmws.popen("start", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        wait_until(lambda: "slow" in zmws.pids(), what="the worker to be started")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert b"stopping what was started: broker, slow" in err
        assert b"Traceback" not in err
        assert processes_in(tmp_path) == [] and zmws.pids() == {}


def test_a_broker_in_the_foreground_ends_with_sigterm(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        process = zmws.popen("broker", stderr=subprocess.PIPE)
        wait_until(lambda: zmws.run("services").code == 0, what="the broker to answer")
        status = zmws.run("status", "--json")
        (row,) = status.json()["processes"]
        assert (status.code, row["state"], row["pid"]) == (0, "running", process.pid)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 0 and b"Traceback" not in err
        assert zmws.run("broker", "--set", "frames").code == 2
        assert zmws.run("broker", "--set", "broker.frames=1").code == 2


def test_two_starts_at_once_do_not_start_twice(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        both = [zmws.popen("start", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        told = [(process.communicate(timeout=60), process.returncode) for process in both]
        assert 0 in [code for _, code in told], told
        for (_, err), code in told:
            assert code == 0 or b"is at work in" in err, err
        assert sorted(processes_in(tmp_path)) == sorted(zmws.pids().values())


# ------------------------------------------------------------ SIGHUP: the terminal has gone


def test_sighup_lets_a_worker_finish_its_job_and_the_broker_say_that_it_stops(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py")) as zmws:
        assert zmws.run("start").code == 0
        job = zmws.run("submit", "SLEEP", "seconds:=1.5").out.strip()
        wait_until(
            lambda: zmws.run("job", "show", job, "--json").json()["state"] == "running", what="a start"
        )
        pids = zmws.pids()
        os.kill(pids["sleep"], signal.SIGHUP)
        wait_until(lambda: pids["sleep"] not in processes_in(tmp_path), what="the worker to end")
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["attempt"]) == ("complete", 1)
        assert "SIGHUP" in (tmp_path / "logs" / "sleep.txt").read_text()
        assert zmws.run("stop").code == 0
        # One in the foreground; one with a log file goes on (tests/test_log_file.py).
        broker = zmws.popen("broker", stderr=subprocess.PIPE)
        wait_until(lambda: zmws.run("services").code == 0, what="the broker to answer")
        broker.send_signal(signal.SIGHUP)
        _, said = broker.communicate(timeout=20)
        assert b"SIGHUP" in said and said.endswith(b"stopped\n")


def test_who_was_started_to_outlive_the_terminal_does(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        # As `nohup zmws broker` does it: the signal is ignored from before.
        ignore = "import os, signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        ignore += "os.execv(sys.argv[1], sys.argv[1:])"
        started = [
            subprocess.Popen([sys.executable, "-c", ignore, *ZMWS, *part], cwd=tmp_path, env=environment())
            for part in (["broker"], ["worker", "workers/reverse.py"])
        ]
        wait_until(
            lambda: zmws.run("call", "STR-REV", "str=ab", "--timeout", "1").code == 0, what="both to be up"
        )
        for one in started:
            one.send_signal(signal.SIGHUP)
        assert zmws.run("call", "STR-REV", "str=ab", "--timeout", "10").out == "ba\n"
        for one in reversed(started):
            one.terminate()
            assert one.wait(20) == 0


# ------------------------------------------------------------ what `start` says of what ended at once


def test_a_start_that_fails_quotes_this_life_alone_and_says_how_it_ended(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("bad", "bad.py")) as zmws:
        (tmp_path / "logs").mkdir()
        for name in ("bad", "broker"):
            (tmp_path / "logs" / f"{name}.txt").write_text("ValueError: of yesterday\n" * 3)
        (tmp_path / "bad.py").write_text("import os, sys\nsys.stderr.write('of today\\n')\nos._exit(7)\n")
        ended = zmws.run("start")
        assert ended.code == 1 and "bad ended with exit code 7" in ended.err, ended.err
        assert "of today" in ended.err and "of yesterday" not in ended.err
        assert zmws.run("stop").code == 0
        (tmp_path / "bad.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
        ended = zmws.run("start")
        assert "bad was ended by SIGSEGV" in ended.err, ended.err
        assert f"it wrote nothing to {tmp_path}/logs/bad.txt" in ended.err and "yesterday" not in ended.err
        assert zmws.run("stop").code == 0
        # The broker too.
        (tmp_path / "elsewhere").write_text("")
        ended = zmws.run("start", "--servers", ZMWS_STORE_URL="sqlite:elsewhere/zmws.db")
        assert "broker ended with exit code 1" in ended.err and "yesterday" not in ended.err
        assert str(tmp_path / "elsewhere") in ended.err
        assert processes_in(tmp_path) == []


# ------------------------------------------------------------ a process that cannot be recorded


@pytest.mark.parametrize("name", ["broker", "reverse"])
def test_what_cannot_be_recorded_is_ended_again_and_that_is_said(tmp_path: Path, name: str) -> None:
    with installation(tmp_path, ONE) as zmws:
        (tmp_path / "run" / f"{name}.new").mkdir(parents=True)  # a folder in the place of the file
        ended = zmws.run("start")
        assert ended.code == 1 and "Traceback" not in ended.err, ended.err
        assert f"{name} cannot be started" in ended.err and f"run/{name}.new" in ended.err
        assert name not in zmws.pids() and sorted(processes_in(tmp_path)) == sorted(zmws.pids().values())
        (tmp_path / "run" / f"{name}.new").rmdir()
        assert zmws.run("start").code == 0


def test_a_pid_file_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        (tmp_path / "run" / "reverse.pid").mkdir(parents=True)
        for verb in ("start", "stop", "status"):
            ended = zmws.run(verb)
            assert "Traceback" not in ended.err and ended.code in (1, 3), ended.err
        assert "run/reverse.pid" in zmws.run("start").err
        assert processes_in(tmp_path) == []


def test_a_stop_whose_reader_has_gone_stops_everything(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        reading, writing = os.pipe()
        os.close(reading)
        stop = subprocess.run([*ZMWS, "stop"], cwd=tmp_path, env=environment(), stdout=writing, timeout=60)
        os.close(writing)
        assert (stop.returncode, processes_in(tmp_path)) == (141, [])
