"""zmws.line.thread: one thread drives any dialog over a real socket. Here it notes what comes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from tests.peers import wait_until
from zmws.dialog.actions import Open, Transmit
from zmws.line import dealer
from zmws.line.thread import LineThread

SAY = object()  # an action that is not the socket's


class Noting:
    """A dialog that does what the test says, and notes what it is told, each with its thread."""

    def __init__(self) -> None:
        self.out: list[Any] = []
        self.told: list[tuple[str, Any]] = []
        self.threads: set[int] = set()
        self.due: float | None = None

    def note(self, what: str, about: Any = None) -> None:
        self.threads.add(threading.get_ident())
        self.told.append((what, about))

    def connected(self, now: float) -> None:
        self.note("connected")

    def disconnected(self, now: float, reason: str = "") -> None:
        self.note("disconnected", reason)

    def receive(self, now: float, frames: list[bytes]) -> None:
        self.note("receive", frames)

    def tick(self, now: float) -> None:
        if self.due is not None and now >= self.due:
            self.due = None
            self.note("tick")

    def next_deadline(self) -> float | None:
        return self.due

    def take(self) -> list[Any]:
        out, self.out = self.out, []
        return out


class Driven(LineThread[Noting, Any]):
    """Hands actions over to its dialog."""

    def __init__(self) -> None:
        self.ends: list[BaseException | None] = []
        self.left: list[Any] = []
        self.acts, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        super().__init__(Noting(), 200)

    def take_up(self, now: float, item: Any) -> None:
        self.dialog.note("take_up", item)
        if isinstance(item, Exception):
            raise item
        self.dialog.out.append(item)

    def act(self, action: Any) -> None:
        self.dialog.note("act", action)
        self.acts.set()
        assert self.go_on.wait(10)

    def cannot_open(self, why: str) -> None:
        self.dialog.note("cannot_open", why)

    def ending(self, fault: BaseException | None) -> None:
        self.ends.append(fault)
        while (item := self.taken_back()) is not None:
            self.left.append(item)

    def wait_for(self, what: str, about: Any = None) -> None:
        wait_until(lambda: (what, about) in self.dialog.told, 10, f"{what} {about}")


@pytest.fixture
def line() -> Iterator[Driven]:
    """A thread that runs, until the test ends."""
    driven = Driven()
    driven.start()
    yield driven
    driven.close()
    driven.join(10)
    assert driven.ended


@pytest.fixture
def router() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """What it may connect to."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        yield socket, f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


def opened(endpoint: str) -> Open:
    return Open(endpoint, 0.5, 1.0)


def test_frames_go_out_and_come_in_and_all_of_it_is_in_one_thread(line: Driven, router: Any) -> None:
    socket, endpoint = router
    for action in (opened(endpoint), Transmit([b"a", b""]), SAY, Transmit([b"b"])):
        line.hand(action)
    peer = socket.recv_multipart()
    assert peer[1:] == [b"a", b""] and socket.recv_multipart()[1:] == [b"b"]
    line.wait_for("connected")
    line.wait_for("act", SAY)
    socket.send_multipart([peer[0], b"x", b"y"])
    line.wait_for("receive", [b"x", b"y"])
    assert len(line.dialog.threads) == 1 and threading.get_ident() not in line.dialog.threads
    assert not line.home.here and line.home.thread in line.dialog.threads


def test_a_broken_connection_is_told_and_none_is_made_by_itself(line: Driven, router: Any) -> None:
    socket, endpoint = router
    line.hand(opened(endpoint))
    line.hand(Transmit([b"a"]))
    socket.send_multipart([socket.recv_multipart()[0], b"last"])
    line.wait_for("receive", [b"last"])
    socket.close()
    line.wait_for("disconnected", "")
    told = [what for what, _ in line.dialog.told if what != "take_up"]
    assert told == ["connected", "receive", "disconnected"]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as again:
        again.bind(endpoint)
        again.setsockopt(zmq.RCVTIMEO, 300)
        line.hand(Transmit([b"into nothing"]))
        with pytest.raises(zmq.Again):
            again.recv_multipart()


def test_an_open_closes_what_was_open(line: Driven, router: Any) -> None:
    socket, endpoint = router
    line.hand(opened(endpoint))
    line.hand(Transmit([b"one"]))
    first = socket.recv_multipart()
    line.hand(opened(endpoint))
    line.hand(Transmit([b"two"]))
    second = socket.recv_multipart()
    assert (first[1], second[1]) == (b"one", b"two") and first[0] != second[0]
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)

    def gone() -> bool:
        try:
            socket.send_multipart([first[0], b"x"])
        except zmq.ZMQError:
            return True
        return False

    wait_until(gone, 10, "the first connection's end")


def test_it_ticks_when_the_dialog_is_due_and_sleeps_until_then(line: Driven) -> None:
    line.dialog.due = time.monotonic() + 0.2
    begun = time.monotonic()
    line.hand(SAY)  # so that it looks at the deadline
    line.wait_for("tick")
    assert time.monotonic() - begun >= 0.19


def test_what_is_handed_over_is_taken_up_in_order_from_any_thread(line: Driven) -> None:
    def hand(thread: int) -> None:
        for n in range(200):
            line.hand((thread, n))

    threads = [threading.Thread(target=hand, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(line.dialog.told) == 1_600)
    for thread in range(4):
        taken = [item[1] for what, item in line.dialog.told if what == "take_up" and item[0] == thread]
        assert taken == list(range(200))


def test_without_descriptors_the_dialog_is_told_why(line: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise dealer.NoDescriptors("none left")

    monkeypatch.setattr(dealer.Dealer, "open", none_left)
    line.hand(opened("tcp://127.0.0.1:1"))
    line.wait_for("disconnected", "none left")
    assert ("cannot_open", "none left") in line.dialog.told
    line.hand(SAY)
    line.wait_for("act", SAY)


# ---------------------------------------------------------------- its end


def test_a_close_ends_it_once_after_what_was_handed_over(router: Any) -> None:
    line = Driven()
    line.start()
    line.hand(opened(router[1]))
    line.hand(Transmit([b"bye"]))
    wait_until(lambda: line.home.thread)
    line.close()
    line.close()
    line.join(10)
    assert line.ended and line.ends == [None] and line.home.thread is None
    assert router[0].recv_multipart()[1] == b"bye"
    line.hand("too late")
    assert line.taken_back() == "too late" and line.taken_back() is None


def test_a_close_before_the_start_ends_it_without_a_thread() -> None:
    line = Driven()
    line.hand(1)
    line.close()
    line.close()
    line.start()
    line.join()
    assert line.ended and line.ends == [None] and line.left == [1] and line.dialog.told == []


def test_two_starts_are_one_thread(line: Driven) -> None:
    for _ in range(20):
        line.start()
        line.hand(SAY)
    wait_until(lambda: line.dialog.told.count(("act", SAY)) == 20)
    assert len(line.dialog.threads) == 1


def test_a_fault_ends_it_with_what_was_not_taken_up(line: Driven) -> None:
    fault = ValueError("ours")
    line.go_on.clear()
    line.hand(SAY)
    assert line.acts.wait(10)
    for item in (fault, "after it"):
        line.hand(item)
    line.go_on.set()
    line.join(10)
    assert line.ended and line.ends == [fault] and line.left == [fault, "after it"]


def test_many_may_wait_for_its_end(line: Driven) -> None:
    waited: list[int] = []

    def wait(n: int) -> None:
        line.join(10)
        waited.append(n)

    line.join(0.01)
    assert not line.ended
    threads = [threading.Thread(target=wait, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    line.close()
    for thread in threads:
        thread.join(10)
    assert sorted(waited) == list(range(5))


def test_a_forked_child_that_closes_its_copy_ends_nothing(line: Driven) -> None:
    child = os.fork()
    if child == 0:
        line.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    line.hand(SAY)
    line.wait_for("act", SAY)
    assert not line.ended and line.ends == []


# ---------------------------------------------------------------- left for it, and looking


class Looks(Driven):
    """Looks by itself while the test says so."""

    def __init__(self) -> None:
        self.looking = self.supplied = False
        self.woken = 0
        super().__init__()

    def wake(self) -> None:
        self.woken += 1
        super().wake()

    def looks(self) -> bool:
        return self.looking

    def is_supplied(self) -> bool:
        return self.supplied


@pytest.fixture
def looks() -> Iterator[Looks]:
    driven = Looks()
    driven.start()
    yield driven
    driven.close()
    driven.join(10)


def test_what_is_left_wakes_the_thread_unless_it_looks_by_itself(looks: Looks) -> None:
    looks.leave("a")
    looks.wait_for("take_up", "a")
    assert looks.woken == 1
    looks.looking = True
    looks.hand("b")
    looks.wait_for("take_up", "b")
    assert looks.woken == 2
    looks.leave("c")
    looks.wait_for("take_up", "c")
    assert looks.woken == 2, "it has found that by itself"
    looks.looking = False


def test_while_it_is_supplied_it_reads_the_socket_all_the_same_and_is_woken_at_once(
    looks: Looks, router: Any
) -> None:
    socket, endpoint = router
    looks.looking = looks.supplied = True
    looks.hand(opened(endpoint))
    looks.hand(Transmit([b"a"]))
    peer = socket.recv_multipart()[0]
    for text in (b"1", b"2", b"3"):
        socket.send_multipart([peer, text])
        looks.wait_for("receive", [text])
    looks.hand("b")
    looks.wait_for("take_up", "b")
    looks.looking = looks.supplied = False
    looks.hand("c")
    looks.wait_for("take_up", "c")


def test_who_has_it_look_finds_all_read_that_had_come(line: Driven, router: Any) -> None:
    socket, endpoint = router
    line.hand(opened(endpoint))
    line.hand(Transmit([b"a"]))
    peer = socket.recv_multipart()[0]
    line.wait_for("connected")
    line.go_on.clear()
    line.hand(SAY)  # it is kept busy
    assert line.acts.wait(10)
    socket.send_multipart([peer, b"came meanwhile"])
    threading.Timer(0.05, line.go_on.set).start()
    line.look(10.0)
    assert ("receive", [b"came meanwhile"]) in line.dialog.told


def test_to_look_waits_no_longer_than_it_is_told_and_not_for_one_that_has_ended(line: Driven) -> None:
    line.go_on.clear()
    line.hand(SAY)
    assert line.acts.wait(10)
    began = time.monotonic()
    line.look(0.05)
    assert time.monotonic() - began < 5
    line.go_on.set()
    line.close()
    line.join(10)
    line.look(10.0)
