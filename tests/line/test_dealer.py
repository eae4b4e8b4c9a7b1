"""zmws.line.dealer: a socket for one connection, in its owner's poller."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from tests.peers import skip_unless_possible, wait_until
from zmws.line.dealer import Dealer, NoDescriptors


@pytest.fixture
def made() -> Iterator[tuple[Dealer, zmq.Poller, zmq.Context[Any]]]:
    """One, what it is registered with, and its context."""
    with zmq.Context() as context:
        poller = zmq.Poller()
        dealer = Dealer(context, poller)
        yield dealer, poller, context
        dealer.close()


def test_without_a_connection_nothing_comes_and_nothing_is_sent(made: Any) -> None:
    dealer, poller, _ = made
    dealer.send([b"x"])
    assert dealer.recv() is None and dealer.event() is None and poller.sockets == []
    dealer.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_it_comes_up_and_goes_down_once(made: Any, address: str) -> None:
    dealer, poller, context = made
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.IPV6, 1)
    router.setsockopt(zmq.RCVTIMEO, 10_000)
    try:
        port = router.bind_to_random_port(f"tcp://{address}")
    except zmq.ZMQError as wrong:
        skip_unless_possible(False, f"no IPv6 here: {wrong}", refused_by_system=True)
    dealer.open(f"tcp://{address}:{port}", 0.5, 1.0)
    assert len(poller.sockets) == 2
    dealer.send([b"a", b"b"])
    peer, *frames = router.recv_multipart()
    assert frames == [b"a", b"b"] and wait_until(dealer.event) == "up"
    router.send_multipart([peer, b"c"])
    assert wait_until(dealer.recv) == [b"c"]
    router.close(linger=0)
    assert wait_until(dealer.event) == "down"
    dealer.close()
    assert poller.sockets == [] and dealer.recv() is None


def test_a_port_where_nobody_listens_is_down(made: Any) -> None:
    dealer, _, _ = made
    dealer.open("tcp://127.0.0.1:1", 0.5, 1.0)
    assert wait_until(dealer.event) == "down"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_descriptors_there_is_no_half_of_a_connection(
    made: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealer, poller, context = made

    def none_left(*_: object, **__: object) -> None:
        raise zmq.ZMQError(number)

    with monkeypatch.context() as patch:
        patch.setattr(zmq.Socket, "get_monitor_socket", none_left)
        with pytest.raises(NoDescriptors):
            dealer.open("tcp://127.0.0.1:1", 0.5, 1.0)
    assert poller.sockets == [] and all(socket.closed for socket in context._sockets)
    dealer.open("tcp://127.0.0.1:1", 0.5, 1.0)
    assert len(poller.sockets) == 2


def test_another_failure_of_the_socket_is_raised_as_it_is(made: Any) -> None:
    dealer, poller, _ = made
    with pytest.raises(zmq.ZMQError):
        dealer.open("what://ever", 0.5, 1.0)
    assert poller.sockets == []
