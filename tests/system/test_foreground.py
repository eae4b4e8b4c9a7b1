"""`zmws start --foreground`: in a terminal, under systemd, and as the first process of a container."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import (
    ONE,
    ZMWS,
    Installation,
    environment,
    installation,
    processes_in,
    supervisor_of,
    worker_table,
)


@contextmanager
def in_foreground(
    zmws: Installation, *before: str, **more: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """It, and the lines that it has written so far."""
    lines: list[str] = []
    process = subprocess.Popen(
        [*before, *ZMWS, "start", "--foreground"],
        cwd=zmws.root,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    reading = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
    reading.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reading.join()
        process.stdout.close()


def test_it_shows_all_logs_and_ctrl_c_stops_all_in_order(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("sleep", "workers/sleep.py")) as zmws:
        with in_foreground(zmws) as (process, lines):
            wait_until(lambda: zmws.run("call", "STR-REV", "str=ab").out == "ba\n", what="an answer")
            assert supervisor_of(tmp_path) == process.pid and zmws.run("status").code == 0
            job = zmws.run("submit", "SLEEP", "seconds:=1").out.strip()
            wait_until(lambda: zmws.run("job", "show", job, "--json").json()["state"] == "running")
            before = zmws.pids()["reverse"]
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: zmws.pids().get("reverse") not in (None, before), what="another")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        assert processes_in(tmp_path) == [] and zmws.pids() == {}
        text = "".join(lines)
        for begins in ("supervisor   | ", "broker       | ", "reverse      | ", "sleep        | "):
            assert f"\n{begins}" in f"\n{text}", text
        assert "\x1b" not in text and "Traceback" not in text, "no colours where no terminal is"
        assert "reverse was ended by SIGKILL; starts again at once" in text
        # What was in hand was finished, and the broker was the last one.
        assert text.index("sleep has stopped") < text.index("broker has stopped")
        assert any(line.startswith("broker ") and line.endswith(": stopped\n") for line in lines)
        assert zmws.run("start", "--servers").code == 0
        assert zmws.run("job", "show", job, "--json").json()["state"] == "complete"


def test_a_second_ctrl_c_gives_back_what_is_in_hand(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py")) as zmws:
        with in_foreground(zmws) as (process, lines):
            wait_until(lambda: zmws.run("services", "--json").out.find("SLEEP") > 0, what="the service")
            job = zmws.run("submit", "SLEEP", "seconds:=60").out.strip()
            wait_until(lambda: zmws.run("job", "show", job, "--json").json()["state"] == "running")
            process.send_signal(signal.SIGINT)
            wait_until(lambda: any("sleep is to stop" in line for line in lines), what="it to be told")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert zmws.run("start", "--servers").code == 0
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["failures"]) == ("waiting", 0)


def test_one_that_is_stopped_from_elsewhere_ends_too_and_there_is_one_only(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws, in_foreground(zmws) as (process, _):
        wait_until(lambda: zmws.run("status").code == 0, what="it to be up")
        second = zmws.run("start", "--foreground")
        assert second.code == 1 and "a supervisor keeps" in second.err
        assert "already running: broker, reverse" in zmws.run("start").out
        assert zmws.run("stop").out.splitlines() == ["stopped: reverse", "stopped: broker"]
        assert process.wait(10) == 0


def test_where_nothing_comes_up_and_nothing_is_tried_again_it_ends_and_says_so(tmp_path: Path) -> None:
    more = "[supervisor]\ngive_up = true\nstart_retries = 2\n"
    with installation(tmp_path, "", broker="", more=more + "[store]\nurl = 'sqlite:no/such.db'\n") as zmws:
        with in_foreground(zmws) as (process, lines):
            assert process.wait(20) == 1
        text = "".join(lines)
        assert "broker is fatal: 2 times it ended with exit code 1; it is not tried again" in text, text
        assert "nothing comes up, and nothing is tried again" in text


def test_logs_of_json_are_shown_as_they_are(tmp_path: Path) -> None:
    with installation(tmp_path, ONE, more='[logs]\nformat = "json"\n') as zmws:
        with in_foreground(zmws) as (process, lines):
            wait_until(lambda: zmws.run("status").code == 0, what="it to be up")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert lines and all(line.startswith('{"at": "') for line in lines), lines


def test_systemd_is_told_when_all_is_ready_that_it_is_alive_and_how_long_a_stop_may_take(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, installation(tmp_path, ONE) as zmws:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(20)
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with in_foreground(zmws, **more) as (process, _):
            said = [told.recv(200).decode()]
            while said[-1] != "READY=1":
                said.append(told.recv(200).decode())
            assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n" and "WATCHDOG=1" in {
                told.recv(200).decode()
            }
            process.send_signal(signal.SIGTERM)
            while not said[-1].startswith("STOPPING=1"):
                said.append(told.recv(200).decode())
            assert said[-1].partition("EXTEND_TIMEOUT_USEC=")[2] == "90000000"
            assert process.wait(20) == 0


LEAVES = """
import subprocess, sys
from zmws import WorkerBase

class Leaves(WorkerBase):
    service_name = "LEAVES"

    def work(self, job_id, params):
        # A daemon of its own session: its parent goes, and the first process has it.
        fork = "if os.fork(): os._exit(0)\\n"
        daemon = f"import os, time\\n{fork}os.setsid()\\n{fork}time.sleep(0.3)"
        subprocess.run([sys.executable, "-c", daemon])
        return "left"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a namespace of processes")
def test_as_the_first_process_of_a_container_it_leaves_no_zombie_and_sigterm_stops_all(
    tmp_path: Path,
) -> None:
    with installation(tmp_path, worker_table("leaves", "leaves.py")) as zmws:
        (tmp_path / "leaves.py").write_text(LEAVES)
        alone = ("unshare", "--pid", "--kill-child", "--mount-proc", "--")
        with in_foreground(zmws, *alone) as (process, lines):
            wait_until(lambda: zmws.run("call", "LEAVES", "--timeout", "1").out == "left\n", 20, "an answer")
            assert (tmp_path / "run" / "supervisor.pid").read_text() == "1\n"
            for _ in range(3):
                assert zmws.run("call", "LEAVES").out == "left\n"
            first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
            before = int((tmp_path / "run" / "leaves.pid").read_text())

            def children() -> list[str]:
                """The states of the first process's children."""
                states = []
                for number in Path(f"/proc/{first}/task/{first}/children").read_text().split():
                    with suppress(FileNotFoundError, ProcessLookupError):  # gone since it was listed
                        stat = Path(f"/proc/{number}/stat").read_text()
                        states.append(stat.rpartition(")")[2].split()[0])
                return states

            wait_until(lambda: len(children()) == 2 and "Z" not in children(), what="no zombie to be left")
            job = zmws.run("submit", "LEAVES").out.strip()
            assert zmws.run("job", "wait", job).code == 0 and before
            os.kill(int(first), signal.SIGTERM)
            assert process.wait(30) == 0
        assert processes_in(tmp_path) == [] and "broker has stopped" in "".join(lines)
