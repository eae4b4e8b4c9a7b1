"""The memory guard, over real connections: which descriptor is which, and who is cut."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from tests.peers import wait_until
from zmws import sockets
from zmws.server import connections, memory_guard
from zmws.server.memory_guard import IPC_SUSPECT_TIMES, MemoryGuard, resident_bytes

MIB = 1024 * 1024


class Pair:
    """A TCP connection: `near` is what the guard knows, `far` who sends."""

    def __init__(self, guard: MemoryGuard, family: int = socket.AF_INET) -> None:
        if family == socket.AF_INET:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.far = socket.create_connection(listener.getsockname())
                self.near, _ = listener.accept()
        else:
            self.near, self.far = socket.socketpair()
        self.fd = self.near.fileno()
        guard.accepted(self.fd)

    def send(self, count: int, read: bool = True) -> None:
        while count:
            part = min(count, 65_536)
            self.far.sendall(bytes(part))
            count -= part
            while read and part:
                part -= len(self.near.recv(part))

    def is_cut(self) -> bool:
        self.far.settimeout(0.2)
        try:
            return self.far.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def short() -> MemoryGuard:
    """A guard for whom any memory is too much."""
    return MemoryGuard(1, 8 * MIB)


@pytest.fixture
def pairs(short: MemoryGuard) -> Iterator[list[Pair]]:
    made = [Pair(short) for _ in range(3)]
    yield made
    for pair in made:
        pair.close()


def test_nothing_is_cut_while_there_is_memory(pairs: list[Pair]) -> None:
    guard = MemoryGuard(4 * resident_bytes(), 8 * MIB)
    guard.accepted(pairs[0].fd)
    pairs[0].send(MIB)
    assert guard.check() is None and not guard.watching and not pairs[0].is_cut()


def test_it_watches_from_half_of_its_memory_on() -> None:
    guard = MemoryGuard(resident_bytes() * 3 // 2, 8 * MIB)
    assert guard.check() is None and guard.watching


def test_who_sends_without_end_is_cut_and_the_others_are_not(short: MemoryGuard, pairs: list[Pair]) -> None:
    assert short.check() is None and short.watching
    quiet, honest, endless = pairs
    endless.send(2 * MIB)
    honest.send(2 * MIB)
    short.completed(honest.fd)
    assert short.check() == 2 * MIB
    assert endless.is_cut() and not honest.is_cut() and not quiet.is_cut()
    assert short.cut == 1 and short.connections == 2
    assert short.check() is None


def test_a_crowd_is_cut_at_once(short: MemoryGuard) -> None:
    short.check()
    crowd = [Pair(short) for _ in range(20)]
    honest = Pair(short)
    for pair in crowd:
        pair.send(200_000)
    honest.send(50_000)
    assert short.check() == 20 * 200_000
    assert short.cut == 20 and not honest.is_cut() and all(pair.is_cut() for pair in crowd)
    for pair in (*crowd, honest):
        pair.close()


def test_what_was_received_before_memory_was_short_is_not_counted(
    short: MemoryGuard, pairs: list[Pair]
) -> None:
    pairs[0].send(5 * MIB)
    assert short.check() is None
    assert not pairs[0].is_cut()


def test_heartbeats_are_no_reason(short: MemoryGuard, pairs: list[Pair]) -> None:
    short.check()
    pairs[0].send(9 * 1_000)
    assert short.check() is None


def test_a_number_that_means_another_connection_by_now_is_left_alone(short: MemoryGuard) -> None:
    short.check()
    new, old = Pair(MemoryGuard(1, 1)), Pair(short)
    fd = old.fd
    old.close()
    os.dup2(new.fd, fd)  # the same number, and no word of it from any monitor
    new.send(MIB)
    assert short.check() is None and short.cut == 0 and short.connections == 0
    new.near.send(b"x")
    assert new.far.recv(1) == b"x"
    os.close(fd)
    new.close()


def test_a_late_word_of_the_old_owner_does_not_hide_the_new_one(short: MemoryGuard) -> None:
    short.check()
    pair = Pair(short)
    # Its number was another connection's, whose monitor only now says that it is gone.
    short.closed(pair.fd)
    pair.send(MIB)
    assert short.check() == MIB and pair.is_cut()
    pair.close()


def test_connections_that_are_gone_are_forgotten(short: MemoryGuard) -> None:
    for _ in range(5):
        pair = Pair(short)
        short.closed(pair.fd)
        pair.close()
    short.check()
    assert short.connections == 0


def test_numbers_that_are_no_connections_do_no_harm(short: MemoryGuard, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        for number in (-1, 1_000_000, file.fileno()):
            short.accepted(number)
            short.completed(number)
            short.closed(number)
        assert short.check() is None and short.check() is None


def test_a_sender_that_is_never_slower_than_the_reader_is_cut_all_the_same(short: MemoryGuard) -> None:
    short.check()
    pair = Pair(short)
    over = threading.Event()

    def send() -> None:
        try:
            while not over.is_set():
                pair.far.sendall(bytes(65_536))
        except OSError:
            over.set()

    sender = threading.Thread(target=send)
    sender.start()
    got = 0
    while got < MIB:
        got += len(pair.near.recv(65_536))
    assert short.check() is not None
    try:
        while pair.near.recv(65_536):
            pass
    except OSError:
        pass
    assert over.wait(5)
    sender.join(5)
    pair.close()


def test_over_ipc_who_always_has_more_and_completes_nothing_is_cut(short: MemoryGuard) -> None:
    short.check()
    honest, endless = Pair(short, socket.AF_UNIX), Pair(short, socket.AF_UNIX)
    for _ in range(IPC_SUSPECT_TIMES):
        assert short.cut == 0
        endless.send(100, read=False)
        honest.send(100, read=False)
        short.check()
        short.completed(honest.fd)
    assert short.cut == 1
    endless.near.setblocking(False)
    assert endless.far.recv(1) == b""
    honest.close()
    endless.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:*", "ipc://{folder}/socket"])
def test_libzmq_tells_the_descriptors_as_the_guard_needs_them(
    address: str, tmp_path: Path, short: MemoryGuard
) -> None:
    with zmq.Context() as context:
        router = context.socket(zmq.ROUTER)
        watched = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED
        monitor = router.get_monitor_socket(watched)
        router.bind(address.format(folder=tmp_path))
        endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
        dealer = context.socket(zmq.DEALER)
        dealer.connect(endpoint)
        monitor.setsockopt(zmq.RCVTIMEO, 10_000)
        accepted = recv_monitor_message(monitor)
        assert accepted["event"] == zmq.Event.ACCEPTED
        short.accepted(accepted["value"])
        assert short.connections == 1
        sockets.send(dealer, [b"a", b"b"])
        assert router.poll(10_000)
        frames, last = sockets.recv_at_most(router, 64)
        descriptor = sockets.descriptor_of(last)
        assert frames[1:] == [b"a", b"b"] and descriptor == accepted["value"]
        # Cut by its number: libzmq notices, and closes it itself.
        inode = os.fstat(descriptor).st_ino
        connections.cut(descriptor, inode)
        gone = recv_monitor_message(monitor)
        assert gone["event"] == zmq.Event.DISCONNECTED and gone["value"] == descriptor
        short.closed(descriptor)

        def forgotten() -> bool:
            short.check()
            short.closed(descriptor)
            return short.connections == 0

        wait_until(forgotten, 5, "the descriptor is closed")
        router.disable_monitor()
        monitor.close()
        dealer.close(linger=0)
        router.close(linger=0)


def test_memory_is_given_back() -> None:
    memory_guard.give_back_memory()
    assert resident_bytes() > MIB
