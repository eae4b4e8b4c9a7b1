"""What the client asks that changes something bears an id, the same in each repeat."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zmq

from tests.peers import proxy
from zmws import Client
from zmws.core.desk.changes import CHANGES


class Ears:
    """A ROUTER that stands for a broker."""

    def __init__(self, socket: zmq.Socket) -> None:
        self.socket = socket

    def hear(self) -> tuple[list[bytes], str, Any]:
        """Peer and number, service, question."""
        assert self.socket.poll(10_000), "nothing was asked"
        peer, number, _, _, _, service, *rest = self.socket.recv_multipart()
        question = json.loads(rest[-1].removeprefix(b"PARAM-JSON: "))
        return [peer, number], service.decode().removeprefix("SYNC-"), question

    def greet(self) -> None:
        to, name, _ = self.hear()
        assert name == "zmws.hello"
        self.answer(to, name, {"zmws": 1, "socket": "client"})

    def answer(self, to: list[bytes], service: str, body: Any) -> None:
        frames = [*to, b"", b"MDPC02", b"\x03", service.encode(), b"200", json.dumps(body).encode()]
        self.socket.send_multipart(frames)


@pytest.mark.parametrize("service", sorted(CHANGES))
def test_a_question_that_changes_something_has_an_id_that_its_repeat_has_too(service: str) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        ears = Ears(socket)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with proxy(f"tcp://127.0.0.1:{port}") as between, Client(between.endpoint) as client:
            asked = client.answer_future(service, {"id": "j"})
            ears.greet()
            _, name, first = ears.hear()
            assert name == service and 1 <= len(first["ask"]) <= 64
            between.cut()  # before it is answered
            ears.greet()
            to, name, again = ears.hear()
            assert (name, again) == (service, first)
            ears.answer(to, name, {"count": 7})
            assert asked.result(10) == {"count": 7}
