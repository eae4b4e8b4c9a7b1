"""Pid files: which process is ours, and runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zmws.supervisor.pidfile import PidFile, began


def test_a_process_that_runs_is_known_by_number_and_beginning(tmp_path: Path) -> None:
    file = PidFile(tmp_path, "one")
    assert file.running() is None
    file.write(os.getpid())
    assert file.running() == os.getpid()
    assert (tmp_path / "one.pid").read_text() == f"{os.getpid()}\n"
    about = json.loads((tmp_path / "one.json").read_text())
    (tmp_path / "one.json").write_text(json.dumps({**about, "began": "1"}))
    assert file.running() is None  # the number is somebody else's now
    file.remove()
    file.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "99999999999"])
def test_a_damaged_pid_file_is_nobody(tmp_path: Path, text: str) -> None:
    file = PidFile(tmp_path, "one")
    file.write(os.getpid())
    (tmp_path / "one.json").write_text(text)
    assert file.running() is None


@pytest.mark.parametrize("text", ["", "x", "1", None])
def test_a_number_that_was_lost_or_changed_is_known_all_the_same(tmp_path: Path, text: str | None) -> None:
    file = PidFile(tmp_path, "one")
    file.write(os.getpid())
    (tmp_path / "one.pid").unlink()
    if text is not None:
        (tmp_path / "one.pid").write_text(text)
    assert file.running() == os.getpid() and file.noted_at() is not None


def test_in_a_copied_folder_the_originals_processes_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    PidFile(tmp_path / "run", "one").write(os.getpid())
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    copied = PidFile(tmp_path / "copy", "one")
    assert (copied.running(), copied.noted_at()) == (None, None)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert PidFile(tmp_path / "moved", "one").running() == os.getpid()


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert began(child.pid) is not None
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert began(child.pid) is None
    child.wait()


def test_what_cannot_be_noted_leaves_no_half_of_it(tmp_path: Path) -> None:
    (tmp_path / "one.pid").mkdir()
    file = PidFile(tmp_path, "one")
    with pytest.raises(IsADirectoryError):
        file.write(os.getpid())
    assert not (tmp_path / "one.json").exists()


def test_whoever_reads_a_number_while_it_is_written_reads_a_whole_one(tmp_path: Path) -> None:
    file, stop, seen = PidFile(tmp_path, "a"), threading.Event(), set()
    file.write(os.getpid())

    def read_on() -> None:
        while not stop.is_set():
            seen.add((tmp_path / "a.pid").read_text())

    reading = threading.Thread(target=read_on)
    reading.start()
    for number in range(300):
        file.write(1_000_000 + number)
    stop.set()
    reading.join()
    assert seen <= {f"{number}\n" for number in (os.getpid(), *range(1_000_000, 1_000_300))}
