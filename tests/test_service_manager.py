"""What systemd is told, and when: by a socket in its place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.peers import wait_until
from tests.system.installation import ZMWS, environment, installation, worker_table
from zmws.service_manager import ServiceManager


class Manager:
    """In the place of systemd."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(20)

    def told(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def test_what_it_says_is_for_this_process_and_no_other(tmp_path: Path, manager: Manager) -> None:
    given = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": "1",
        "A": "b",
    }
    ours = ServiceManager(given)
    assert given == {"A": "b"}
    ours.alive()  # the watchdog is another process's
    ours.ready()
    assert manager.told() == "READY=1"
    ours.stopping(2.5)
    assert manager.told() == "STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000"


def test_a_sign_of_life_comes_twice_in_the_time_that_it_gives(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("zmws.service_manager.time", SimpleNamespace(monotonic=lambda: now[0]))
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    ours = ServiceManager({**told, "WATCHDOG_PID": str(os.getpid())})
    for _ in range(36):
        ours.alive()
        now[0] += 0.01
    ours.ready()
    assert [manager.told() for _ in range(5)] == ["WATCHDOG=1"] * 4 + ["READY=1"], "at 0, 0.1, 0.2 and 0.3 s"


def test_an_address_without_a_file_is_understood_and_none_that_answers_is_no_fault() -> None:
    name = f"zmws-test-{os.getpid()}"
    manager = Manager("\0" + name)
    ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
    assert manager.told() == "READY=1"
    manager.close()
    for address in (f"@{name}", "/nowhere/at/all", "vsock:2:3", ""):
        ServiceManager({"NOTIFY_SOCKET": address}).ready()


def test_a_broker_and_a_worker_tell_when_they_are_ready_alive_and_about_to_end(
    tmp_path: Path, manager: Manager
) -> None:
    with installation(tmp_path / "site", worker_table("reverse", "workers/reverse.py")) as zmws:
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        broker = subprocess.Popen(
            [*ZMWS, "broker"],
            cwd=zmws.root,
            env=environment(**told, WATCHDOG_USEC="400000"),
            stderr=subprocess.DEVNULL,
        )
        try:
            first = [manager.told() for _ in range(3)]
            assert "READY=1" in first[:2] and first.count("WATCHDOG=1") == 2
            assert zmws.run("services").code == 0, "ready is ready"
            broker.send_signal(signal.SIGSTOP)
            wait_until(lambda: Path(f"/proc/{broker.pid}/stat").read_text().split()[2] == "T")
            manager._socket.settimeout(0.0)
            with pytest.raises(BlockingIOError):
                while True:
                    manager.told()
            manager._socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                manager.told()
            manager._socket.settimeout(20)
            broker.send_signal(signal.SIGCONT)
            assert manager.told() == "WATCHDOG=1"
            worker = subprocess.Popen(
                [*ZMWS, "worker", "workers/reverse.py"],
                cwd=zmws.root,
                env=environment(**told),
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_until(lambda: manager.told() == "READY=1")
                assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n"
                worker.terminate()
                wait_until(lambda: "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000" in manager.told())
                assert worker.wait(20) == 0
            finally:
                worker.kill()
                worker.wait()
            broker.terminate()
            wait_until(lambda: "STOPPING=1" in manager.told())
            assert broker.wait(20) == 0
        finally:
            broker.kill()
            broker.wait()
