"""Peers that claim the routing ids of others, at every socket that has some.

A ZMTP peer may name any routing id in its READY, also one of those that libzmq gives to who names none.
libzmq begins these at a number drawn with rand(), which begins alike in every process: whoever claims the
next ones makes libzmq abort the broker, and whoever claims those in use gets what is meant for others. The
broker seeds rand() for each of its ROUTERs; nobody is told a routing id.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from tests.peers import (
    REPOSITORY,
    BrokerProcess,
    RawZmtp,
    await_workers,
    broker_process,
    peer,
    wait_until,
    worker_process,
)
from tests.system.under_watch import ECHO, Honest
from zmws.client import Client

pytestmark = pytest.mark.timed  # the honest are to be answered in time

SOCKETS = ("client", "worker", "mdp")  # in the order in which the broker makes them
CLAIMS = 300
CHOSEN = b"1D2B-0A43"  # as workers in PHP choose it
IDS_BEFORE = "import ctypes; rand = ctypes.CDLL(None).rand; print(*[rand() for _ in range(6)])"


def default_start(endpoint: str) -> int:
    """The first routing id that libzmq gives on this socket when nobody has seeded rand()."""
    done = subprocess.run([sys.executable, "-c", IDS_BEFORE], capture_output=True, check=True, timeout=20)
    drawn = [int(word) for word in done.stdout.split()]
    n = 2 * SOCKETS.index(endpoint)
    return (drawn[n] | drawn[n + 1] << 31) % 2**32


def integral(number: int) -> bytes:
    return b"\0" + (number % 2**32).to_bytes(4, "big")


def claim(stack: ExitStack, address: str, identity: bytes) -> RawZmtp:
    """A peer under this routing id, which is in force when this returns."""
    raw = stack.enter_context(RawZmtp(address))
    raw.handshake(identity=identity)
    return raw


def got(raw: RawZmtp) -> bytes:
    """What was sent to this peer since its handshake."""
    raw.socket.setblocking(False)
    try:
        return raw.socket.recv(65_536)
    except (BlockingIOError, ConnectionResetError):
        return b""


class Foreign:
    """A worker that follows RFC 18 and nothing more: it answers every REQUEST from a thread."""

    def __init__(self, address: str, service: bytes, identity: bytes | None = None) -> None:
        self.address, self.service, self.identity = address, service, identity
        self.fault: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            with peer(self.address, identity=self.identity) as socket:
                socket.send_multipart([b"MDPW02", b"\x01", self.service])
                while not self._over.is_set():
                    socket.send_multipart([b"MDPW02", b"\x05"])
                    while socket.poll(200):
                        _, command, *frames = socket.recv_multipart()
                        assert command != b"\x06", "the foreign worker was sent away"
                        if command == b"\x02":
                            socket.send_multipart([b"MDPW02", b"\x04", *frames])
        except BaseException as fault:
            self.fault = fault

    def __enter__(self) -> Foreign:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(15)
        assert not self._thread.is_alive()


def call_strictly(broker: BrokerProcess, service: bytes, body: bytes, identity: bytes | None = None) -> None:
    """A call over `mdp` that has to be answered by the echo of its body."""
    with peer(broker.mdp, identity=identity) as caller:
        caller.send_multipart([b"MDPC02", b"\x01", service, body])
        assert caller.recv_multipart() == [b"MDPC02", b"\x03", service, body]


@contextlib.contextmanager
def honest_peers(folder: Path, broker: BrokerProcess) -> Iterator[None]:
    """Workers of every kind, and calls without end; checked at the end."""
    with ExitStack() as stack:
        stack.enter_context(worker_process(folder, broker.worker, ECHO))
        foreign = [
            stack.enter_context(Foreign(broker.worker, b"ON-WORKER")),
            stack.enter_context(Foreign(broker.mdp, b"ON-MDP")),
        ]
        honest = Honest(broker)
        await_workers(honest.client, 3)
        honest.begin()
        try:
            yield
        finally:
            honest.end()
        honest.check()
        assert [worker.fault for worker in foreign] == [None, None]


@contextlib.contextmanager
def living_broker(folder: Path) -> Iterator[BrokerProcess]:
    """A broker that must not end, whatever else has gone wrong."""
    with broker_process(folder) as broker:
        try:
            yield broker
        finally:
            broker.check()


UNSEEDED = """
from zmws.cli import main
from zmws.server import endpoints

endpoints.draw_anew = lambda: None
main()
"""


@pytest.mark.parametrize("endpoint", SOCKETS)
def test_without_a_seed_such_claims_end_the_broker(tmp_path: Path, endpoint: str) -> None:
    # Else the next test could not fail.
    start = default_start(endpoint)
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, program=("-c", UNSEEDED)))
        claim(stack, getattr(broker, endpoint), integral(start))
        with contextlib.suppress(OSError, AssertionError), RawZmtp(getattr(broker, endpoint)) as unnamed:
            unnamed.handshake()
        assert broker.await_end(10) == -signal.SIGABRT
        assert "Assertion failed" in broker.said()


@pytest.mark.parametrize("endpoint", SOCKETS)
def test_who_claims_the_ids_that_libzmq_would_give_gets_nothing(tmp_path: Path, endpoint: str) -> None:
    start = default_start(endpoint)
    with ExitStack() as stack:
        broker = stack.enter_context(living_broker(tmp_path))
        address = getattr(broker, endpoint)
        claimers = [claim(stack, address, integral(start + n)) for n in range(CLAIMS)]
        with honest_peers(tmp_path, broker):
            # And once more, while others come and go.
            for n in range(CLAIMS):
                claimers.append(claim(stack, address, integral(start + n)))
                if n % 20 == 0:
                    stack.enter_context(RawZmtp(address)).handshake()
                    with broker.connect() as client:
                        assert client.call("ECHO", n, timeout=10) == n
                    call_strictly(broker, b"ON-WORKER", b"%d" % n)
                    call_strictly(broker, b"ON-MDP", b"%d" % n)
        assert [received for raw in claimers if (received := got(raw))] == []


FIRST_IDS = """
import zmq
from zmws.server.endpoints import open_router
from zmws.settings import BrokerSettings

with zmq.Context() as context:
    for name in ("client", "worker", "mdp"):
        endpoint = open_router(context, name, "tcp://127.0.0.1:*", BrokerSettings())
        with context.socket(zmq.DEALER) as dealer:
            dealer.connect(endpoint.bound)
            dealer.send(b"")
            print(endpoint.socket.recv_multipart()[0].hex())
        endpoint.close(0)
"""


def test_each_router_of_each_broker_begins_at_another_id() -> None:
    command = [sys.executable, "-c", FIRST_IDS]
    first, second = (
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=30).stdout.split()
        for _ in range(2)
    )
    ids = {int(text, 16) for text in first + second}
    assert len(ids) == 6, (first, second)
    # Nor does one follow from another, as they would if one seed served for all.
    assert not ids & {default_start(name) for name in SOCKETS}
    numbers = sorted(ids)
    assert min(b - a for a, b in itertools.pairwise(numbers)) > 100, (first, second)


# ---------------------------------------------------------------- names and what they tell


def lists_of(broker: BrokerProcess, client: Client) -> str:
    """All that the broker's lists say of its workers."""
    told = [client.ask("zmws.workers"), client.ask("zmws.jobs"), client.ask("zmws.stats")]
    with peer(broker.client) as old:
        for name in (b"SERVER-WORKERS", b"SERVER-JOBS", b"SERVER-ACTIVE", b"SERVER-HIST"):
            old.send_multipart([b"", b"JOB: " + name])
            told.append(json.loads(old.recv_multipart()[-1]))
    return json.dumps(told)


def name_of_only_worker(client: Client) -> str:
    [row] = await_workers(client, 1)
    return str(row["id"])


@pytest.mark.parametrize("endpoint", ["worker", "mdp"])
def test_a_routing_id_that_a_worker_chose_is_shown_nowhere(tmp_path: Path, endpoint: str) -> None:
    ready = [b"MDPW02", b"\x01", b"E"]
    with ExitStack() as stack:
        broker = stack.enter_context(living_broker(tmp_path))
        client = stack.enter_context(broker.connect())
        news = stack.enter_context(peer(broker.news, zmq.SUB))
        news.subscribe("")
        worker = stack.enter_context(peer(getattr(broker, endpoint), identity=CHOSEN))
        # READY after READY, until the subscription has come.
        wait_until(lambda: worker.send_multipart(ready) or news.poll(100), 10, "news of the worker")
        name = name_of_only_worker(client)
        jobs = [client.submit("E", n) for n in range(2)]
        shown = lists_of(broker, client)

        def request() -> bytes:
            while (frames := worker.recv_multipart())[1] != b"\x02":
                pass
            return frames[2]

        worker.send_multipart([b"MDPW02", b"\x04", (first := request()), b"", b"1"])
        # It ends by breaking the protocol with a job in hand: its name stands in the log and in the record.
        second = request()
        worker.send_multipart([b"MDPW02", b"\x04", first, b"", b"late"])
        worker.send_multipart([b"MDPW02", b"\x04"])
        wait_until(lambda: "sent an invalid message" in broker.said(), 10, "the log tells of it")
        worker.send_multipart([b"MDPW02", b"\x04", second, b"", b"late"])
        while "worker.gone" not in shown or "E.complete" not in shown:
            shown += " ".join(frame.decode() for frame in news.recv_multipart())
        shown += lists_of(broker, client) + json.dumps([job.status() for job in jobs]) + broker.said()
        assert name in shown
        for secret in (CHOSEN.decode(), CHOSEN.hex(), repr(CHOSEN), CHOSEN.decode().replace("-", "")):
            assert secret.lower() not in shown.lower()
        # Who comes back under an id has the name again; who comes under another one has another.
        worker.send_multipart(ready)
        assert name_of_only_worker(client) == name
        stack.enter_context(peer(getattr(broker, endpoint), identity=b"other")).send_multipart(ready)
        assert len({row["id"] for row in await_workers(client, 2)}) == 2


@pytest.mark.parametrize("identity", [None, CHOSEN], ids=["given", "chosen"])
@pytest.mark.parametrize("endpoint", ["worker", "mdp"])
def test_the_name_of_a_worker_does_not_help_to_claim_its_id(
    tmp_path: Path, endpoint: str, identity: bytes | None
) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(living_broker(tmp_path))
        client = stack.enter_context(broker.connect())
        worker = stack.enter_context(Foreign(getattr(broker, endpoint), b"E", identity))
        name = name_of_only_worker(client)
        told = re.fullmatch(r"foreign-([0-9a-f]{10})", name)
        assert told is not None, name
        digits = bytes.fromhex(told[1])
        claims = (name.encode(), told[1].encode(), digits, b"\0" + digits[:4], b"\0" + digits[1:])
        claimers = [claim(stack, getattr(broker, endpoint), one) for one in claims]
        for n in range(10):
            call_strictly(broker, b"E", b"%d" % n)
        assert [got(raw) for raw in claimers] == [b""] * len(claimers)
        assert worker.fault is None


@pytest.mark.parametrize("endpoint", ["worker", "mdp"])
def test_who_knows_a_chosen_id_takes_its_place_and_the_broker_lives(tmp_path: Path, endpoint: str) -> None:
    # The price of ROUTER_HANDOVER (docs/decisions.md, 3), here so that the text stays true.
    with ExitStack() as stack:
        broker = stack.enter_context(living_broker(tmp_path))
        client = stack.enter_context(broker.connect())
        worker = claim(stack, getattr(broker, endpoint), CHOSEN)
        worker.send([b"MDPW02", b"\x01", b"E"])
        name = name_of_only_worker(client)
        claimer = claim(stack, getattr(broker, endpoint), CHOSEN)
        client.submit("E", 1)
        wait_until(lambda: b"MDPW02" in got(claimer), 10, "the claimer gets the REQUEST")
        assert name_of_only_worker(client) == name
