"""Starting: what is missing is started and ready, or all that was started is stopped again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import kill_supervisor
from zmws import settings
from zmws.errors import BrokerUnreachable, ZmwsError
from zmws.supervisor.broker import look, services_with_workers
from zmws.supervisor.events import Ended, Event, HadDied, NotReady
from zmws.supervisor.processes import Installation
from zmws.supervisor.start import start
from zmws.supervisor.status import status
from zmws.supervisor.stop import end, stop
from zmws.testing import free_ports

# They outlive whoever has started them: that is what they are for.
pytestmark = [
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WORKER = """
from zmws import WorkerBase

class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id, params):
        return params
"""


@contextlib.contextmanager
def folder(root: Path, worker: str) -> Iterator[Installation]:
    """An installation with one worker; nothing of it runs at the end."""
    client, at, news, mdp = (f'"tcp://127.0.0.1:{port}"' for port in free_ports(4))
    for name in ("etc", "workers"):
        (root / name).mkdir()
    (root / "workers" / "one.py").write_text(worker)
    text = (
        f"[broker]\nclient = {client}\nworker = {at}\nnews = {news}\nmdp = {mdp}\n[store]\nurl = 'memory:'\n"
        "[gateway]\nhttp = ''\n"
    )
    (root / "etc" / "zmws.toml").write_text(text)
    made = Installation(settings.load(root / "etc" / "zmws.toml", environ={}))
    try:
        yield made
    finally:
        kill_supervisor(root)
        end(made, list(made.running()), 0.1, lambda event: None)


def test_what_is_missing_is_started_and_is_ready_then(tmp_path: Path) -> None:
    events: list[Event] = []
    with folder(tmp_path, WORKER) as made:
        assert look(made).what == "absent"
        first = start(made, True, True, (), 30.0, events.append)
        assert (first.wanted, list(first.new), first.before) == (["broker", "one"], ["broker", "one"], {})
        assert made.running() == first.new and services_with_workers(made) == ["ECHO"]
        there = look(made)
        assert (there.what, there.pid) == ("ours", first.new["broker"])
        again = start(made, True, True, (), 30.0, events.append)
        assert (again.new, again.before) == ({}, first.new) and events == []
        found = status(made)
        assert [one.state for one in found.processes] == ["running", "running"] and found.all_run

        kill_supervisor(tmp_path)
        os.kill(first.new["one"], signal.SIGKILL)
        wait_until(lambda: not status(made).all_run, what="the worker to be gone")
        third = start(made, False, True, (), 30.0, events.append)
        assert list(third.new) == ["one"]
        (died,) = events
        assert isinstance(died, HadDied) and [one.name for one in died.states] == ["one"]
        stop(made, True, True, (), 10.0, events.append)
        assert events[1:] == [Ended("one", False), Ended("broker", False)]


def test_one_that_cannot_start_is_told_with_the_end_of_its_log_and_keeps_no_other_from_it(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    with folder(tmp_path, "1 / 0") as made:
        done = start(made, True, True, (), 30.0, events.append)
        assert (list(done.new), list(done.failed)) == (["broker"], ["one"])
        (told,) = events
        assert isinstance(told, NotReady) and told.text == done.failed["one"]
        assert told.text.startswith("ended with exit code 2; the end of ")
        assert "ZeroDivisionError" in told.text
        assert list(made.running()) == ["broker"] and not status(made).all_run


def test_a_worker_that_is_not_ready_in_time_is_named(tmp_path: Path) -> None:
    with folder(tmp_path, "import time\ntime.sleep(60)") as made:
        start(made, True, False, (), 30.0, lambda event: None)
        done = start(made, False, True, (), 0.3, lambda event: None)
        assert done.failed["one"].startswith("was not ready within 0.3 s; ")
        assert set(made.running()) == {"broker", "one"}, "it goes on"


def test_what_can_be_known_to_fail_is_told_before_anything_is_started(tmp_path: Path) -> None:
    events: list[Event] = []
    with folder(tmp_path, WORKER) as made:
        port = int(made.settings.broker.news.rpartition(":")[2])
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(ZmwsError, match=r"another program has the address of broker\.news"),
        ):
            start(made, True, True, (), 30.0, events.append)
        with pytest.raises(BrokerUnreachable):
            start(made, False, True, (), 30.0, events.append)
        assert events == [] and made.noted() == []
