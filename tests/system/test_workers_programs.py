"""Programs that work() has started: what ends a worker ends them, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import Installation, installation, processes_in, worker_table

PARENT = """
import subprocess, sys, time
from zmws import WorkerBase


class Parent(WorkerBase):
    service_name = "PARENT"

    def work(self, job_id, params):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        subprocess.Popen([sys.executable, "-c", "import os, time; os.setpgid(0, 0); time.sleep(600)"])
        open("begun", "w").close()
        time.sleep(600)
"""


def _with_programs(zmws: Installation) -> int:
    """A worker whose job has started two programs: its number."""
    root = zmws.root
    (root / "parent.py").write_text(PARENT)
    assert zmws.run("start").code == 0
    assert zmws.run("submit", "PARENT").code == 0
    wait_until(lambda: (root / "begun").exists() and len(processes_in(root)) == 4, what="the programs")
    return zmws.pids()["parent"]


def test_a_worker_that_gives_its_job_back_takes_along_what_it_started(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("parent", "parent.py")) as zmws:
        _with_programs(zmws)
        stopped = zmws.run("stop", "--wait", "0.5")
        assert "stopped: parent" in stopped.out and "stopped: broker" in stopped.out
        assert processes_in(tmp_path) == []


@pytest.mark.parametrize("verb", ["stop", "start"])
def test_what_a_worker_left_that_was_killed_by_hand_is_ended(tmp_path: Path, verb: str) -> None:
    with installation(tmp_path, worker_table("parent", "parent.py")) as zmws:
        parent = _with_programs(zmws)
        (tmp_path / "begun").unlink()
        left = set(processes_in(tmp_path)) - set(zmws.pids().values())
        zmws.kill_supervisor()  # which would do it at once
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: parent not in processes_in(tmp_path), what="the worker to be gone")
        assert left < set(processes_in(tmp_path))
        ended = zmws.run(verb)
        told = ended.err if verb == "stop" else (tmp_path / "logs" / "supervisor.txt").read_text()
        assert ended.code == 0 and "ended 2 processes that parent had left" in told, (ended, told)
        assert not left & set(processes_in(tmp_path))


def test_a_strangers_processes_in_a_group_of_that_number_are_left_alone(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        # A daemon leads no session: who made the session has ended. Its number was a worker's of ours once.
        daemon = "import os, time\nif os.fork(): os._exit(0)\ntime.sleep(600)"
        leader = subprocess.Popen([sys.executable, "-c", daemon], start_new_session=True, cwd=tmp_path)
        assert leader.wait(10) == 0
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old.pid").write_text(f"{leader.pid}\n")
        (tmp_path / "run" / "old.json").write_text(json.dumps({"pid": leader.pid, "began": "1"}))
        assert zmws.run("stop").out == "nothing is running\n"
        (stranger,) = processes_in(tmp_path)
        assert os.getsid(stranger) == leader.pid


def test_ctrl_c_in_start_ends_the_programs_too(tmp_path: Path) -> None:
    program = "import subprocess, sys, time\n"
    program += "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    with installation(tmp_path, worker_table("slow", "slow.py")) as zmws:
        (tmp_path / "slow.py").write_text(deaf + program + "time.sleep(600)\n")
        process = zmws.popen("start", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        wait_until(lambda: len(processes_in(tmp_path)) == 4, what="the worker's program to be started")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert processes_in(tmp_path) == [] and zmws.pids() == {}
