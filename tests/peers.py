"""What tests talk to the broker with, beside zmws.testing: raw ZeroMQ peers, processes, a bad network.

Everything here is ended by its context manager; nothing waits for a clock where it can wait for a thing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq

from zmws.client import Client
from zmws.testing import BrokerProcess, RunningBroker, broker_in_thread
from zmws.testing.processes import RunningProcess, process

# What a test takes from here, and more.
__all__ = ["BrokerProcess", "RunningBroker", "RunningProcess", "broker_in_thread", "process"]

REPOSITORY = Path(__file__).resolve().parent.parent


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """Ask until it is true; its value. Fails the test when it stays false."""
    until = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {timeout_s:g} s: {what or condition}"
        threading.Event().wait(0.01)
    return value


def skip_unless_possible(possible: object, reason: str, refused_by_system: bool = False) -> None:
    """Go on if it is possible; else skip the test and say why. Under CI=true root has to have what a test
    needs, so that nothing is skipped there unseen, unless the system itself refuses it (a container's)."""
    if possible:
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0 and not refused_by_system:
        pytest.fail(f"not skipped under CI=true: {reason}")
    pytest.skip(reason)


def report(text: str) -> None:
    """A figure for who reads the test's output (`-rP`)."""
    sys.stdout.write(text + "\n")


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


@contextlib.contextmanager
def worker_process(
    folder: Path,
    endpoint: str,
    body: str,
    name: str = "worker",
    also: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> Iterator[RunningProcess]:
    """A worker process whose class body is `body` (service_name and work), connected to `endpoint`.
    `also`: endpoints of further brokers; `flags`: more of its command line."""
    text = "import ctypes, json, os, signal, sys, threading, time\nfrom zmws import WorkerBase\n\n\n"
    text += "class W(WorkerBase):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    with worker_file_process(folder, [endpoint, *also], text, name, flags) as running:
        yield running


@contextlib.contextmanager
def worker_file_process(
    folder: Path, endpoints: Sequence[str], text: str, name: str = "worker", flags: Sequence[str] = ()
) -> Iterator[RunningProcess]:
    """A worker process whose file is `text`."""
    file = folder / f"{name}.py"
    file.write_text(text)
    command = [sys.executable, "-m", "zmws", "worker", str(file)]
    for broker in endpoints:
        command += ["--broker", broker]
    with process([*command, *flags], folder / f"{name}.log") as running:
        yield running


def await_workers(
    client: Client, count: int, service: str | None = None, timeout_s: float = 15.0
) -> list[Any]:
    """Until the broker knows this many workers."""

    def known() -> list[Any]:
        rows = [w for w in client.ask("zmws.workers") if service is None or service in w["services"]]
        return rows if len(rows) >= count else []

    return wait_until(known, timeout_s, f"{count} workers")


def counters(client: Client) -> dict[str, int]:
    """The broker's counters."""
    return client.ask("zmws.stats")["counters"]


def broker_process(
    folder: Path, *flags: str, heartbeat_interval_s: float = 0.5, **given: Any
) -> BrokerProcess:
    """A `zmws broker` with quick heartbeats, which a `with` block starts; takes what BrokerProcess does."""
    return BrokerProcess(folder, "--heartbeat-interval", str(heartbeat_interval_s), *flags, **given)


# ---------------------------------------------------------------- a network that breaks


class TcpProxy:
    """A TCP connection in between that can be cut, refused and brought back."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: where it leads, tcp://HOST:PORT."""
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._upstream = (host, int(port))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = self._listen(0)
        self._port = self._listener.getsockname()[1]
        self.endpoint = f"tcp://127.0.0.1:{self._port}"
        self.connections = 0

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept, listener)
        return listener

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._upstream)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
                self.connections += 1
            self._start(self._pump, near, far)
            self._start(self._pump, far, near)

    def _pump(self, source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                to.sendall(data)
        except OSError:
            pass
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()  # each pump closes the end that it reads

    def cut(self) -> None:
        """Break what is connected; a new connection is taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Break what is connected and take nothing new, as an unreachable machine would."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def accept_again(self) -> None:
        """After `refuse`: connections are taken again, at the same address."""
        self._listener = self._listen(self._port)

    def close(self) -> None:
        """Break everything for good."""
        self.refuse()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a pump of the proxy did not end"


@contextlib.contextmanager
def proxy(endpoint: str) -> Iterator[TcpProxy]:
    """A TcpProxy in front of `endpoint`."""
    between = TcpProxy(endpoint)
    try:
        yield between
    finally:
        between.close()


# ---------------------------------------------------------------- ZMTP by hand


class RawZmtp:
    """A TCP socket that speaks ZMTP 3.0 by hand, so that it can break every rule of it."""

    GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(10)

    def handshake(self, kind: bytes = b"DEALER", identity: bytes = b"") -> None:
        """Greeting and READY, as a DEALER of no name, or of any: also of one that libzmq keeps to itself."""
        self.socket.sendall(self.GREETING)
        self._read(64)
        ready = b"\x05READY" + b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
        if identity:
            ready += b"\x08Identity" + len(identity).to_bytes(4, "big") + identity
        self.socket.sendall(b"\x04" + bytes([len(ready)]) + ready)
        size = self._read(2)[1]
        self._read(size)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the broker closed the connection"
            data += more
        return data

    @staticmethod
    def frame(body: bytes, more: bool) -> bytes:
        """One frame of a message."""
        if len(body) < 256:
            return bytes([more, len(body)]) + body
        return bytes([2 | more]) + len(body).to_bytes(8, "big") + body

    def send(self, frames: Sequence[bytes]) -> None:
        """A whole message."""
        last = len(frames) - 1
        self.socket.sendall(b"".join(self.frame(f, n < last) for n, f in enumerate(frames)))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawZmtp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
