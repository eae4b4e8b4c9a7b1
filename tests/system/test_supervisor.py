"""Real processes under the supervisor: what dies comes back, what cannot is told, its death costs nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.system.installation import (
    ONE,
    Installation,
    installation,
    kill_supervisor,
    processes_in,
    supervisor_of,
    worker_table,
)
from zmws.supervisor.door import Asked


def row(zmws: Installation, name: str) -> dict[str, Any]:
    (found,) = [one for one in zmws.run("status", "--json").json()["processes"] if one["name"] == name]
    return dict(found)


def another(zmws: Installation, name: str, before: int) -> int:
    """Wait until this one has another process that runs; its number."""

    def there() -> bool:
        now = zmws.pids().get(name)
        return now is not None and now != before and row(zmws, name)["state"] == "running"

    wait_until(there, what=f"{name} to be started again")
    return zmws.pids()[name]


def test_what_is_killed_comes_back_and_says_how_it_ended(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("sleep", "workers/sleep.py", 2)) as zmws:
        assert zmws.run("start").code == 0
        pids = zmws.pids()
        job = zmws.run("submit", "SLEEP", "seconds:=1", "--retries", "3").out.strip()
        for name in ("reverse", "broker", "sleep_01"):
            os.kill(pids[name], signal.SIGKILL)
            another(zmws, name, pids[name])
        assert zmws.run("status").code == 0 and zmws.pids()["sleep_00"] == pids["sleep_00"]
        assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n"
        assert zmws.run("job", "wait", job, "--timeout", "30").code == 0
        told = row(zmws, "reverse")
        assert (told["restarts"], told["last_exit"]["signal"], told["adopted"]) == (1, "SIGKILL", False)
        assert told["last_exit"]["peak_memory_bytes"] > 1 << 20
        said = zmws.run("status").err
        assert "zmws: reverse was ended by SIGKILL, " in said and "MiB of memory at most;" in said, said
        assert "      it was started again once in 10 minutes" in said, said
        log = (tmp_path / "logs" / "supervisor.txt").read_text()
        assert "reverse was ended by SIGKILL; starts again at once; the end of" in log, log
        assert zmws.run("stop").code == 0 and supervisor_of(tmp_path) is None
        assert processes_in(tmp_path) == [] and not (tmp_path / "run" / "supervisor.sock").exists()


def test_who_ends_by_a_signal_that_we_did_not_send_comes_back_too(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()["reverse"]
        os.kill(before, signal.SIGTERM)
        another(zmws, "reverse", before)


RECYCLES = """
import os
from zmws import WorkerBase

class Recycles(WorkerBase):
    service_name = "RECYCLES"
    max_jobs = 1

    def work(self, job_id, params):
        return os.getpid()
"""


def test_who_has_done_enough_is_started_anew_at_once_and_no_failure_is_counted(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("recycles", "recycles.py")) as zmws:
        (tmp_path / "recycles.py").write_text(RECYCLES)
        assert zmws.run("start").code == 0
        pids = {zmws.run("call", "RECYCLES", "--timeout", "20").out for _ in range(4)}
        assert len(pids) == 4
        wait_until(lambda: row(zmws, "recycles")["state"] == "running", what="the last one to be up")
        assert row(zmws, "recycles")["restarts"] == 0
        assert "has done enough, and starts anew" in (tmp_path / "logs" / "supervisor.txt").read_text()


def test_who_was_drained_stays_away_until_it_is_started(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()["reverse"]
        assert zmws.run("workers", "drain", "--service", "STR-REV").code == 0
        wait_until(lambda: row(zmws, "reverse")["state"] == "stopped", what="it to leave")
        assert zmws.run("status").code == 0 and before not in processes_in(tmp_path)
        assert "started: reverse" in zmws.run("start").out


BROKEN = "import nowhere_to_be_found\n"


@pytest.mark.timed
def test_who_never_comes_up_is_fatal_with_its_reason_costs_little_and_leaves_others_alone(
    tmp_path: Path,
) -> None:
    with installation(tmp_path, ONE + worker_table("bad", "bad.py")) as zmws:
        (tmp_path / "bad.py").write_text(BROKEN)
        started = zmws.run("start")
        assert started.code == 1 and "started: broker, reverse" in started.out
        assert "zmws: bad ended with exit code 2" in started.err
        assert "No module named 'nowhere_to_be_found'" in started.err
        assert "not ready: bad" in started.err
        pid = zmws.pids()["reverse"]
        told = row(zmws, "bad")
        assert (told["state"], told["last_exit"]["code"]) == ("fatal", 2) and told["next_try_s"] > 5
        supervisor = supervisor_of(tmp_path)
        ticks = lambda: sum(map(int, Path(f"/proc/{supervisor}/stat").read_text().split()[13:17]))  # noqa: E731
        before, began = ticks(), time.monotonic()
        wait_until(lambda: time.monotonic() - began > 3.0, what="three seconds")
        used_s = (ticks() - before) / os.sysconf("SC_CLK_TCK")
        assert used_s / (time.monotonic() - began) < 0.05, "with what its children have used"
        # It is tried again by itself, and comes up when it can.
        (tmp_path / "bad.py").write_text((tmp_path / "workers" / "slug.py").read_text())
        wait_until(lambda: row(zmws, "bad")["state"] == "running", timeout_s=30, what="it to come up")
        assert zmws.run("status").code == 0 and zmws.pids()["reverse"] == pid


POISON = """
import os
from zmws import WorkerBase

class Poison(WorkerBase):
    service_name = "POISON"

    def work(self, job_id, params):
        if params == "die":
            os._exit(7)
        return "well"
"""


@pytest.mark.timed
def test_a_poison_job_ends_after_its_retries_and_the_service_is_back_each_time(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("poison", "poison.py", 4)) as zmws:
        (tmp_path / "poison.py").write_text(POISON)
        assert zmws.run("start").code == 0
        job = zmws.run("submit", "POISON", "-", "--retries", "3", stdin='"die"').out.strip()
        assert zmws.run("job", "wait", job, "--timeout", "30").code == 1
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["attempt"], record["failures"]) == ("failed", 4, 4)
        began = time.monotonic()
        assert zmws.run("call", "POISON", "-", stdin='"live"').out == "well\n"
        wait_until(
            lambda: [row(zmws, f"poison_0{n}")["state"] for n in range(4)] == ["running"] * 4,
            what="all four to be back",
        )
        assert time.monotonic() - began < 3.0
        assert zmws.run("status").code == 0


# ------------------------------------------------------------ its own death


def test_its_death_costs_nobody_and_the_next_one_takes_over_what_lives(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py", 2)) as zmws:
        assert zmws.run("start").code == 0
        pids = zmws.pids()
        job = zmws.run("submit", "SLEEP", "seconds:=2").out.strip()
        kill_supervisor(tmp_path)
        status = zmws.run("status")
        assert status.code == 0 and "no supervisor runs: what dies stays dead" in status.err
        os.kill(pids["sleep_01"], signal.SIGKILL)
        started = zmws.run("start")
        assert started.code == 0, started.err
        assert "already running: broker, sleep_00" in started.out and "started: sleep_01" in started.out
        assert {name: pid for name, pid in zmws.pids().items() if name != "sleep_01"} == {
            name: pid for name, pid in pids.items() if name != "sleep_01"
        }
        assert row(zmws, "sleep_00")["adopted"] and "taken over from" in zmws.run("status").out
        assert zmws.run("job", "wait", job, "--timeout", "30").code == 0
        # It knows of their end as of its own children's, and starts them again.
        for name in ("sleep_00", "broker"):
            os.kill(pids[name], signal.SIGKILL)
            another(zmws, name, pids[name])
            assert not row(zmws, name)["adopted"]
        assert zmws.run("stop").out.splitlines()[-1] == "stopped: broker"
        assert processes_in(tmp_path) == [] and zmws.pids() == {}


def test_stop_needs_no_supervisor(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        kill_supervisor(tmp_path)
        assert zmws.run("stop").out.splitlines() == ["stopped: reverse", "stopped: broker"]
        assert processes_in(tmp_path) == []


def test_one_that_is_told_to_end_stops_all_in_order(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("sleep", "workers/sleep.py")) as zmws:
        assert zmws.run("start").code == 0
        job = zmws.run("submit", "SLEEP", "seconds:=1").out.strip()
        wait_until(lambda: zmws.run("job", "show", job, "--json").json()["state"] == "running")
        supervisor = supervisor_of(tmp_path)
        assert supervisor is not None
        os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: supervisor_of(tmp_path) is None, timeout_s=30, what="the supervisor to end")
        assert processes_in(tmp_path) == [] and zmws.pids() == {}
        assert zmws.run("start", "--servers").code == 0
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["attempt"]) == ("complete", 1)


def test_one_that_hangs_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        supervisor = supervisor_of(tmp_path)
        assert supervisor is not None
        os.kill(supervisor, signal.SIGSTOP)
        try:
            monkeypatch.setattr("zmws.supervisor.door.SILENCE_S", 0.2)
            asked = Asked(tmp_path / "run", {"verb": "status"})
            with pytest.raises(Exception, match=rf"the supervisor \(process {supervisor}\) does not answer"):
                list(asked.answers())
            asked.close()
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert zmws.run("status").code == 0


# ------------------------------------------------------------ its socket


def test_its_socket_is_its_owners_alone_and_bears_what_is_no_command(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        path = tmp_path / "run" / "supervisor.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for sent in (
            b"\xff\x00\n",
            b"[]\n",
            b"{}\n",
            b"[" * 100_000 + b"\n",
            b'{"verb": "stop"}\n',
            b'{"verb": "start"}\n',
            b'{"verb": "start", "environ": 7, "config": 7, "names": 7}\n',
            b'{"verb": ["stop"], "names": null}\n',
            b'{"cancel": true}\n{"verb": "fly"}\n',
            b"x" * (5 << 20) + b"\n",
        ):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(path))
                line.settimeout(10)
                try:
                    line.sendall(sent)
                    answer = json.loads(line.makefile().readline())
                except (BrokenPipeError, ConnectionResetError):
                    continue  # cut off while it was sending
                assert "error" in answer, (sent[:40], answer)
        gone = socket.socket(socket.AF_UNIX)
        gone.connect(str(path))
        gone.close()
        assert zmws.run("status").code == 0 and zmws.run("stop").code == 0


def test_a_folder_of_any_length_has_one(tmp_path: Path) -> None:
    root = tmp_path / ("long" * 30) / ("longer" * 20)
    root.mkdir(parents=True)
    with installation(root, ONE) as zmws:
        assert zmws.run("start").code == 0
        assert zmws.run("status").code == 0 and supervisor_of(root) is not None
        assert zmws.run("stop").code == 0 and supervisor_of(root) is None


def test_many_starts_at_once_have_one_supervisor(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        many = [zmws.popen("start", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
        told = [(one.communicate(timeout=60), one.returncode) for one in many]
        assert [code for _, code in told] == [0] * 5, told
        assert sorted(processes_in(tmp_path)) == sorted(zmws.pids().values())


def test_each_start_hands_on_its_own_environment(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("tells", "tells.py")) as zmws:
        (tmp_path / "tells.py").write_text(
            "import os\nfrom zmws import worker\n\n"
            "@worker('TELLS')\ndef tells() -> str:\n    return os.environ.get('COLOUR', 'none')\n"
        )
        assert zmws.run("start", COLOUR="red").code == 0
        assert zmws.run("call", "TELLS").out == "red\n"
        assert zmws.run("restart", "tells", COLOUR="blue").code == 0
        assert zmws.run("call", "TELLS").out == "blue\n"
        before = zmws.pids()["tells"]
        os.kill(before, signal.SIGKILL)
        another(zmws, "tells", before)
        assert zmws.run("call", "TELLS").out == "blue\n"


def test_a_start_that_is_killed_leaves_what_it_has_begun(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("slow", "slow.py")) as zmws:
        (tmp_path / "slow.py").write_text(
            "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.05)\n"
            + (tmp_path / "workers" / "reverse.py").read_text()
        )
        starting = zmws.popen("start", stdout=subprocess.DEVNULL)
        wait_until(lambda: "slow" in zmws.pids(), what="the worker's process")
        starting.kill()
        starting.wait()
        (tmp_path / "go").touch()
        wait_until(lambda: row(zmws, "slow")["state"] == "running", what="it to be ready")


# ------------------------------------------------------------ who is killed though its process runs

HOLDS = """
import ctypes, pathlib, signal
from zmws import WorkerBase

class Holds(WorkerBase):
    service_name = "HOLDS"

    def work(self, job_id, params):
        if pathlib.Path("held").exists():
            return "free"
        pathlib.Path("held").touch()
        # In C, with the interpreter's lock, where no signal interrupts it: no thread of Python runs.
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        ctypes.PyDLL(None).sleep(60)
"""
QUICK = "[supervisor]\nsilence_max = 2\ncheck_interval = 0.2\nready_timeout = 20\n"


@pytest.mark.timed
def test_a_worker_whose_job_is_over_and_holds_the_interpreter_is_killed_and_started_again(
    tmp_path: Path,
) -> None:
    more = {"broker": "cancel_grace = 0.5\nheartbeat_interval = 2", "more": QUICK}
    with installation(tmp_path, worker_table("holds", "holds.py"), **more) as zmws:
        (tmp_path / "holds.py").write_text(HOLDS)
        assert zmws.run("start").code == 0
        before = zmws.pids()["holds"]
        job = zmws.run("submit", "HOLDS", "--ttr", "1", "--retries", "2").out.strip()
        assert zmws.run("job", "wait", job, "--timeout", "30").code == 0
        another(zmws, "holds", before)
        log = (tmp_path / "logs" / "supervisor.txt").read_text()
        assert "holds is killed: its job is over and does not end" in log, log
        assert "was killed: its job is over" in row(zmws, "holds")["last_exit"]["text"]


@pytest.mark.timed
def test_a_broker_that_does_not_answer_is_killed_and_started_again(tmp_path: Path) -> None:
    with installation(tmp_path, ONE, more=QUICK) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()["broker"]
        os.kill(before, signal.SIGSTOP)
        wait_until(lambda: zmws.pids().get("broker") not in (None, before), 30, "another broker")
        assert zmws.run("call", "STR-REV", "str=ab", "--timeout", "20").out == "ba\n"
        assert "broker is killed: it has not answered for" in (tmp_path / "logs/supervisor.txt").read_text()


GROWS = """
from zmws import WorkerBase

class Grows(WorkerBase):
    service_name = "GROWS"
    isolate = True

    def work(self, job_id, params):
        if self.job.attempt > 1:
            return "small"
        held = bytearray(300 << 20)
        held[::4096] = b"x" * len(held[::4096])
        import time
        time.sleep(60)
"""


def test_a_copy_with_too_much_in_memory_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    table = worker_table("grows", "grows.py") + 'memory_max = "250 MiB"\n'
    with installation(tmp_path, table, more=QUICK) as zmws:
        (tmp_path / "grows.py").write_text(GROWS)
        assert zmws.run("start").code == 0
        before = zmws.pids()["grows"]
        job = zmws.run("submit", "GROWS", "--retries", "2").out.strip()
        assert zmws.run("job", "wait", job, "--timeout", "40").code == 0
        another(zmws, "grows", before)
        assert "memory_max is 250 MiB" in row(zmws, "grows")["last_exit"]["text"]
