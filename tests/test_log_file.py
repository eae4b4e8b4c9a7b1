"""zmws.log_file: all that a process writes, in files of a bounded size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import REPOSITORY, wait_until
from tests.system.installation import environment, installation, run, worker_table

# It takes the descriptors of its whole process, and so has one of its own.
PROGRAM = """
import os, sys
from pathlib import Path
from zmws.log_file import LogFile
log = LogFile(Path(sys.argv[1]), 100, int(sys.argv[2]))
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
    done = program(tmp_path / "a.txt", 2, "for c in 'abcd': say(c * 100)\nsay('e' * 99)\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert texts(tmp_path) == {"a.txt": "e" * 99, "a.txt.1": "d" * 100, "a.txt.2": "c" * 100}


def test_without_older_files_what_was_written_is_cut_off(tmp_path: Path) -> None:
    program(tmp_path / "a.txt", 0, "say('a' * 100)\nsay('b')\n")
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
    done = program(tmp_path / "gone" / "a.txt", 2, "say('a')\n")
    assert done.returncode == 0 and done.stdout == "a"
    assert (
        f"no other log file can be begun, this one goes on: No such file or directory: {tmp_path}"
        in done.stderr
    )


def test_where_no_other_can_be_begun_it_goes_on_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt.1").mkdir()
    program(tmp_path / "a.txt", 1, "say('a' * 100)\nsay('b' * 100)\nsay('c')\n")
    said = (tmp_path / "a.txt").read_text()
    assert said.startswith("a" * 100) and said.endswith("c")
    assert said.count("no other log file can be begun, this one goes on: Is a directory") == 1


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


def test_a_broker_opens_its_log_anew_at_sighup(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws:
        assert zmws.run("start").code == 0
        log = tmp_path / "logs" / "broker.txt"
        log.rename(tmp_path / "moved.txt")
        os.kill(zmws.pids()["broker"], 1)
        wait_until(log.exists)
        assert zmws.run("services").code == 0, "it goes on"


@pytest.mark.parametrize("verb", ["broker", "worker"])
def test_the_flag_is_explained(verb: str) -> None:
    assert "--log-file" in run(verb, "--help", cwd=REPOSITORY).out
