"""A native client over a bare socket: what the broker can take, whatever our Client costs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import zmq
from harness import Broken

from zmws import ids, sockets
from zmws.key_file import KeyFile

ANSWER_TIMEOUT_S = 60.0


class Wire:
    """Keeps requests under way on one DEALER, and checks every answer."""

    def __init__(self, endpoint: str, durability: str = "disk", key: KeyFile | None = None) -> None:
        """`durability`: what each accepted job has to have got. `key`: who it is for a broker that asks."""
        self._durability = durability
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.set_hwm(0)
        self._socket.rcvtimeo = int(ANSWER_TIMEOUT_S * 1000)
        if key is not None:
            sockets.secure_client(self._socket, key.public, key.secret, key.broker)
        self._socket.connect(endpoint)
        self._number = 0

    def call(self, service: str, calls: int, in_flight: int, body_bytes: int) -> float:
        """Synchronous calls of a service that echoes; the seconds from the first request to the last answer.
        Raises Broken for any that does not come back."""
        bodies = [_body(number, body_bytes) for number in range(calls)]

        def take(place: int, answer: list[bytes]) -> None:
            if answer[0] != b"\x03" or answer[-1] != bodies[place] or _failed(answer):
                raise Broken(f"a call of {bodies[place][:80]!r} was answered {_shown(answer)}")

        return self._ask(f"SYNC-{service}", [[body] for body in bodies], in_flight, take)

    def move(self, service: str, calls: int, in_flight: int, body: bytes, answer_bytes: int) -> float:
        """Synchronous calls with the same body; the seconds that they took. Raises Broken for any whose
        answer has fewer bytes."""

        def take(_place: int, answer: list[bytes]) -> None:
            if answer[0] != b"\x03" or len(answer[-1]) < answer_bytes or _failed(answer):
                raise Broken(f"a call of {len(body)} bytes was answered {_shown(answer)}")

        return self._ask(f"SYNC-{service}", ([body] for _ in range(calls)), in_flight, take)

    def submit(self, service: str, jobs: int, in_flight: int, body_bytes: int) -> float:
        """Jobs with ids, one a message; the seconds from the first to the last acknowledgement. Raises
        Broken for any that is not accepted, as new and with that durability."""
        listed = [(ids.new_id(), _body(number, body_bytes)) for number in range(jobs)]
        requests = [[b'OPTS-JSON: {"id": "%s"}' % name.encode(), body] for name, body in listed]

        def take(place: int, answer: list[bytes]) -> None:
            accepted = f"JOB: {listed[place][0]} {service}".encode()
            if answer[-2] != accepted or not self._is_new(json.loads(answer[-1].partition(b": ")[2])):
                raise Broken(f"a submit was answered {_shown(answer)}")

        return self._ask(service, requests, in_flight, take)

    def submit_many(self, messages: Iterable[bytes], in_flight: int = 2) -> int:
        """Bodies of `zmws.submit`; how many jobs were accepted. Raises Broken for any that was not."""
        accepted = 0

        def take(_place: int, answer: list[bytes]) -> None:
            nonlocal accepted
            status, body = answer[-2:]
            verdicts = json.loads(body)
            if status != b"200" or not all(map(self._is_new, verdicts)):
                raise Broken(f"zmws.submit answered {status!r} {body[:200]!r}")
            accepted += len(verdicts)

        self._ask("zmws.submit", ([message] for message in messages), in_flight, take)
        return accepted

    def _ask(
        self,
        service: str,
        requests: Iterable[Sequence[bytes]],
        in_flight: int,
        take: Callable[[int, list[bytes]], None],
    ) -> float:
        """Send each request's frames, so many under way; `take` gets its place and what its answer holds
        behind MDPC02. The seconds it took. Raises Broken for silence, and for an answer to no request."""
        head = [b"", b"MDPC02", b"\x01", service.encode()]
        under_way: dict[bytes, int] = {}

        def one_answer() -> None:
            try:
                number, empty, protocol, *answer = self._socket.recv_multipart()
            except zmq.Again:
                raise Broken(f"no answer of {service} within {ANSWER_TIMEOUT_S:.0f} s") from None
            place = under_way.pop(number, None)
            if place is None or empty or protocol != b"MDPC02" or len(answer) < 3:
                raise Broken(f"an answer to no request: {number!r} {_shown(answer)}")
            take(place, answer)

        begun = time.monotonic()
        for place, request in enumerate(requests):
            if len(under_way) == in_flight:
                one_answer()
            self._number += 1
            number = b"%d" % self._number
            under_way[number] = place
            self._socket.send_multipart([number, *head, *request])
        while under_way:
            one_answer()
        return time.monotonic() - begun

    def _is_new(self, verdict: dict[str, Any]) -> bool:
        return verdict.get("durability") == self._durability and not verdict["existing"]

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _body(number: int, body_bytes: int) -> bytes:
    """Text as JSON, each another, of so many bytes unless the number needs more."""
    return b'PARAM-JSON: "%s"' % (b"%010d" % number).ljust(body_bytes - 2, b"x")


def _failed(answer: Sequence[bytes]) -> bool:
    return any(frame.startswith(b"FAIL:") for frame in answer)


def _shown(frames: Sequence[bytes]) -> str:
    return " | ".join(repr(frame[:80]) for frame in frames)
