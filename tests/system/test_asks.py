"""What the client asks that changes something bears an id, the same in each repeat."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zmq

from zmws import Client
from zmws.core.questions import CHANGES


class Ears:
    """A ROUTER that stands for a broker."""

    def __init__(self, socket: zmq.Socket) -> None:
        self.socket = socket

    def hear(self) -> tuple[list[bytes], str, Any]:
        """Peer and number, service, question."""
        assert self.socket.poll(10_000), "nothing was asked"
        peer, number, _, _, _, service, *rest = self.socket.recv_multipart()
        return [peer, number], service.decode().removeprefix("SYNC-"), json.loads(rest[-1].removeprefix(b"PARAM-JSON: "))

    def answer(self, to: list[bytes], service: str, body: Any) -> None:
        frames = [*to, b"", b"MDPC02", b"\x03", service.encode(), b"200", json.dumps(body).encode()]
        self.socket.send_multipart(frames)


@pytest.mark.parametrize("service", sorted(CHANGES))
def test_a_question_that_changes_something_has_an_id_that_its_repeat_has_too(service: str) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        ears = Ears(socket)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with Client(f"tcp://127.0.0.1:{port}") as client:
            asked = client.answer_future(service, {"id": "j"})
            to, name, _ = ears.hear()
            assert name == "zmws.hello"
            ears.answer(to, name, {"zmws": 1, "socket": "client"})
            to, name, first = ears.hear()
            assert name == service and 1 <= len(first["ask"]) <= 64
            # Not answered: the connection breaks, and another is made.
            socket.unbind(f"tcp://127.0.0.1:{port}")
            socket.close()
            with context.socket(zmq.ROUTER) as other:
                other.setsockopt(zmq.LINGER, 0)
                other.bind(f"tcp://127.0.0.1:{port}")
                ears = Ears(other)
                to, name, _ = ears.hear()
                ears.answer(to, name, {"zmws": 1, "socket": "client"})
                to, name, again = ears.hear()
                assert (name, again) == (service, first)
                ears.answer(to, name, {"count": 7})
                assert asked.result(10) == {"count": 7}
