"""Garbage at every door, and raw TCP: the broker goes on, and serves the honest."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from tests.peers import (
    BrokerProcess,
    RawZmtp,
    counters,
    report,
)
from tests.system.under_watch import GROWTH_BYTES_MAX, MIB, under_watch

pytestmark = pytest.mark.timed  # the honest are to be answered in time

SEED = 20_120_601
WARM_UP = 0.3  # of the messages


# ---------------------------------------------------------------- what is sent
TOKEN = b"0198c2f0-0000-7000-8000-000000000000/1/0123456789abcdef"
READY_INFO = {"zmws": 1, "id": "w", "host": "h", "pid": 1, "holding": [TOKEN.decode()], "finished": []}

AS_CLIENT = [
    [b"MDPC02", b"\x01", b"FUZZ", b"PARAM-JSON: {}"],
    [b"MDPC02", b"\x01", b"SYNC-FUZZ", b'OPTS-JSON: {"id": "a", "expires": 0.1}', b"body"],
    [b"7", b"", b"MDPC02", b"\x01", b"JOB: FUZZ", b'OPTS-JSON: {"unique": "u", "delay": 0.01}'],
    [b"", b"MDPC02", b"1", b"PARAM-JSON: {}", b"SYNC-FUZZ"],
    [b"", b"JOB: FUZZ", b'PARAM: a:1:{s:3:"str";s:5:"Hello";}'],
    [b"JOB: SYNC-FUZZ"],
    [b"MDPC02", b"\x01", b"zmws.jobs", b'{"limit": 5, "state": "complete", "cursor": "1.0/a"}'],
    [b"MDPC02", b"\x01", b"zmws.wait", b'{"id": "a", "timeout": 0.01}'],
    [b"MDPC02", b"\x01", b"zmws.job", b'{"id": "a"}'],
    [b"MDPC02", b"\x01", b"zmws.retry", b'{"id": "a"}'],
    [b"MDPC02", b"\x01", b"zmws.cancel", b'{"id": "a"}'],
    [b"MDPC02", b"\x01", b"zmws.delete", b'{"id": "a"}'],
    [b"MDPC02", b"\x01", b"zmws.submit", b'[{"service": "FUZZ", "params": {}}]'],
    [b"MDPC02", b"\x01", b"zmws.events", b'{"id": "a", "after": 0, "timeout": 0.01}'],
    [b"MDPC02", b"\x01", b"zmws.lease", b'{"service": "FUZZ", "wait": 0.01, "lease": "l", "ttr": 1}'],
    [b"MDPC02", b"\x01", b"zmws.report", b'{"token": "a/1/b", "kind": "complete", "result": 1}'],
    [b"MDPC02", b"\x01", b"zmws.pause", b'{"service": "NOPE"}'],
    [b"MDPC02", b"\x01", b"mmi.service", b"FUZZ"],
    [b"MDPC02", b"\x01", b"titanic.request", b"FUZZ", b"x"],
    [b"MDPC02", b"\x01", b"zmws.stats"],
    [b"MDPC02", b"\x01", b"SERVER-JOBS"],
    [b"MDPC01", b"FUZZ", b"x"],
]

AS_WORKER = [
    [b"MDPW02", b"\x01", b"FUZZ"],
    [b"MDPW02", b"\x01", b"FUZZ", json.dumps(READY_INFO).encode()],
    [b"", b"MDPW02", b"1", b"FUZZ"],
    [b"MDPW01", b"\x01", b"FUZZ"],
    [b"MDPW02", b"\x03", TOKEN, b"", b"CONT", b"PARAM-JSON: 1"],
    [b"MDPW02", b"\x03", TOKEN, b"", b"PROGRESS", b'{"done": 0.5, "text": "half"}'],
    [b"MDPW02", b"\x03", TOKEN, b"", b"TOUCH", b"10"],
    [b"MDPW02", b"\x03", TOKEN, b"", b"LOG", b"line"],
    [b"MDPW02", b"\x04", TOKEN, b"", b"COMPLETE", b"PARAM-JSON: 1"],
    [b"MDPW02", b"\x04", TOKEN, b"", b"FAIL", b'PARAM-JSON: {"error": "e", "retry": false, "delay": 1}'],
    [b"MDPW02", b"\x05"],
    [b"MDPW02", b"\x05", b"HOLDS " + TOKEN, b"MEMORY 1000"],
    [b"MDPW02", b"\x05", b"CONFIRM " + TOKEN + b" " + TOKEN],
    [b"MDPW02", b"\x06"],
    [b"FUZZ", b"READY"],
    [b"MDPC02", b"3", b"FUZZ", b"READY"],
    [b"HEARTBEAT"],
    [b"PARAM-JSON: 1", b"FUZZ", b"COMPLETE: " + TOKEN],
    [b"MDPC02", b"3", b"FUZZ", b"PARAM-JSON: 1", b"CONT: " + TOKEN],
    [b"FUZZ", b"FAIL: x"],
]

CORPUS = {
    "client": AS_CLIENT + AS_WORKER[:3],
    "worker": AS_WORKER + AS_CLIENT[:3],
    "mdp": AS_CLIENT + AS_WORKER,
    "news": [[b"\x01FUZZ"], [b"\x00FUZZ"], [b"\x01"], [b"x"], [b"", b"y"]],
}

NASTY = [
    b"",
    b"\0",
    b"\xff" * 40,
    b'{"zmws": 1, "id": "\\ud800"}',
    b'{"zmws": 1, "id": "x", "holding": ["\\ud800"]}',
    b'{"zmws": 1, "id": "x", "holding": ' + json.dumps(["a/1/b"] * 5_000).encode() + b"}",
    b'{"zmws": 1, "id": ["x"]}',
    b'{"zmws": 1, "id": "x", "holding": {"a": 1}, "finished": 7}',
    b'{"zmws": 1, "id": "x", "host": [1], "pid": 1e999}',
    b"[" * 50_000,
    b'OPTS-JSON: {"a":' * 2_000,
    b'OPTS-JSON: {"id": "\\ud800\\u0000"}',
    b'OPTS-JSON: {"group": "\\ud800", "unique": "\\udfff"}',
    b'OPTS-JSON: {"priority": 1e400, "ttr": NaN, "retries": -Infinity}',
    b'OPTS-JSON: {"retries": ' + b"9" * 5_000 + b"}",
    b'OPTS-JSON: {"\\ud800": 1}',
    b'OPTS-JSON: {"at": "9999-12-31T23:59:59.999999-23:59"}',
    b'OPTS-JSON: {"id": "' + b"x" * 100_000 + b'"}',
    b'{"id": "a\\n", "timeout": 1e308, "limit": true, "state": ["complete"], "since": "\\ud800"}',
    b'{"state": {"a": 1}, "service": "\\ud800", "group": "\\u0000", "cursor": "nan/\\ud800"}',
    b'{"cursor": "inf/a", "memory": [0], "limit": 1000}',
    b"CONFIRM " + b" ".join([TOKEN] * 500),
    b"CONFIRM \xff\xfe \0",
    b"HOLDS " + b" ".join(b"%d/1/x" % n for n in range(2_000)),
    b"HOLDS ",
    b"MEMORY " + b"9" * 4_000,
    b"MEMORY \xc2\xb2",
    "MEMORY ²".encode(),
    b"a/b/c/d/1/\xc3\xa9",
    b"//",
    b"/" * 1_000,
    b"SYNC-",
    b"JOB: ",
    b"JOB:JOB:JOB: SYNC-SYNC-FUZZ",
    b"SYNC-zmws.stats",
    "FÜZZ\u2028".encode(),
    b"F" * 255,
    b"F" * 300,
    b"TOUCH",
    b"nan",
    b"-inf",
    b"1_0",
    b"x" * 60_000,
]


def mutated(dice: random.Random, frames: list[bytes]) -> list[bytes]:
    """A valid message, changed in a few places or not at all."""
    frames = list(frames)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 6))):
        n = dice.randrange(len(frames) + 1)
        what = dice.randrange(8)
        if what == 0:
            frames.insert(n, dice.choice(NASTY))
        elif what == 1:
            frames.insert(n, dice.randbytes(dice.choice((0, 1, 5, 40, 300))))
        elif n == len(frames):
            continue
        elif what == 2:
            frames[n] = dice.choice(NASTY)
        elif what == 3 and len(frames) > 1:
            del frames[n]
        elif what == 4:
            frames[n] = frames[n][: dice.randrange(len(frames[n]) + 1)]
        elif what == 5 and frames[n]:
            at = dice.randrange(len(frames[n]))
            frames[n] = frames[n][:at] + bytes([dice.randrange(256)]) + frames[n][at + 1 :]
        elif what == 6:
            frames.insert(n, frames[n])
        else:
            m = dice.randrange(len(frames))
            frames[n], frames[m] = frames[m], frames[n]
    if dice.randrange(500) == 0:
        frames += [b"x"] * dice.randrange(200)
    return frames


def garbage(dice: random.Random, endpoint: str) -> list[bytes]:
    """One message for this endpoint."""
    if dice.randrange(10) == 0:
        sizes = (0, 1, 6, 30, 200)
        return [dice.randbytes(dice.choice(sizes)) for _ in range(dice.choice((1, 1, 2, 3, 8)))]
    return mutated(dice, dice.choice(CORPUS[endpoint]))


class Sender:
    """Sockets of several kinds at one endpoint; messages go over one or another of them."""

    def __init__(self, dice: random.Random, endpoint: str, address: str) -> None:
        self.dice = dice
        self.context = zmq.Context()
        kinds = [zmq.XSUB] * 4 + [zmq.SUB] if endpoint == "news" else [zmq.DEALER] * 6
        self.sockets = [self._connected(kind, address) for kind in kinds]
        self.odd = [self._connected(kind, address) for kind in (zmq.PUB, zmq.PUSH, zmq.REP)]
        self.req = self._connected(zmq.REQ, address)
        self.address = address
        self.sent = 0

    def _connected(self, kind: int, address: str) -> zmq.Socket[bytes]:
        one = self.context.socket(kind)
        one.setsockopt(zmq.LINGER, 0)
        one.setsockopt(zmq.SNDTIMEO, 1_000)
        if kind == zmq.REQ:
            one.setsockopt(zmq.REQ_RELAXED, 1)
            one.setsockopt(zmq.REQ_CORRELATE, self.dice.randrange(2))
        if kind == zmq.DEALER and self.dice.randrange(3) == 0:
            one.setsockopt(zmq.IDENTITY, b"chosen-%d" % self.dice.randrange(3))
        one.connect(address)
        return one

    def send(self, frames: list[bytes]) -> None:
        draw = self.dice.randrange(1_000)
        if draw < 3:
            with contextlib.suppress(zmq.ZMQError):  # between two connections it takes nothing
                self.req.send_multipart(frames, zmq.DONTWAIT)
        elif draw < 10:
            with contextlib.suppress(zmq.ZMQError):
                self.dice.choice(self.odd).send_multipart(frames, zmq.DONTWAIT)
        elif draw == 10 and self.sockets[0].type == zmq.DEALER:
            # Gone without a word, and another in its place.
            n = self.dice.randrange(len(self.sockets))
            self.sockets[n].close()
            self.sockets[n] = self._connected(zmq.DEALER, self.address)
        else:
            n = self.dice.randrange(len(self.sockets))
            one = self.sockets[n]
            if one.type == zmq.SUB:
                return
            try:
                one.send_multipart(frames)
            except zmq.Again:
                # Another took over the routing id it chose: this connection is heard no more.
                one.close()
                self.sockets[n] = self._connected(one.type, self.address)
        self.sent += 1
        if self.sent % 50 == 0:
            self.read()

    def read(self) -> None:
        """Throw away what came back; a worker among them that got a job keeps it now and then."""
        for one in (*self.sockets, self.req):
            for _ in range(200):
                try:
                    frames = one.recv_multipart(zmq.DONTWAIT)
                except zmq.ZMQError:
                    break
                if len(frames) > 3 and frames[:2] == [b"MDPW02", b"\x02"] and self.dice.randrange(3):
                    one.send_multipart(mutated(self.dice, [b"MDPW02", b"\x04", frames[2], b"", b"COMPLETE"]))

    def close(self) -> None:
        for one in (*self.sockets, *self.odd, self.req):
            one.close()
        self.context.term()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("endpoint", ["client", "worker", "mdp", "news"])
def test_garbage_at_every_door(endpoint: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    count = pytestconfig.getoption("--fuzz")
    dice = random.Random(f"{SEED}/{endpoint}")
    with under_watch(tmp_path) as (broker, honest):
        sender = Sender(dice, endpoint, getattr(broker, endpoint))
        warm = 0
        grown_to: list[int] = []
        begun_at = time.monotonic()
        try:
            for n in range(count):
                sender.send(garbage(dice, endpoint))
                if n == int(count * WARM_UP):
                    warm = broker.resident_bytes()
                if n % 1_000 == 0:
                    grown_to.append(broker.resident_bytes() // MIB)
                    broker.check()
                    assert honest.fault is None, honest.fault
        finally:
            sender.close()
        took_s = time.monotonic() - begun_at
        grown = broker.resident_bytes() - warm
        with broker.connect() as client:
            known = counters(client)
        report(f"{endpoint}: {count} in {took_s:.1f} s, grown by {grown / MIB:.1f} MiB: {grown_to[::10]}")
        report(str(known))
        assert grown < GROWTH_BYTES_MAX, f"grew by {grown / MIB:.1f} MiB"


# ---------------------------------------------------------------- raw TCP


def _raw(broker: BrokerProcess, endpoint: str) -> socket.socket:
    host, _, port = getattr(broker, endpoint).removeprefix("tcp://").rpartition(":")
    one = socket.create_connection((host, int(port)))
    one.settimeout(5)
    return one


def test_raw_tcp_peers_that_speak_no_zmtp(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    with under_watch(tmp_path) as (broker, _), ExitStack() as stack:
        before = broker.resident_bytes()
        for n in range(400):
            endpoint = dice.choice(("client", "worker", "mdp", "news"))
            one = _raw(broker, endpoint)
            kind = n % 5
            with contextlib.suppress(OSError):
                if kind == 0:
                    one.sendall(dice.randbytes(dice.choice((1, 10, 64, 5_000, 200_000))))
                elif kind == 1:
                    one.sendall(RawZmtp.GREETING[: dice.randrange(64)])
                elif kind == 2:
                    one.sendall(RawZmtp.GREETING + dice.randbytes(dice.choice((1, 50, 3_000))))
                elif kind == 3:
                    one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                else:
                    whole = stack.enter_context(RawZmtp(getattr(broker, endpoint)))
                    whole.handshake(b"SUB" if endpoint == "news" else b"DEALER")
                    whole.socket.sendall(dice.randbytes(dice.choice((1, 9, 100, 3_000))))
            if n % 2:
                one.close()
            else:
                stack.callback(one.close)
        # Byte by byte: a whole valid handshake and a call, as slowly as a bad line would bring them.
        slow = stack.enter_context(RawZmtp(broker.client))
        ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
        call = [b"MDPC02", b"\x01", b"SYNC-ECHO", b"PARAM-JSON: 1"]
        frames = b"".join(slow.frame(f, n < 3) for n, f in enumerate(call))
        for byte in slow.GREETING + b"\x04" + bytes([len(ready)]) + ready + frames:
            slow.socket.sendall(bytes([byte]))
            threading.Event().wait(0.002)
        came = b""
        while b"COMPLETE: ECHO" not in came:
            more = slow.socket.recv(4_096)
            assert more, "the slow but valid caller was cut off"
            came += more
        assert broker.resident_bytes() - before < GROWTH_BYTES_MAX
