"""`zmws reload` and `zmws scale` over real processes: what changes, and that no caller notices."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import (
    ONE,
    Installation,
    installation,
    kill_supervisor,
    processes_in,
    worker_table,
)
from zmws.client.synchronous import Client
from zmws.errors import ZmwsError

SAYS = """
import time
from zmws import WorkerBase

class Says(WorkerBase):
    service_name = "SAYS"

    def work(self, job_id, params):
        time.sleep(0.005)
        return "{what}"
"""


VERSIONS = itertools.count(1)


def says(zmws: Installation, what: str, before: str = "") -> None:
    """Write its file. Each is of another size: Python takes the compiled file of before for one of the same
    size and of the same second."""
    text = before + SAYS.format(what=what) + "#" * next(VERSIONS)
    (zmws.root / "says.py").write_text(text)


def settled(zmws: Installation) -> None:
    """Nothing is left of a roll."""
    assert sorted(processes_in(zmws.root)) == sorted(zmws.pids().values())
    assert not [name for name in zmws.pids() if "~" in name]


@pytest.mark.timed
def test_a_roll_to_new_code_fails_no_call_and_has_every_copy_changed(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py", 2)) as zmws:
        says(zmws, "old")
        assert zmws.run("start").code == 0
        before = zmws.pids()
        stop, wrong, answers = threading.Event(), [], set()
        with Client(zmws.client) as client:

            def call_on_and_on() -> None:
                flying = []
                while not stop.is_set():
                    flying.append(client.call_future("SAYS", None, timeout=30))  # 200 a second
                    time.sleep(0.005)
                    while flying and flying[0].done():
                        landed(flying.pop(0))
                for one in flying:
                    landed(one)

            def landed(one: object) -> None:
                try:
                    answers.add(one.result(30))  # type: ignore[attr-defined]
                except ZmwsError as fault:
                    wrong.append(fault)

            calling = threading.Thread(target=call_on_and_on)
            calling.start()
            try:
                wait_until(lambda: "old" in answers)
                says(zmws, "new")
                rolled = zmws.run("reload")
                answers.clear()
                wait_until(lambda: "new" in answers)
            finally:
                stop.set()
                calling.join()
        assert rolled.code == 0 and rolled.out.splitlines() == ["rolled: says_00", "rolled: says_01"], rolled
        assert not wrong and answers <= {"new", "old"}
        after = zmws.pids()
        assert after["broker"] == before["broker"] and not {*after.values()} & {
            before["says_00"],
            before["says_01"],
        }
        settled(zmws)
        assert zmws.run("reload").out == "nothing has changed\n"
        named = zmws.run("reload", "says_01")
        assert named.out == "rolled: says_01\n" and zmws.pids()["says_00"] == after["says_00"]


def test_code_that_does_not_come_up_ends_the_roll_and_the_old_goes_on(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py", 2)) as zmws:
        says(zmws, "old")
        assert zmws.run("start").code == 0
        before = zmws.pids()
        (tmp_path / "says.py").write_text("def broken(:\n")
        told = zmws.run("reload")
        assert told.code == 1 and "says_00 ended with exit code 2; the end of" in told.err, told
        assert "SyntaxError" in told.err and "says_01 was not rolled" in told.err
        assert "what ran before goes on" in told.err
        # The supervisor may write of the one that has just ended for a moment.
        wait_until(lambda: zmws.pids() == before, what="the new one to be gone")
        assert zmws.run("call", "SAYS").out == "old\n"
        settled(zmws)
        assert zmws.run("reload", "--json").json()["failed"].keys() == {"says_00", "says_01"}


def test_a_settings_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()
        file = tmp_path / "etc" / "zmws.toml"
        text = file.read_text()
        file.write_text(text + "\n[[workers\n")
        told = zmws.run("reload")
        assert told.code == 2 and "this is not TOML" in told.err and zmws.pids() == before
        file.write_text(text + worker_table("nothing", "nowhere.py"))
        assert zmws.run("reload").code == 2 and zmws.pids() == before
        file.write_text(text)
        assert zmws.run("reload").out == "nothing has changed\n"


def test_what_is_new_starts_what_is_gone_leaves_and_what_was_stopped_stays_so(tmp_path: Path) -> None:
    tables = ONE + worker_table("sleep", "workers/sleep.py", 2) + worker_table("slug", "workers/slug.py")
    with installation(tmp_path, tables) as zmws:
        assert zmws.run("start").code == 0 and zmws.run("stop", "slug").code == 0
        before = zmws.pids()
        zmws.configure(
            worker_table("reverse", "workers/reverse.py")
            + 'env = { COLOUR = "red" }\n'
            + worker_table("slug", "workers/slug.py")
            + worker_table("primes", "workers/primes.py", 2),
        )
        told = zmws.run("reload", "--json").json()
        assert told["started"] == ["primes_00", "primes_01"] and told["rolled"] == ["reverse"]
        assert told["stopped"] == ["sleep_00", "sleep_01"] and told["failed"] == {}
        after = zmws.pids()
        assert after.keys() == {"broker", "reverse", "primes_00", "primes_01"}
        assert after["broker"] == before["broker"] and after["reverse"] != before["reverse"]
        environ = Path(f"/proc/{after['reverse']}/environ").read_bytes()
        assert b"COLOUR=red" in environ.split(b"\0")
        zmws.configure(ONE, broker="frames_max = 128")
        told = zmws.run("reload")
        assert told.code == 0 and "the broker's settings have changed" in told.err
        assert zmws.pids().keys() == {"broker", "reverse"}
        settled(zmws)


def test_a_copy_that_was_fatal_is_tried_anew_by_a_reload(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py")) as zmws:
        (tmp_path / "says.py").write_text("1 / 0\n")
        assert zmws.run("start").code == 1
        says(zmws, "well")
        assert zmws.run("reload").out == "ready: says\n"
        assert zmws.run("call", "SAYS").out == "well\n"


SLOW = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.02)\n"


@pytest.mark.parametrize("moment", ["new", "old"])
def test_a_supervisor_that_dies_in_a_roll_leaves_one_process_of_the_copy(tmp_path: Path, moment: str) -> None:
    with installation(tmp_path, worker_table("says", "says.py")) as zmws:
        says(zmws, "old")
        assert zmws.run("start").code == 0
        before = zmws.pids()["says"]
        if moment == "old":  # the old one has a job in hand, and takes its time to leave
            (tmp_path / "says.py").write_text(SAYS.format(what="old").replace("0.005", "3.0"))
            assert zmws.run("reload").code == 0
            before = zmws.pids()["says"]
            assert zmws.run("submit", "SAYS").code == 0
            says(zmws, "new")
        else:
            says(zmws, "new", SLOW)
        rolling = zmws.popen("reload")
        wait_until(lambda: f"says~{moment}" in zmws.pids(), what="the second process")
        rolling.kill()  # it would have the next one do it
        rolling.wait()
        kill_supervisor(tmp_path)
        if moment == "new":
            assert zmws.pids()["says"] == before
        (tmp_path / "go").touch()
        assert zmws.run("start").code == 0
        wait_until(lambda: zmws.pids().keys() == {"broker", "says"}, 20, "only one to be left")
        assert (zmws.pids()["says"] == before) == (moment == "new")
        settled(zmws)
        assert zmws.run("stop").code == 0 and processes_in(tmp_path) == []


def test_a_copy_that_is_stopped_in_a_roll_is_stopped_with_both(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("says", "says.py")) as zmws:
        says(zmws, "old")
        assert zmws.run("start").code == 0
        says(zmws, "new", SLOW)
        rolling = zmws.popen("reload")
        wait_until(lambda: "says~new" in zmws.pids(), what="the second process")
        assert zmws.run("stop", "says").code == 0
        assert rolling.wait(30) == 1
        wait_until(lambda: zmws.pids().keys() == {"broker"}, what="both to be gone")
        assert zmws.run("status").code == 0


# ------------------------------------------------------------ scale


def test_so_many_copies_run_until_the_file_is_read_again(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("sleep", "workers/sleep.py", 2)) as zmws:
        assert zmws.run("start").code == 0
        before = zmws.pids()
        scaled = zmws.run("scale", "reverse=3", "sleep=1")
        assert scaled.code == 0, scaled
        assert set(scaled.out.splitlines()) == {
            "ready: reverse_01",
            "ready: reverse_02",
            "stopped: sleep_01",
        }
        now = zmws.pids()
        assert now.keys() == {"broker", "reverse", "reverse_01", "reverse_02", "sleep_00"}
        assert now["reverse"] == before["reverse"]
        assert zmws.run("start").out.startswith("already running: broker, reverse, reverse_01, reverse_02")
        kill_supervisor(tmp_path)  # also over its death
        assert zmws.run("start").code == 0 and zmws.pids() == now
        assert zmws.run("scale", "reverse=0").code == 0
        assert zmws.pids().keys() == {"broker", "sleep_00"} and zmws.run("status").code == 0
        told = zmws.run("reload", "--json").json()
        assert set(told["started"]) == {"reverse", "sleep_01"}, told
        assert zmws.run("scale", "sleep=3").code == 0
        assert zmws.run("stop").code == 0 and zmws.run("start").code == 0
        assert zmws.pids().keys() == {"broker", "reverse", "sleep_00", "sleep_01"}


def test_what_cannot_be_scaled_is_told(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert "nothing runs in" in zmws.run("scale", "reverse=2").err
        assert zmws.run("start").code == 0
        for words, text in (
            (["revers=2"], "'revers' is no worker of this installation; did you mean 'reverse'"),
            (["broker=2"], "'broker' is no worker of this installation"),
            (["reverse=1001"], "there may be 0 to 1000 copies"),
            (["reverse"], "must be NAME=COUNT"),
            (["reverse=-1"], "must be NAME=COUNT"),
            ([], "Missing argument"),
        ):
            told = zmws.run("scale", *words)
            assert told.code == 2 and text in told.err, told
        assert zmws.pids().keys() == {"broker", "reverse"}


# ------------------------------------------------------------ a count that follows what waits

HALF = """
import time
from zmws import WorkerBase

class Half(WorkerBase):
    service_name = "HALF"

    def work(self, job_id, params):
        time.sleep(params or 0.5)
"""


def copies(zmws: Installation) -> list[str]:
    return sorted(name for name in zmws.pids() if name.startswith("half"))


@pytest.mark.timed
def test_copies_come_with_a_burst_and_go_after_it_and_the_log_tells_why(tmp_path: Path) -> None:
    table = '[[workers]]\nname = "half"\nfile = "half.py"\nservice = "HALF"\n'
    table += "count = { min = 0, max = 8, target_wait = 1.0, down_after = 2.0 }\n"
    with installation(tmp_path, table) as zmws, Client(zmws.client) as client:
        (tmp_path / "half.py").write_text(HALF)
        assert zmws.run("start").code == 0 and copies(zmws) == []
        status = zmws.run("status")
        assert status.code == 0 and "half: 0 copies of 0 to 8" in status.out
        began = time.monotonic()
        client.submit_many([{"service": "HALF"} for _ in range(100)])
        wait_until(lambda: len(copies(zmws)) == 8, 20, "all eight")
        assert time.monotonic() - began < 15
        wait_until(lambda: client.service("HALF")["complete"] == 100, 40, "all jobs to be done")
        wait_until(lambda: copies(zmws) == [], 30, "all to go")
        assert zmws.run("jobs", "--state", "failed", "--json").json()["jobs"] == []
        log = (tmp_path / "logs" / "supervisor.txt").read_text()
        assert "half: 1 copies, and 0 before: the oldest of" in log, log
        assert "half: 8 copies, and 4 before" in log and "half: 0 copies, and 1 before: no job has" in log
        # A busy one is not stopped, whatever waits.
        long = client.submit("HALF", 4)
        wait_until(lambda: long.status()["state"] == "running")
        assert long.result(20) is None and long.status()["attempt"] == 1
        # Stopped, it stays so; scaled by hand, it does not follow; started, it does.
        assert zmws.run("stop", "half").code == 0
        client.submit("HALF")
        assert zmws.run("scale", "half=2").code == 0 and len(copies(zmws)) == 2
        assert zmws.run("stop").code == 0 and processes_in(tmp_path) == []
