"""Peers that look valid and want too much: the broker does not grow, and serves the honest."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from tests.peers import BrokerProcess, RawZmtp, broker_process, counters, peer, report, wait_until
from tests.system.under_watch import GROWTH_BYTES_MAX, MIB, SETTINGS, under_watch
from zmws.client import Client

pytestmark = pytest.mark.timed  # the honest are to be answered in time

# ---------------------------------------------------------------- workers that look valid


def test_a_worker_that_holds_without_end_does_not_grow_the_broker(tmp_path: Path) -> None:
    with under_watch(tmp_path) as (broker, _), peer(broker.worker) as hostile:
        info = json.dumps({"zmws": 1, "id": "hostile"}).encode()
        hostile.send_multipart([b"MDPW02", b"\x01", b"FUZZ", info])
        assert hostile.recv_multipart()[1] == b"\x05"
        warm = 0
        for n in range(2_000):
            tokens = b" ".join(b"t%0200d/1/x" % (n * 100 + m) for m in range(100))
            hostile.send_multipart([b"MDPW02", b"\x05", b"HOLDS " + tokens, b"CONFIRM " + tokens])
            while hostile.poll(0):
                hostile.recv_multipart()
            if n == 200:
                warm = broker.resident_bytes()
        with broker.connect() as client:
            client.ask("zmws.stats")
        grown = broker.resident_bytes() - warm
        assert grown < GROWTH_BYTES_MAX, f"grew by {grown / MIB:.1f} MiB"


def test_a_worker_that_talks_without_end_does_not_grow_the_broker(tmp_path: Path) -> None:
    with under_watch(tmp_path) as (broker, _), peer(broker.worker) as hostile, peer(broker.client) as caller:
        info = json.dumps({"zmws": 1, "id": "hostile"}).encode()
        hostile.send_multipart([b"MDPW02", b"\x01", b"FUZZ", info])
        assert hostile.recv_multipart()[1] == b"\x05"
        options = b'OPTS-JSON: {"durability": "memory"}'
        caller.send_multipart([b"MDPC02", b"\x01", b"FUZZ", options])
        while (frames := hostile.recv_multipart())[1] != b"\x02":
            pass
        token = frames[2]
        before = broker.resident_bytes()
        for _ in range(500):
            hostile.send_multipart([b"MDPW02", b"\x03", token, b"", b"CONT", b"x" * 900_000])
        # The last of them is taken when the worker's next heartbeat is.
        hostile.send_multipart([b"MDPW02", b"\x05", b"MEMORY 4711"])
        with broker.connect() as client:
            rows = lambda: [w["memory_bytes"] for w in client.ask("zmws.workers")]  # noqa: E731
            wait_until(lambda: 4711 in rows(), 20, "all of it is taken")
        grown = broker.resident_bytes() - before
        assert grown < 2 * GROWTH_BYTES_MAX, f"grew by {grown / MIB:.1f} MiB"


def test_requests_with_large_envelopes_do_not_grow_the_broker(tmp_path: Path) -> None:
    with under_watch(tmp_path) as (broker, _), peer(broker.client) as hostile:
        before = broker.resident_bytes()
        for n in range(90):
            envelope = [b"e" * 900_000 for _ in range(8)]
            options = b'OPTS-JSON: {"id": "big-%d"}' % n
            hostile.send_multipart([*envelope, b"", b"MDPC02", b"\x01", b"SYNC-FUZZ", options])
        # What is still under way counts too, until it has been read and refused.
        grown = lambda: broker.resident_bytes() - before  # noqa: E731
        with broker.connect() as client:
            refused = lambda: counters(client).get("invalid_bad_envelope", 0) == 90  # noqa: E731
            wait_until(refused, 10, "all of them are refused")
        wait_until(lambda: grown() < 2 * GROWTH_BYTES_MAX, 10, "none of them is kept")


# ---------------------------------------------------------------- messages without end


LITTLE_MEMORY = SETTINGS.replace("[broker]", '[broker]\nmemory_max = "200 MiB"')


def _flood(broker: BrokerProcess, endpoint: str, frame_bytes: int, over: threading.Event) -> None:
    """One message without end, until it is cut."""
    with contextlib.suppress(OSError, AssertionError), RawZmtp(getattr(broker, endpoint)) as raw:
        raw.handshake(b"XSUB" if endpoint == "news" else b"DEALER")
        chunk = raw.frame(b"x" * frame_bytes, more=True)
        chunk *= max(1, 200_000 // len(chunk))
        while not over.is_set():
            raw.socket.sendall(chunk)


def test_a_flood_whose_connection_is_reset_does_not_end_the_broker(tmp_path: Path) -> None:
    # libzmq aborts the process when a heartbeat of its own is due on such a connection.
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(tmp_path, toml=SETTINGS, heartbeat_interval_s=0.02))
        for n in range(60):
            raw = RawZmtp(getattr(broker, ("client", "worker", "mdp")[n % 3]))
            raw.handshake()
            raw.socket.settimeout(0.2)
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                raw.socket.sendall(raw.frame(b"x", more=False) * 30_000)
            raw.close()
        with broker.connect() as client:
            assert client.ask("zmws.stats")
        broker.check()


def test_a_subscription_within_a_message_does_not_end_the_broker(tmp_path: Path) -> None:
    # By default XPUB passes the first part on, says that more follows, and swallows a subscription that
    # it knows already.
    with under_watch(tmp_path) as (broker, _), peer(broker.news, zmq.XSUB) as news:
        news.send(b"\x01")
        for n in range(20):
            news.send_multipart([b"x", b"\x01"])
            with broker.connect() as client:
                counted = lambda: counters(client).get("invalid_messages", 0) > n  # noqa: B023, E731
                wait_until(counted, 10, "it is counted")


@pytest.mark.parametrize(
    ("endpoint", "frame_bytes", "peers"),
    [
        ("client", 1, 1),
        ("client", 900_000, 1),
        ("worker", 1, 4),
        ("worker", 100_000, 4),
        ("mdp", 1_000, 8),
        ("news", 1, 2),
    ],
)
def test_messages_without_end_are_cut_off(
    tmp_path: Path, endpoint: str, frame_bytes: int, peers: int
) -> None:
    over = threading.Event()
    with under_watch(tmp_path, LITTLE_MEMORY) as (broker, _):
        threads = [
            threading.Thread(target=_flood, args=(broker, endpoint, frame_bytes, over)) for _ in range(peers)
        ]
        for thread in threads:
            thread.start()
        most = 0
        try:
            until = time.monotonic() + 30
            while any(thread.is_alive() for thread in threads):
                assert time.monotonic() < until, "not all of them were cut off"
                most = max(most, broker.resident_bytes())
                threading.Event().wait(0.01)
        finally:
            over.set()
            for thread in threads:
                thread.join(15)
        report(f"at most {most / MIB:.0f} MiB, then {broker.resident_bytes() / MIB:.0f} MiB")
        assert most < 400 * MIB, f"{most / MIB:.0f} MiB"
        with broker.connect() as client:
            assert counters(client)["connections_cut_for_memory"] >= 1
        wait_until(lambda: broker.resident_bytes() < 150 * MIB, 10, "the memory is given back")


def test_a_whole_message_of_very_many_frames_is_refused_and_survived(tmp_path: Path) -> None:
    with under_watch(tmp_path) as (broker, honest), RawZmtp(broker.client) as raw:
        # A message cannot be left half read: who calls over the same socket waits until it is discarded,
        # some 2 us a frame.
        honest.longest_s_max = 4.0
        raw.handshake()
        part = raw.frame(b"", more=True) * 10_000
        for _ in range(50):
            raw.socket.sendall(part)
        raw.socket.sendall(raw.frame(b"", more=False))
        with Client(broker.client) as client:
            wait_until(lambda: counters(client).get("invalid_too_many_frames"), 10, "it is counted")
