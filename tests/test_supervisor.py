"""Pid files, and which processes an installation has."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zmws import settings
from zmws.errors import SettingsError, ZmwsError
from zmws.supervisor.pidfile import PidFile, began
from zmws.supervisor.processes import (
    DIED,
    RUNNING,
    STOPPED,
    Installation,
    last_lines,
    ports_in_use,
    seek_last_lines,
)


def _installation(folder: Path, text: str) -> Installation:
    (folder / "etc").mkdir()
    (folder / "workers").mkdir()
    for name in ("a", "b"):
        (folder / "workers" / f"{name}.py").touch()
    (folder / "etc" / "zmws.toml").write_text(text)
    return Installation(settings.load(folder / "etc" / "zmws.toml", environ={}))


TWO = """
[[workers]]
name = "a"
file = "workers/a.py"
count = 2
flags = { log-level = "debug", quiet = true }
[[workers]]
file = "workers/b.py"
service = "B"
"""


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


def test_copies_have_numbers_and_flags_go_to_the_command_line(tmp_path: Path) -> None:
    made = _installation(tmp_path, TWO)
    everything = made.processes(True, True)
    assert [process.name for process in everything] == ["broker", "a-1", "a-2", "b"]
    assert everything[1].command[-3:] == ["--log-level", "debug", "--quiet"]
    assert everything[3].command[-2:] == ["--service", "B"]
    assert [process.name for process in made.processes(False, True)] == ["a-1", "a-2", "b"]
    assert [process.name for process in made.processes(True, False)] == ["broker"]
    assert [process.name for process in made.processes(True, True, ["a"])] == ["a-1", "a-2"]
    assert [process.name for process in made.processes(True, True, ["a-2", "broker"])] == ["broker", "a-2"]
    with pytest.raises(SettingsError, match="no process named c; there are a, a-1, a-2, b, broker"):
        made.processes(True, True, ["c"])


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    made = _installation(tmp_path, TWO + 'name = "a-1"\n')
    with pytest.raises(SettingsError, match="two workers would be named a-1"):
        made.processes(True, True)


def test_only_one_starts_or_stops_at_a_time(tmp_path: Path) -> None:
    made = _installation(tmp_path, TWO)
    with (
        made.locked(),
        pytest.raises(ZmwsError, match="another 'zmws start' or 'zmws stop' is at work"),
        made.locked(),
    ):
        pass


def test_a_taken_port_is_seen_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f'[broker]\nclient = "tcp://*:*"\nworker = "tcp://127.0.0.1:{port}"\n'
        text += 'news = "ipc://run/news"\nmdp = ""\n'
        made = _installation(tmp_path, text)
        assert ports_in_use(made.settings) == [f"broker.worker (tcp://127.0.0.1:{port})"]
    assert ports_in_use(made.settings) == []


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert last_lines(log, 3) == []
    log.write_text("".join(f"{n} {'x' * 3000}\n" for n in range(50)) + "end")
    assert [line[:2] for line in last_lines(log, 3)] == ["48", "49", "en"]
    assert len(last_lines(log, 100)) == 51
    assert last_lines(log, 0) == []
    begin = log.stat().st_size - 3
    assert last_lines(log, 3, begin) == ["end"]
    assert last_lines(log, 3, begin + 3) == []
    assert [line[:2] for line in last_lines(log, 3, begin + 4)] == ["48", "49", "en"], "it was cut meanwhile"
    with log.open("rb") as file:
        seek_last_lines(file, 1)
        assert file.read() == b""


def test_what_cannot_be_noted_leaves_no_half_of_it(tmp_path: Path) -> None:
    (tmp_path / "one.pid").mkdir()
    file = PidFile(tmp_path, "one")
    with pytest.raises(IsADirectoryError):
        file.write(os.getpid())
    assert not (tmp_path / "one.json").exists()


def test_a_process_has_died_if_its_file_is_there_and_it_is_not(tmp_path: Path) -> None:
    made = _installation(tmp_path, TWO)
    made.run_dir.mkdir()
    made.logs_dir.mkdir()
    assert made.state("b").state == STOPPED
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    PidFile(made.run_dir, "b").write(child.pid)
    assert (made.state("b").state, made.state("b").pid) == (RUNNING, child.pid)
    child.communicate(b"\n")
    os.utime(made.run_dir / "b.pid", (1000.0, 1000.0))
    died = made.state("b")
    assert (died.state, died.pid, died.last_sign_at) == (DIED, None, 1000.0)
    made.log_file("b").touch()
    os.utime(made.log_file("b"), (2000.0, 2000.0))
    assert made.state("b").last_sign_at == 2000.0, "what it wrote last, it wrote alive"
    left: list[tuple[str, int]] = []
    made.tidy(["a-1"], lambda name, count: left.append((name, count)))
    assert made.state("b").state == DIED, "nobody has named it"
    made.tidy(["b"], lambda name, count: left.append((name, count)))
    assert made.state("b").state == STOPPED and left == []
