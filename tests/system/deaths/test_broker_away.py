"""A broker that stands still, dies or is away, and who finds another one."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.peers import (
    RunningBroker,
    await_workers,
    broker_process,
    counters,
    report,
    wait_until,
    worker_process,
)
from tests.system.deaths.acting import ACTOR, EXPIRY_S, INTERVAL_S, Actors, Notes, worker_row
from zmws.client import Client
from zmws.errors import BrokerUnreachable, ZmwsError
from zmws.work.line import WorkerLine


@pytest.mark.parametrize("still_s", [2 * EXPIRY_S, 5 * EXPIRY_S])
def test_nobody_is_expired_when_the_broker_stood_still(tmp_path: Path, notes: Notes, still_s: float) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, heartbeat_interval_s=INTERVAL_S))
        actors = Actors(stack, tmp_path, broker.worker, 3)
        client = stack.enter_context(broker.connect())
        await_workers(client, 3)
        job = client.submit("ACT", notes.params("until"))
        called = client.call_future("ACT", notes.params("until"), timeout=60)
        notes.wait("begun", 2)
        broker.freeze()
        stopped_at = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped_at + still_s, still_s + 5)
        broker.thaw()
        # A job that was given to another would be begun again by now: an expiry, and a window of a second.
        threading.Event().wait(EXPIRY_S + 1.5)
        notes.open_gate()
        assert job.result(15) == 1 and called.result(15) == 1
        assert [n["attempt"] for n in notes.all("begun")] == [1, 1]
        assert job.status()["failures"] == 0
        known = counters(client)
        assert known.get("workers_expired", 0) == 0
        await_workers(client, len(actors.by_pid))


def test_workers_come_back_to_a_broker_that_was_killed(tmp_path: Path, notes: Notes) -> None:
    with ExitStack() as stack:
        # A store that forgets: what the settings name is known from the start.
        known = {"heartbeat_interval_s": INTERVAL_S, "toml": "[services.ACT]\n"}
        broker = stack.enter_context(broker_process(tmp_path, **known))
        Actors(stack, tmp_path, broker.worker, 2)
        client = stack.enter_context(broker.connect())
        await_workers(client, 2)
        repeated = client.call_future("ACT", notes.params("until"), timeout=60)
        once = client.call_future("ACT", notes.params("until"), timeout=60, retries=0)
        notes.wait("begun", 2)
        broker.restart()
        began_at = time.monotonic()
        with pytest.raises(BrokerUnreachable) as unreachable:
            once.result(15)
        assert unreachable.value.maybe_accepted
        # The other is repeated, and runs as soon as a worker has let go of what the dead broker gave.
        notes.open_gate()
        assert repeated.result(20) == 1
        await_workers(client, 2)
        report(f"the workers were back after {time.monotonic() - began_at:.2f} s")
        for _ in range(4):
            assert client.call("ACT", notes.params("nothing"), timeout=10) == 1


def test_a_client_and_a_worker_that_know_two_brokers_go_to_the_one_that_is_there(
    tmp_path: Path, notes: Notes
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with ExitStack() as stack:
        a = stack.enter_context(broker_process(tmp_path / "a", heartbeat_interval_s=INTERVAL_S))
        b = stack.enter_context(broker_process(tmp_path / "b", heartbeat_interval_s=INTERVAL_S))
        worker = worker_process(tmp_path, a.worker, ACTOR, "both", also=[b.worker])
        pid = stack.enter_context(worker).pid
        client = stack.enter_context(Client([a.client, b.client]))
        await_workers(client, 1)
        assert client.call("ACT", notes.params("nothing"), timeout=10) == 1
        a.kill()

        def asked() -> bool:
            try:
                return client.ask("zmws.stats")["workers"] in (0, 1)
            except ZmwsError:
                return False  # it went to the broker that is gone before that was known

        wait_until(asked, 30, "the client asks the other broker")
        wait_until(lambda: worker_row(client, pid), 15, "the worker is at the other broker")
        assert client.call("ACT", notes.params("nothing"), timeout=10) == 1


def test_a_worker_without_descriptors_comes_back_to_its_broker(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short, tries = threading.Event(), list[int]()
    real = zmq.Context.socket

    def socket_of(context: Any, kind: int, *given: Any, **named: Any) -> Any:
        if kind == zmq.DEALER and not short.is_set():
            tries.append(1)
            raise zmq.ZMQError(errno.EMFILE)
        return real(context, kind, *given, **named)

    monkeypatch.setattr(zmq.Context, "socket", socket_of)
    line = WorkerLine("HOARD", [broker.worker])
    line.start()
    try:
        wait_until(lambda: "Too many open files; it is tried again" in caplog.text, 10, "it to be told")
        wait_until(lambda: len(tries) >= 3, 10, "more tries")
        short.set()
        assert line.registered.wait(20)
        assert caplog.text.count("it is tried again") == 1
    finally:
        line.stop()
        line.join(10)
        line.close()


def test_a_first_broker_that_cannot_be_reached_does_not_keep_them_from_the_second(
    tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path))
        # The system accepts there, and nobody says anything: a stopped process.
        hung = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = hung.getsockname()[1]
        # One that hangs, and one that has no address: the name is longer than any, so that none is looked up.
        firsts = [f"tcp://{host}:{port}" for host in ("127.0.0.1", f"{'x' * 64}.invalid")]
        (tmp_path / "etc").mkdir(exist_ok=True)
        file = tmp_path / "etc" / "open.toml"
        file.write_text("[security]\ninsecure = true\n")  # such a name may be another machine's
        for n, first in enumerate(firsts):
            given = {"also": [broker.worker], "flags": ["--config", str(file)]}
            stack.enter_context(worker_process(tmp_path, first, ACTOR, f"second-{n}", **given))
        clients = [
            stack.enter_context(Client([first, broker.client], connect_timeout=10, key=False))
            for first in firsts
        ]
        for client in clients:
            await_workers(client, 2)
            assert client.call("ACT", notes.params("nothing"), timeout=10) == 1
