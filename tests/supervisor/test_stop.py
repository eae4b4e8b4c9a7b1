"""Ending processes: all are tried, each is told, and what they had started goes with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.supervisor.folder import TWO, installation_in
from zmws.errors import SettingsError, ZmwsError
from zmws.settings import SupervisorSettings
from zmws.supervisor.events import Ended, Event, LeftEnded
from zmws.supervisor.pidfile import PidFile, began
from zmws.supervisor.processes import DIED, STOPPED, Installation
from zmws.supervisor.sessions import MARK
from zmws.supervisor.stop import end, stop, tidy

DEAF = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT)]; "
# In the session of its leader, and not in the group.
CHILD = "import subprocess, sys; sleep = [sys.executable, '-c', 'import time; time.sleep(60)']; "
CHILD += "subprocess.Popen(sleep, process_group=0); "


class Noted:
    """Processes of ours, in the place of an installation's."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        installation.run_dir.mkdir()

    def start(self, name: str, program: str = "") -> PidFile:
        file = PidFile(self.installation.run_dir, name)
        code = program + "print(flush=True); import time; time.sleep(60)"
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, MARK: file.mark},
        )
        assert child.stdout is not None and child.stdout.readline()
        self.children[name] = child
        file.write(child.pid)
        return file

    def die(self, name: str) -> None:
        self.children[name].kill()
        self.children[name].wait()

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.communicate()


@pytest.fixture
def noted(tmp_path: Path) -> Iterator[Noted]:
    made = Noted(installation_in(tmp_path, TWO))
    yield made
    made.close()


def test_workers_end_before_the_broker_and_each_is_told(noted: Noted) -> None:
    for name in ("broker", "a_00", "b"):
        noted.start(name)
    events: list[Event] = []
    assert stop(noted.installation, True, True, (), 10.0, events.append) is None
    assert set(events[:2]) == {Ended("a_00", False), Ended("b", False)} and events[2:] == [
        Ended("broker", False)
    ]
    assert noted.installation.noted() == []


def test_what_does_not_end_in_time_is_killed_with_what_it_started(noted: Noted) -> None:
    file = noted.start("b", DEAF + CHILD)
    events: list[Event] = []
    known = noted.installation.settings
    noted.installation.settings = replace(known, supervisor=SupervisorSettings(kill_after=0.1))
    end(noted.installation, ["b"], 0.1, events.append)
    assert events == [Ended("b", True)] and not _members(file)


def test_only_the_parts_and_names_that_are_meant_end(noted: Noted) -> None:
    for name in ("broker", "a_00", "a_01", "b"):
        noted.start(name)
    events: list[Event] = []
    stop(noted.installation, True, True, ["a", "b"], 10.0, events.append)
    assert set(events) == {Ended(name, False) for name in ("a_00", "a_01", "b")}
    assert set(noted.installation.running()) == {"broker"}
    stop(noted.installation, False, True, (), 10.0, events.append)
    assert set(noted.installation.running()) == {"broker"}
    with pytest.raises(
        SettingsError, match="'brokr' is no process of this installation; did you mean 'broker'"
    ):
        stop(noted.installation, True, True, ["brokr"], 10.0, events.append)


def test_what_goes_wrong_with_one_keeps_no_other_from_being_stopped(noted: Noted) -> None:
    for name in ("a_00", "b"):
        noted.start(name)
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        raise BrokenPipeError("the reader has gone")

    with pytest.raises(BrokenPipeError):
        end(noted.installation, ["a_00", "b"], 10.0, tell)
    assert len(events) == 2 and noted.installation.running() == {}


def test_a_process_of_another_user_is_named(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    noted.start("b")

    def not_ours(pid: int, number: signal.Signals) -> None:
        raise PermissionError

    monkeypatch.setattr("zmws.supervisor.stop.send_signal", not_ours)
    with pytest.raises(ZmwsError, match="belongs to another user"):
        end(noted.installation, ["b"], 10.0, lambda event: None)


def test_of_one_that_has_died_what_it_left_is_ended_and_told(noted: Noted) -> None:
    file = noted.start("b", CHILD)
    wait_until(lambda: len(_members(file)) == 2, what="its program")
    noted.die("b")
    events: list[Event] = []
    tidy(noted.installation, ["a_00"], events.append)
    assert noted.installation.state("b").state == DIED and events == [], "nobody has named it"
    tidy(noted.installation, ["b"], events.append)
    assert noted.installation.state("b").state == STOPPED and events == [LeftEnded("b", 1)]
    assert not _members(file)


def _members(file: PidFile) -> list[int]:
    """Who runs and carries the mark."""
    carried = os.fsencode(f"{MARK}={file.mark}")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (
                carried in (entry / "environ").read_bytes().split(b"\0")
                and began(int(entry.name)) is not None
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
