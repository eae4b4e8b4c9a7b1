"""zmws.log_file: all that a process writes, in files of a bounded size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import REPOSITORY, wait_until
from tests.system.installation import environment, installation, run, worker_table
from zmws.supervisor.logs import Log

# It takes the descriptors of its whole process, and so has one of its own.
PROGRAM = """
import os, sys
from pathlib import Path
from zmws.log_file import LogFile
log = LogFile(Path(sys.argv[1]), 1000, int(sys.argv[2]))
log.take()
def say(text):
    os.write(1, text.encode())
    log.look()
"""


def program(file: Path, files: int, does: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM + does, str(file), str(files)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30)


def texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def test_a_file_that_is_too_large_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    done = program(tmp_path / "a.txt", 2, "for c in 'abcd': say(c * 1000)\nsay('e' * 999)\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert texts(tmp_path) == {"a.txt": "e" * 999, "a.txt.1": "d" * 1000, "a.txt.2": "c" * 1000}


def test_without_older_files_what_was_written_is_cut_off(tmp_path: Path) -> None:
    program(tmp_path / "a.txt", 0, "say('a' * 1000)\nsay('b')\n")
    assert texts(tmp_path) == {"a.txt": "b"}


def test_standard_error_and_programs_that_it_starts_write_there_too_behind_what_was_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_text("of yesterday\n")
    does = "sys.stderr.write('said\\n'); import subprocess; subprocess.run(['echo', 'of another'])"
    program(tmp_path / "a.txt", 2, does)
    assert texts(tmp_path) == {"a.txt": "of yesterday\nsaid\nof another\n"}


def test_a_file_that_somebody_has_moved_is_made_anew_when_that_is_told(tmp_path: Path) -> None:
    moves = "os.rename(sys.argv[1], sys.argv[1] + '.old')"
    does = f"say('a')\n{moves}\nsay('b')\nlog.reopen()\nlog.look()\nsay('c')\n"
    program(tmp_path / "a.txt", 2, does)
    assert texts(tmp_path) == {"a.txt": "c", "a.txt.old": "ab"}


def test_where_no_file_can_be_opened_it_goes_on_as_it_was_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = program(tmp_path / "file" / "a.txt", 2, "say('a')\n")
    assert done.returncode == 0 and done.stdout == "a"
    assert f"no other log file can be begun, this one goes on: File exists: {tmp_path}" in done.stderr


def test_where_no_other_can_be_begun_it_goes_on_and_says_so_once_and_is_cut_off_in_the_end(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt.1").mkdir()
    program(tmp_path / "a.txt", 1, "say('a' * 1000)\nsay('c')\n")
    said = (tmp_path / "a.txt").read_text()
    assert said.startswith("a" * 1000) and said.endswith("c")
    assert said.count("no other log file can be begun, this one goes on: Is a directory") == 1
    program(tmp_path / "a.txt", 1, "say('d' * 1000)\nsay('e')\n")
    assert (tmp_path / "a.txt").read_text() == "e", "twice as large as it may be"


def test_where_no_descriptor_is_left_no_older_file_is_lost(tmp_path: Path) -> None:
    none_left = "import resource\nhard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
    none_left += "resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))\n"
    looks = "for _ in range(3): log.look()\n"
    program(
        tmp_path / "a.txt", 2, f"for c in 'ab': say(c * 1000)\n{none_left}os.write(1, b'c' * 1000)\n{looks}"
    )
    found = texts(tmp_path)
    assert (found["a.txt.1"], found["a.txt.2"]) == ("b" * 1000, "a" * 1000)
    assert found["a.txt"].startswith("c" * 1000) and "Too many open files" in found["a.txt"]


def test_a_file_that_somebody_has_moved_or_removed_is_made_anew(tmp_path: Path) -> None:
    program(
        tmp_path / "a.txt",
        2,
        "say('a')\nos.rename(sys.argv[1], sys.argv[1] + '.old')\nlog.look()\nsay('b')\n",
    )
    assert texts(tmp_path) == {"a.txt": "b", "a.txt.old": "a"}
    away = "import shutil\nshutil.rmtree(os.path.dirname(sys.argv[1]))\nlog.look()\nsay('c')\n"
    program(tmp_path / "logs" / "a.txt", 2, away)
    assert texts(tmp_path / "logs") == {"a.txt": "c"}


def test_what_a_job_does_to_standard_error_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x" * 2000)
    replaced = (
        "fd = os.open(os.path.dirname(sys.argv[1]) + '/theirs', os.O_RDWR)\nos.dup2(fd, 2)\nlog.look()\n"
    )
    assert program(tmp_path / "a.txt", 0, f"{replaced}os.close(2)\nlog.look()\n").returncode == 0
    assert texts(tmp_path) == {"a.txt": "", "theirs": "x" * 2000}


def test_a_link_goes_on_being_one(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "a.txt").symlink_to(tmp_path / "far" / "b.txt")
    program(tmp_path / "a.txt", 2, "say('a' * 1000)\nsay('b')\n")
    assert (tmp_path / "a.txt").is_symlink() and texts(tmp_path / "far") == {
        "b.txt": "b",
        "b.txt.1": "a" * 1000,
    }


def test_who_follows_misses_nothing_of_several_files_between_two_looks(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n")
    log = Log(file)
    assert log.last_lines(5) == ["one"]
    with file.open("a") as writing:
        writing.write("two\n")
    for number, text in ((3, "three\n"), (2, "four\n"), (1, "five\n")):
        for older in (2, 1, 0):
            name = tmp_path / f"a.txt.{older}" if older else file
            if name.exists():
                name.replace(tmp_path / f"a.txt.{older + 1}")
        file.write_text(text)
        assert number
    assert log.grown() + log.grown() + log.grown() == "two\nthree\nfour\nfive\n"
    assert log.last_lines(2) == ["four", "five"], "of the file before, too"
    log.close()


PRINTS = """
from zmws import worker

@worker("PRINTS")
def prints(text: str) -> int:
    print(text, flush=True)
    return 1
"""


def test_processes_keep_their_logs_within_bounds_and_logs_goes_on(tmp_path: Path) -> None:
    more = '[logs]\nbytes_max = "64 KiB"\nfiles = 1\n'
    with installation(tmp_path, worker_table("prints", "prints.py") + more) as zmws:
        (tmp_path / "prints.py").write_text(PRINTS)
        assert zmws.run("start").code == 0
        log = tmp_path / "logs" / "prints.txt"
        following = zmws.popen("logs", "prints", "-f", stdout=subprocess.PIPE)
        try:
            assert following.stdout is not None
            os.set_blocking(following.stdout.fileno(), False)
            seen = b""
            for number in range(4):
                assert zmws.run("call", "PRINTS", f"text={number}" + "x" * 30_000).code == 0
            wait_until(lambda: log.with_name("prints.txt.1").exists(), what="another log file")
            assert zmws.run("call", "PRINTS", "text=the last").code == 0

            def followed() -> bool:
                nonlocal seen
                assert following.stdout is not None
                seen += following.stdout.read() or b""
                return b"the last" in seen

            wait_until(followed)
            assert seen.count(b"xxxx" * 7_500) == 4, "and all that came before"
        finally:
            following.kill()
            following.wait()
            following.stdout.close()
        assert log.stat().st_size < 64 * 1024


LOGS = """
import logging
from zmws import WorkerBase

class Logs(WorkerBase):
    service_name = "LOGS"
    isolate = {isolate}

    def work(self, job_id, params):
        logging.getLogger("shop").warning("a word")
"""


@pytest.mark.parametrize("isolate", [False, True])
def test_all_that_is_logged_can_be_json(tmp_path: Path, isolate: bool) -> None:
    more = '[logs]\nformat = "json"\n'
    with installation(tmp_path, worker_table("logs", "logs.py") + more) as zmws:
        (tmp_path / "logs.py").write_text(LOGS.format(isolate=isolate))
        assert zmws.run("start").code == 0
        assert zmws.run("submit", "LOGS", "--wait").code == 0
        assert zmws.run("stop").code == 0
        for name in ("broker", "logs"):
            text = (tmp_path / "logs" / f"{name}.txt").read_text()
            lines = [json.loads(line) for line in text.splitlines()]
            assert all({"at", "level", "logger", "message"} <= line.keys() for line in lines)
        (word,) = [line for line in lines if line["message"] == "a word"]
        assert (word["level"], word["logger"], word["service"]) == ("WARNING", "shop", "LOGS")


def test_a_broker_opens_its_log_anew_at_sighup_however_often_it_comes(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        assert zmws.run("start").code == 0
        log = tmp_path / "logs" / "broker.txt"
        log.rename(tmp_path / "moved.txt")
        pid = zmws.pids()["broker"]
        for _ in range(3_000):  # one may come while another is dealt with
            os.kill(pid, signal.SIGHUP)
            os.kill(pid, signal.SIGHUP)
        wait_until(log.exists)
        assert zmws.run("services").code == 0, "it goes on"


@pytest.mark.parametrize("verb", ["broker", "worker"])
def test_the_flag_is_explained(verb: str) -> None:
    assert "--log-file" in run(verb, "--help", cwd=REPOSITORY).out
