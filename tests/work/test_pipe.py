"""zmws.work.pipe: messages of any size, in pieces of any size."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from zmws.work.pipe import Pipe

Ends = tuple[Pipe, Pipe]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    pipes = Pipe(ours), Pipe(theirs)
    yield pipes
    for pipe in pipes:
        pipe.close()


def test_messages_come_whole_and_in_order(ends: Ends) -> None:
    ours, theirs = ends
    for message in (("a", 1), b"", {"b": [None]}):
        assert ours.send(message)
    came = theirs.receive()
    assert [next(came) for _ in range(3)] == [("a", 1), b"", {"b": [None]}]


def test_one_that_is_larger_than_the_socket_takes_goes_in_pieces(ends: Ends) -> None:
    ours, theirs = ends
    big = b"x" * 5_000_000
    assert not ours.send(big) and ours.is_full
    assert not ours.send("behind it")
    came: list[object] = []

    def read() -> None:
        messages = theirs.receive()
        came.extend(next(messages) for _ in range(2))

    reader = threading.Thread(target=read)
    reader.start()
    while not ours.flush():
        assert reader.is_alive()
    reader.join(20)
    assert came == [big, "behind it"] and not ours.is_full


def test_a_message_in_pieces_is_waited_for_and_none_is_no_message(ends: Ends) -> None:
    ours, theirs = ends
    assert list(ours.receive()) == []
    theirs.send("whole")
    data = ours.sock.recv(100)
    theirs.sock.send(data[:5])
    assert list(ours.receive()) == []
    theirs.sock.send(data[5:])
    assert list(ours.receive()) == ["whole"]


def test_the_end_is_told_behind_what_has_come(ends: Ends) -> None:
    ours, theirs = ends
    theirs.send("last")
    theirs.close()
    came = ours.receive()
    assert next(came) == "last"
    with pytest.raises(EOFError):
        next(came)
    assert ours.send("to nobody") and not ours.is_full
