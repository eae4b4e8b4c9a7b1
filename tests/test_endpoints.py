"""What the broker binds: addresses that another has, and the files of ipc:// sockets."""

from __future__ import annotations

import dataclasses
import errno
import json
import socket
import threading
from pathlib import Path

import pytest
import zmq

from tests.peers import wait_until
from zmws import ipc_files, settings
from zmws.client import Client
from zmws.server import BrokerServer, StartFailed
from zmws.store.sqlite.memory import MemoryStore
from zmws.supervisor.ports import ports_in_use
from zmws.testing import RunningBroker
from zmws.testing.broker import broker_in_thread

NAMES = ("client", "worker", "news", "mdp")


def _known(folder: Path, **addresses: str) -> settings.Settings:
    known = settings.load(None, environ={}, cwd=folder)
    free = dict.fromkeys(NAMES, "tcp://127.0.0.1:*")
    return dataclasses.replace(known, broker=dataclasses.replace(known.broker, **{**free, **addresses}))


def _why_not(folder: Path, name: str, address: str) -> str:
    """What a broker says that cannot bind there."""
    server = BrokerServer(_known(folder, **{name: address}), MemoryStore())
    with pytest.raises(StartFailed) as refused:
        try:
            server.bind()
            server.run()
        finally:
            server.close()
    return str(refused.value)


def _answers(address: str) -> bool:
    with Client(address, connect_timeout=5.0) as client:
        return bool(client.ask("zmws.stats"))


def test_a_socket_of_another_kind_that_somebody_has_is_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "socket"))
        address = f"ipc://{tmp_path}/socket"
        assert "is in use already" in _why_not(tmp_path, "client", address)
        assert ports_in_use(_known(tmp_path, client=address)) == [f"broker.client ({address})"]
        assert (tmp_path / "socket").is_socket()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["ipc://{folder}/socket", "ipc://@{folder}/socket", "tcp://127.0.0.1:*"])
def test_a_second_broker_on_an_address_is_refused_and_the_first_goes_on(
    tmp_path: Path, name: str, where: str
) -> None:
    with broker_in_thread(**{name: where.format(folder=tmp_path)}) as first:
        address = getattr(first, name)
        assert ports_in_use(_known(tmp_path, **{name: address})) == [f"broker.{name} ({address})"]
        for other in NAMES:
            told = _why_not(tmp_path, other, address)
            assert f"{address} (broker.{other}) is in use already" in told, told
        assert _answers(first.client)
    assert ports_in_use(_known(tmp_path, **{name: address})) == []
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_dead_broker_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket() and ports_in_use(_known(tmp_path, client=f"ipc://{path}")) == []
    with broker_in_thread(client=f"ipc://{path}") as broker:
        assert _answers(broker.client)
    assert not path.exists()


def test_what_is_no_socket_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.txt"
    path.write_text("of the user's own")
    told = _why_not(tmp_path, "client", f"ipc://{path}")
    assert "is no socket" in told and path.read_text() == "of the user's own"
    told = _why_not(tmp_path, "client", f"ipc://{tmp_path}/missing/socket")
    assert f"cannot bind ipc://{tmp_path}/missing/socket" in told and "No such file" in told


def test_a_broker_that_stops_leaves_anothers_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with broker_in_thread(client=f"ipc://{path}"):
        path.unlink()  # by whoever tidies up in /tmp
        second = broker_in_thread(client=f"ipc://{path}")
        broker = second.__enter__()
    try:
        assert path.is_socket() and _answers(broker.client)
    finally:
        second.__exit__(None, None, None)
    assert not path.exists()


def test_of_many_that_take_over_a_dead_socket_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    begin, got, faults = threading.Barrier(8), list[socket.socket](), list[OSError]()

    def take() -> None:
        begin.wait()
        try:
            got.append(ipc_files.listen(path, 10))
        except OSError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and {fault.errno for fault in faults} == {errno.EADDRINUSE}
    assert ipc_files.listens(path)
    got[0].close()
    wait_until(lambda: not ipc_files.listens(path), what="it is dead again")


def test_a_worker_is_told_where_the_brokers_clients_are_heard(zmws_broker: RunningBroker) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as worker:
        worker.linger = 0
        worker.connect(zmws_broker.worker)
        worker.send_multipart([b"MDPW02", b"\x01", b"S", b'{"zmws": 1, "id": "w"}'])
        assert worker.poll(5000)
        assert json.loads(worker.recv_multipart()[2])["client"] == zmws_broker.client
