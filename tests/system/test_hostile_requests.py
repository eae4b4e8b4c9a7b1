"""Well-formed requests with hostile values to a broker of its own process, over sockets and a SQLite file:
none ends it, and whoever asks is answered. `--hostile` says how many are sent.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
import zmq

from tests.hostile import Request, commands, each_bad_value, requests
from tests.peers import BrokerProcess, await_workers, broker_process, counters, peer, report, worker_process
from zmws.client import Client

pytestmark = pytest.mark.timed  # the honest are to be answered in time

IN_FLIGHT = 40
SETTINGS = """
[broker]
wait_max = 0.2
[services.E]
[services.X]
retries = 0
"""
ECHO = """
service_name = "ECHO"
def work(self, job_id, params):
    return params
"""


def _drawn(count: int) -> list[Request]:
    """So many requests: each field with each value, and then mixtures, in an order of chance."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    asked = list(each_bad_value())
    dice = random.Random(20_120_601)

    @settings(
        max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @given(st.lists(requests | commands, max_size=20))
    def draw(some: list[Request]) -> None:
        asked.extend(some)

    draw()
    dice.shuffle(asked)
    return list(itertools.islice(itertools.cycle(asked), count))


class Asker:
    """Sends requests, many in flight, and ticks off their answers."""

    def __init__(self, broker: BrokerProcess, client: Client, socket: zmq.Socket, worker: zmq.Socket) -> None:
        self._broker, self._client, self._socket, self._worker = broker, client, socket, worker
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, Request] = {}
        self._token = b"j/1/x"
        self.answered = self.sent = 0

    def lease(self) -> None:
        """Another live token for those that need one."""
        self._client.submit("E", {"n": self.sent}, keep=0, retries=0)
        lease = self._client.lease("E", wait=0.1)
        if lease is not None:
            self._token = lease.token.encode()

    def ask(self, request: Request) -> None:
        frames = request.with_token(self._token)
        self.sent += 1
        if not request.answered:
            self._worker.send_multipart(frames)
            while self._worker.poll(0):
                self._worker.recv_multipart()
            return
        number = b"%d" % next(self._numbers)
        self._waiting[number] = request
        self._socket.send_multipart([number, b"", *frames])
        while len(self._waiting) >= IN_FLIGHT:
            self._hear()

    def _hear(self) -> None:
        if not self._socket.poll(15_000):
            self._broker.check()
            raise AssertionError(f"no answer within 15 s: {list(self._waiting.values())[:3]}")
        frames = self._socket.recv_multipart()
        request = self._waiting.pop(frames[0], None)
        assert request is not None, f"a second answer: {frames}"
        assert frames[-2] != b"500", (request, frames)
        self.answered += 1

    def end(self) -> None:
        while self._waiting:
            self._hear()


@pytest.mark.timeout(3600)
def test_no_well_formed_request_ends_the_broker(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    count = pytestconfig.getoption("--hostile")
    with (
        broker_process(tmp_path, toml=SETTINGS) as broker,
        worker_process(tmp_path, broker.worker, ECHO),
        broker.connect() as client,
        peer(broker.client) as socket,
        peer(broker.worker) as worker,
    ):
        await_workers(client, 1, "ECHO")
        asker = Asker(broker, client, socket, worker)
        for request in _drawn(count):
            if asker.sent % 50 == 0:
                asker.lease()
                assert client.call("ECHO", {"n": asker.sent}, timeout=10) == {"n": asker.sent}
            asker.ask(request)
        asker.end()
        known = counters(client)
        report(f"{asker.sent} sent, {asker.answered} answered, {known}")
        assert known.get("questions_broken", 0) == 0
        broker.check()


def test_a_question_is_answered_on_the_strict_socket_too(tmp_path: Path) -> None:
    with broker_process(tmp_path) as broker:
        for name, endpoint in (("client", broker.client), ("mdp", broker.mdp)):
            with peer(endpoint) as one:
                one.send_multipart([b"MDPC02", b"\x01", b"zmws.hello"])
                *_, status, told = one.recv_multipart()
                hello = json.loads(told)
                assert status == b"200" and hello["socket"] == name
                assert hello["message_bytes_max"] == 8 * 1024 * 1024 and hello["submit_many_max"] == 1000
