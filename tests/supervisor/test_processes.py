"""Which processes an installation has, and how they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supervisor.folder import TWO, installation_in
from zmws.errors import SettingsError, ZmwsError
from zmws.supervisor.pidfile import PidFile
from zmws.supervisor.processes import DIED, RUNNING, STOPPED


def test_copies_have_numbers_and_flags_go_to_the_command_line(tmp_path: Path) -> None:
    made = installation_in(tmp_path, TWO)
    everything = made.processes(True, True)
    assert [process.name for process in everything] == ["broker", "gateway", "a_00", "a_01", "b"]
    log = [
        "--log-file",
        str(tmp_path / "logs" / "a_00.txt"),
        "--log-bytes-max",
        "52428800",
        "--log-files",
        "10",
    ]
    assert everything[2].command[-9:] == ["--log-level", "debug", "--quiet", *log]
    assert everything[4].command[-8:-6] == ["--service", "B"]
    assert everything[0].command[-2:] == ["--log-file", str(tmp_path / "logs" / "broker.txt")]
    assert [process.name for process in made.processes(False, True)] == ["a_00", "a_01", "b"]
    assert [process.name for process in made.processes(True, False)] == ["broker", "gateway"]
    assert [process.name for process in made.processes(True, True, ["a"])] == ["a_00", "a_01"]
    assert [process.name for process in made.processes(True, True, ["a_01", "broker"])] == ["broker", "a_01"]
    with pytest.raises(
        SettingsError, match="'c' is no process of this installation; there are a, a_00, a_01, b, broker"
    ):
        made.processes(True, True, ["c"])


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    made = installation_in(tmp_path, TWO + 'name = "a_00"\n')
    with pytest.raises(SettingsError, match="two workers would be named a_00"):
        made.processes(True, True)


def test_only_one_starts_or_stops_at_a_time(tmp_path: Path) -> None:
    made = installation_in(tmp_path, TWO)
    with (
        made.locked(),
        pytest.raises(ZmwsError, match="another 'zmws start' or 'zmws stop' is at work"),
        made.locked(),
    ):
        pass


def test_a_process_has_died_if_its_file_is_there_and_it_is_not(tmp_path: Path) -> None:
    made = installation_in(tmp_path, TWO)
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
