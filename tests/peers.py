"""What tests talk to the broker with: a broker on free ports, raw ZeroMQ peers, worker processes.

Everything here is ended by its context manager; nothing waits for a clock where it can wait for a thing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zmq

from zmws import settings
from zmws.client import Client
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.server import BrokerServer
from zmws.store.memory import MemoryStore

REPOSITORY = Path(__file__).resolve().parent.parent
FREE = "tcp://127.0.0.1:*"


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """Ask until it is true; its value. Fails the test when it stays false."""
    until = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {timeout_s:g} s: {what or condition}"
        threading.Event().wait(0.01)
    return value


@dataclass
class RunningBroker:
    """A broker of this process's own, in a thread."""

    server: BrokerServer
    client: str
    worker: str
    news: str
    mdp: str

    def connect(self, **settings_of_client: Any) -> Client:
        return Client(self.client, **settings_of_client)


@contextlib.contextmanager
def broker_in_thread(
    services: dict[str, ServiceOptions] | None = None, store: Any = None, **changes: Any
) -> Iterator[RunningBroker]:
    """A real broker on free ports. `changes`: fields of Limits or of BrokerSettings."""
    known = settings.load(None, environ={}, cwd=Path("/nonexistent-zmws"))
    names = set(Limits.__dataclass_fields__)
    limits = replace(known.broker.limits, **{k: v for k, v in changes.items() if k in names})
    other = {k: v for k, v in changes.items() if k not in names}
    endpoints = {"client": FREE, "worker": FREE, "news": FREE, "mdp": FREE}
    broker = replace(known.broker, **{**endpoints, "limits": limits, **other})
    server = BrokerServer(replace(known, broker=broker, services=services or {}), store or MemoryStore())
    ready, faults = threading.Event(), []
    server.on_ready = ready.set

    def run() -> None:
        try:
            server.bind()
            server.run()
        except BaseException as fault:
            faults.append(fault)
            ready.set()

    thread = threading.Thread(target=run, name="test-broker")
    thread.start()
    try:
        assert ready.wait(10), "the broker did not become ready"
        if faults:
            raise faults[0]
        yield RunningBroker(server, *(server.address(n) for n in ("client", "worker", "news", "mdp")))
    finally:
        server.stop()
        thread.join(15)
        assert not thread.is_alive(), "the broker did not stop"
    if faults:
        raise faults[0]


@contextlib.contextmanager
def peer(endpoint: str, kind: int = zmq.DEALER, identity: bytes | None = None) -> Iterator[zmq.Socket]:
    """A raw ZeroMQ socket, connected; receives time out after 10 s."""
    with zmq.Context() as context:
        socket = context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.setsockopt(zmq.SNDTIMEO, 10_000)
        if identity is not None:
            socket.setsockopt(zmq.IDENTITY, identity)
        socket.connect(endpoint)
        try:
            yield socket
        finally:
            socket.close()


@dataclass
class RunningProcess:
    """A process of a test's."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def text(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def process(command: list[str], log: Path, cwd: Path | None = None) -> Iterator[RunningProcess]:
    """Run a command; at the end it is killed if it has not ended."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ZMWS_")}
    environ["PYTHONPATH"] = str(REPOSITORY)
    environ["PYTHONUNBUFFERED"] = "1"
    with log.open("ab") as out:
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, env=environ
        )
    try:
        yield RunningProcess(popen, log)
    finally:
        if popen.poll() is None:
            popen.send_signal(signal.SIGCONT)
            popen.kill()
        popen.wait(10)


@contextlib.contextmanager
def worker_process(folder: Path, endpoint: str, body: str, name: str = "worker") -> Iterator[RunningProcess]:
    """A worker process whose class body is `body` (service_name and work), connected to `endpoint`."""
    file = folder / f"{name}.py"
    text = "import ctypes, json, os, threading, time\nfrom zmws import WorkerBase\n\n\nclass W(WorkerBase):\n"
    file.write_text(text + textwrap.indent(textwrap.dedent(body), "    "))
    command = [sys.executable, "-m", "zmws", "worker", str(file), "--broker", endpoint]
    with process(command, folder / f"{name}.log") as running:
        yield running


def await_workers(
    client: Client, count: int, service: str | None = None, timeout_s: float = 15.0
) -> list[Any]:
    """Until the broker knows this many workers."""

    def known() -> list[Any]:
        rows = [w for w in client.ask("zmws.workers") if service in (None, w["service"])]
        return rows if len(rows) >= count else []

    return wait_until(known, timeout_s, f"{count} workers")


def counters(client: Client) -> dict[str, int]:
    """The broker's counters."""
    return client.ask("zmws.stats")["counters"]
