"""Those who attack in a campaign: each is a process of its own, and says what it has sent.

    python -m tests.security.attackers STAND.json KIND

Rule 1: whatever is done is bounded in count, in rate and in time, and goes to 127.0.0.0/8 alone.
Rule 2: an attacker waits for nothing but its turn: what is held open is closed when its time has come, and
        an answer is read where one is there.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zmq

from tests.gateway.hostile import request as random_request
from tests.keyed import pair
from tests.peers import RawZmtp

SOCKETS = ("client", "worker", "news", "mdp")
ADDRESSES = tuple(f"127.0.0.{n}" for n in range(2, 12))  # the honest come from 127.0.0.1
CURVE_GREETING = RawZmtp.GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32)
HELD_MAX = 2_500  # connections at once, an attacker
READ_BYTES = 65_536
ROLES = ("client", "worker", "viewer", "operator")
DOORS = {
    "client": ("client", "mdp"),
    "worker": ("worker", "mdp"),
    "viewer": ("client",),
    "operator": ("client",),
}

Stroke = Callable[[], None]


class Pace:
    """So many a second, and no more than a tenth of a second's at once."""

    def __init__(self, count: int, seconds: float) -> None:
        self.left = count
        self._rate = count / seconds
        self._room = self._most = max(1.0, self._rate / 10)
        self._at = time.monotonic()

    def may(self) -> bool:
        """Whether it is time for one more."""
        now = time.monotonic()
        self._room = min(self._most, self._room + (now - self._at) * self._rate)
        self._at = now
        return self.left > 0 and self._room >= 1

    def spend(self, count: int) -> None:
        self.left -= count
        self._room -= count


class Crowd:
    """Connections that are held for a while."""

    def __init__(self, told: Counter[str], chance: random.Random) -> None:
        self._told, self._chance = told, chance
        self._held: list[tuple[float, int, socket.socket, str, bytes]] = []
        self._numbers = itertools.count()

    def open(
        self, kind: str, address: tuple[str, int], data: bytes, hold_s: float, drip: bytes = b""
    ) -> socket.socket | None:
        """Connect from an address of chance, send, and hold it for so long; `drip`: a byte of it now and
        then."""
        self.tend()
        while len(self._held) >= HELD_MAX:
            self._close(heapq.heappop(self._held))
        try:
            connection = socket.create_connection(address, 0.5, (self._chance.choice(ADDRESSES), 0))
        except OSError:
            self._told[f"{kind}: not let in"] += 1
            return None
        connection.setblocking(False)
        self.send(connection, data)
        now = time.monotonic()
        until = now + hold_s
        if drip:
            self._hold(min(until, now + 0.5), connection, kind, drip)
        else:
            self._hold(until, connection, kind, b"")
        return connection

    def send(self, connection: socket.socket, data: bytes) -> None:
        """As much of it as is taken."""
        with contextlib.suppress(OSError):
            connection.send(data)

    def _hold(self, until: float, connection: socket.socket, kind: str, drip: bytes) -> None:
        heapq.heappush(self._held, (until, next(self._numbers), connection, kind, drip))

    def tend(self) -> None:
        """Close those whose time has come; the slow ones get a byte more."""
        now = time.monotonic()
        while self._held and self._held[0][0] <= now:
            one = heapq.heappop(self._held)
            _, _, connection, kind, drip = one
            if not drip:
                self._close(one)
                continue
            try:
                connection.send(drip[:1])
                self._told[f"{kind}: dripped"] += 1
                self._hold(now + 0.5, connection, kind, drip[1:])
            except OSError:
                self._told[f"{kind}: cut"] += 1
                connection.close()

    def _close(self, one: tuple[float, int, socket.socket, str, bytes]) -> None:
        _, _, connection, kind, _ = one
        try:
            said = connection.recv(READ_BYTES)
            if said.startswith(b"HTTP/1.1 "):
                self._told[f"http: {said[9:12].decode('latin-1')}"] += 1
            elif not said:
                self._told[f"{kind}: closed"] += 1
        except BlockingIOError:
            self._told[f"{kind}: no word"] += 1
        except OSError:
            self._told[f"{kind}: cut"] += 1
        if self._chance.random() < 0.3:  # some end by a reset
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def close(self) -> None:
        for one in self._held:
            one[2].close()
        self._held.clear()


class Attacker:
    """What all of them have: a pace, chance, a count."""

    def __init__(self, stand: dict[str, Any], messages: int, connections: int) -> None:
        self.stand = stand
        self.chance = random.Random(f"{stand['seed']} {type(self).__name__}")
        self.told: Counter[str] = Counter()
        self.crowd = Crowd(self.told, self.chance)
        self.messages = Pace(messages, stand["seconds"])
        self.connections = Pace(connections, stand["seconds"])
        self._until = time.monotonic() + 1.5 * stand["seconds"]

    def of_connections(self) -> list[Stroke]:
        """What opens connections, and says little."""
        raise NotImplementedError

    def of_messages(self) -> list[Stroke]:
        """What says much."""
        raise NotImplementedError

    def sent(self, kind: str, messages: int = 0, connections: int = 0) -> None:
        self.told["messages"] += messages
        self.told["connections"] += connections
        self.told[kind] += max(messages, connections)
        self.messages.spend(messages)
        self.connections.spend(connections)

    def run(self) -> None:
        """Until all is sent, or it takes too long."""
        opens, says = self.of_connections(), self.of_messages()
        while (self.messages.left > 0 or self.connections.left > 0) and time.monotonic() < self._until:
            self.crowd.tend()
            rested = True
            if self.connections.may():
                self.chance.choice(opens)()
                rested = False
            if self.messages.may():
                self.chance.choice(says)()
                rested = False
            if rested:
                time.sleep(0.002)  # its rate is what it is about
        self.crowd.close()


def tcp(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


# ---------------------------------------------------------------- bytes


class Raw(Attacker):
    """No library: TCP, and ZMTP by hand; to the broker that asks for keys, and to the one that does not."""

    def _at(self, *names: str) -> tuple[str, int]:
        which = self.chance.choice(("keyed", "plain"))
        return tcp(self.stand[which][self.chance.choice(names or SOCKETS)])

    def of_connections(self) -> list[Stroke]:
        return [self.flood, self.flood, self.half, self.loris, self.null, self.hello, self.garbage]

    def of_messages(self) -> list[Stroke]:
        return [self.frames, self.frames, self.frames, self.guesses, self.endless, self.giant, self.topics]

    def flood(self) -> None:
        """Many connections at once that say nothing."""
        address = self._at()
        for _ in range(10):
            self.crowd.open("flood", address, b"", self.chance.uniform(0, 6))
        self.sent("flood", connections=10)

    def half(self) -> None:
        greeting = self.chance.choice((CURVE_GREETING, RawZmtp.GREETING))
        self.crowd.open("half", self._at(), greeting[: self.chance.randrange(64)], 2.0)
        self.sent("half a greeting", connections=1)

    def loris(self) -> None:
        self.crowd.open("loris", self._at(), b"", 60.0, CURVE_GREETING)
        self.sent("a greeting byte by byte", connections=1)

    def null(self) -> None:
        """Who shows no key."""
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
        data = RawZmtp.GREETING + b"\x04" + bytes([len(ready)]) + ready
        self.crowd.open("null", self._at(), data, 0.5)
        self.sent("no key", connections=1)

    def hello(self) -> None:
        """A CURVE handshake of nothing but chance."""
        body = self.chance.choice((b"\x05HELLO", b"\x08INITIATE", b"\x07MESSAGE", b"\x05READY"))
        body += b"\x01\0" * self.chance.randrange(2) + self.chance.randbytes(self.chance.randrange(400))
        frame = b"\x06" + len(body).to_bytes(8, "big") + body
        self.crowd.open("hello", self._at(), CURVE_GREETING + frame, 0.5)
        self.sent("a handshake of chance", connections=1)

    def garbage(self) -> None:
        data = self.chance.randbytes(self.chance.randrange(1, 5_000))
        if self.chance.random() < 0.3:
            data = self.chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", b"\xff" * 5_000))
        self.crowd.open("garbage", self._at(), data, 0.3)
        self.sent("bytes of chance", connections=1, messages=1)

    def _spoken(self, *names: str, kind: bytes = b"DEALER", identity: bytes = b"") -> RawZmtp | None:
        """A connection to the broker that asks nobody, ready for frames."""
        self.sent("by hand", connections=1)
        try:
            raw = RawZmtp(self.stand["plain"][self.chance.choice(names)])
        except OSError:
            return None
        raw.socket.settimeout(1.0)
        try:
            raw.handshake(kind, identity)
        except (OSError, AssertionError):
            self.told["by hand: cut"] += 1
            raw.close()
            return None
        return raw

    def _say(self, kind: str, raw: RawZmtp | None, data: bytes, messages: int) -> None:
        if raw is None:
            return
        try:
            raw.socket.settimeout(0.2)
            raw.socket.sendall(data)
        except OSError:
            self.told[f"{kind}: cut"] += 1
        raw.close()
        self.sent(kind, messages=messages)

    def frames(self) -> None:
        """Messages whose frames are of chance, sizes and flags, too."""
        data, count = b"", self.chance.randrange(20, 200)
        for _ in range(count):
            body = self.chance.randbytes(self.chance.randrange(40))
            data += raw_frame(body, self.chance.choice((0, 0, 0, 1, 1)))
        if self.chance.random() < 0.5:
            data += raw_frame(b"\x05HELLO", self.chance.randrange(256))
        self._say("frames of chance", self._spoken("client", "worker", "mdp"), data, count)

    def guesses(self) -> None:
        """Routing ids as libzmq gives them."""
        identity = self.chance.choice((b"\0", b"", b"c")) + self.chance.randbytes(4)
        data = b"".join(raw_frame(part, 1) for part in (b"MDPW02", b"\x01")) + raw_frame(b"E", 0)
        self._say("guessed routing ids", self._spoken("client", "worker", identity=identity), data, 1)

    def endless(self) -> None:
        """A message without end, for as long as the connection takes it."""
        data = raw_frame(self.chance.randbytes(self.chance.choice((1, 1, 500))), 1) * 200
        self._say("endless multipart", self._spoken("client", "worker", "mdp"), data, 200)

    def giant(self) -> None:
        size = self.chance.choice((2**63 - 1, 2**64 - 1, 2**32, 9 * 2**20, 2**31))
        data = b"\x02" + size.to_bytes(8, "big") + b"x" * 1_000
        self._say("giant frames", self._spoken(*SOCKETS[:2]), data, 1)

    def topics(self) -> None:
        """Subscriptions without end, and some that are none."""
        data, count = b"", 100
        for _ in range(count):
            data += raw_frame(self.chance.choice((b"\x01", b"\0", b"\x02")) + self.chance.randbytes(20), 0)
        self._say("subscriptions", self._spoken("news", kind=b"XSUB"), data, count)


def raw_frame(body: bytes, flags: int) -> bytes:
    if len(body) < 256:
        return bytes([flags & ~2, len(body)]) + body
    return bytes([flags | 2]) + len(body).to_bytes(8, "big") + body


# ---------------------------------------------------------------- messages


class Spoken(Attacker):
    """Over libzmq, so that each message comes in: mutations of good ones, and hostile values."""

    which = "plain"

    def __init__(self, stand: dict[str, Any], messages: int, connections: int) -> None:
        super().__init__(stand, messages, connections)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4_000)
        self._known: dict[tuple[str, str], zmq.Socket[bytes]] = {}
        self._asked = [[part.encode("latin-1") for part in one] for one in stand["asked"]]
        self._small = self._asked[: stand["asked_small"]]
        self._numbers = itertools.count()

    # ------------------------------------------------------------ whom to be

    def _socket(self, role: str, door: str, fresh: bool = False, kind: int = zmq.DEALER) -> zmq.Socket[bytes]:
        key = (role, door)
        known = self._known.get(key)
        if known is None or fresh:
            if known is not None:
                known.close(0)
            known = self._known[key] = self._made(role, door, kind)
        return known

    def _made(self, role: str, door: str, kind: int, broker: str = "", secret: Any = None) -> Any:
        made = self.context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.SNDHWM, 500)
        made.setsockopt(zmq.RECONNECT_IVL, 200 if secret is None else -1)
        self.secure(made, role, secret)
        source = self.chance.choice(ADDRESSES)
        host, port = tcp(self.stand[self.which][door])
        made.connect(f"tcp://{source}:0;{host}:{port}")
        return made

    def secure(self, made: zmq.Socket[bytes], role: str, secret: Any) -> None:
        """Nobody asks."""

    def _send(self, kind: str, to: zmq.Socket[bytes], frames: list[bytes]) -> bool:
        """One message; what has been answered is read, and forgotten."""
        try:
            to.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            self.told["held back"] += 1
            self.messages.spend(0)
            time.sleep(0.001)  # it is not read there, or not connected yet
            self._read(to)
            return False
        self.sent(kind, messages=1)
        return True

    def _read(self, to: zmq.Socket[bytes]) -> None:
        for _ in range(200):
            try:
                frames = to.recv_multipart(zmq.DONTWAIT)
            except zmq.ZMQError:
                return
            self.told["answers"] += 1
            if frames[-2:-1] in ([b"500"], [b"403"]):
                self.told[f"answers {frames[-2].decode()}"] += 1

    def _someone(self, *roles: str) -> tuple[str, zmq.Socket[bytes]]:
        role = self.chance.choice(roles or ROLES)
        door = self.chance.choice(DOORS[role])
        return role, self._socket(role, door, fresh=self.chance.random() < 0.002)

    # ------------------------------------------------------------ strokes

    def of_connections(self) -> list[Stroke]:
        return [self.comes_and_goes]

    def of_messages(self) -> list[Stroke]:
        often = [self.mutated, self.mutated, self.hostile, self.hostile, self.chance_frames, self.finals]
        seldom = [self.ready, self.never_reads, self.topics]
        return [*often * 8, *seldom * 2, self.deep, self.long, self.endless]

    def comes_and_goes(self) -> None:
        role = self.chance.choice(ROLES)
        door = self.chance.choice(DOORS[role])
        self._socket(f"{role}{self.chance.randrange(20)}", door, fresh=True)
        self.sent("comes and goes", connections=1)

    def mutated(self) -> None:
        """Good messages, changed here and there."""
        role, to = self._someone()
        for _ in range(30):
            frames = list(self._good(role))
            for _ in range(self.chance.randrange(1, 4)):
                frames = mutation(frames, self.chance)
            if not self._send(f"mutated, {role}", to, frames or [b""]):
                break
        self._read(to)

    def _good(self, role: str) -> list[bytes]:
        chance = self.chance
        number = b"%d" % next(self._numbers)
        if role == "worker":
            token = b"%032x/%d/%08x" % (chance.getrandbits(128), chance.randrange(9), chance.getrandbits(32))
            info = b'{"zmws": 1, "id": "w%d", "holding": ["%s"]}' % (chance.randrange(50), token)
            return chance.choice(
                (
                    [b"MDPW02", b"\x01", b"E", info],
                    [b"MDPW02", b"\x01", b"X"],
                    [b"MDPW02", b"\x03", token, b"", b"PROGRESS", b'{"done": 0.5}'],
                    [b"MDPW02", b"\x03", token, b"", b"LOG", b"a line"],
                    [b"MDPW02", b"\x04", token, b"", b"COMPLETE", b"PARAM-JSON: 1"],
                    [b"MDPW02", b"\x05", b"HOLDS " + token],
                    [b"MDPW02", b"\x05", b"MEMORY 99"],
                    [b"MDPW02", b"\x06"],
                )
            )
        job = b'{"id": "j%d"}' % chance.randrange(6)
        options = b'OPTS-JSON: {"keep": 0, "delay": 0.1, "durability": "memory"}'
        return chance.choice(
            (
                [number, b"", b"MDPC02", b"\x01", b"E", options, b'PARAM-JSON: {"n": 1}'],
                [number, b"", b"MDPC02", b"\x01", b"SYNC-NOPE", b'OPTS-JSON: {"ttl": 0.1}', b"x"],
                [number, b"", b"MDPC02", b"\x01", b"zmws.job", job],
                [number, b"", b"MDPC02", b"\x01", b"zmws.services", b"{}"],
                [number, b"", b"MDPC02", b"\x01", b"zmws.jobs", b'{"service": "E", "limit": 5}'],
                [number, b"", b"MDPC02", b"\x01", b"zmws.keys", b"{}"],
                [number, b"", b"MDPC02", b"\x01", b"mmi.service", b"E"],
                [number, b"", b"MDPC02", b"\x01", b"zmws.cancel", job],
            )
        )

    def hostile(self) -> None:
        """Well-formed ones, with a hostile value each."""
        role, to = self._someone("client", "operator", "viewer")
        for _ in range(30):
            frames = self.chance.choice(self._small if self.chance.random() < 0.97 else self._asked)
            if not self._send(f"hostile values, {role}", to, [b"%d" % next(self._numbers), b"", *frames]):
                break
        self._read(to)

    def chance_frames(self) -> None:
        role, to = self._someone()
        for _ in range(30):
            count = self.chance.choice((1, 2, 3, 5, 8, 70))
            frames = [self.chance.randbytes(self.chance.randrange(30)) for _ in range(count)]
            if self.chance.random() < 0.5:
                frames[:0] = [self.chance.choice((b"MDPC02", b"MDPW02", b"MDPC01")), b"\x01"]
            if not self._send(f"frames of chance, {role}", to, frames):
                break
        self._read(to)

    def finals(self) -> None:
        """Results of jobs that are none of theirs."""
        _, to = self._someone("worker")
        for _ in range(30):
            token = b"%032x/1/%08x" % (self.chance.getrandbits(128), self.chance.getrandbits(32))
            frames = [b"MDPW02", b"\x04", token, b"", b"COMPLETE", b"PARAM-JSON: 666"]
            if not self._send("finals of other people's jobs", to, frames):
                break
        self._read(to)

    def ready(self) -> None:
        """One READY after another, under many names."""
        _, to = self._someone("worker")
        for _ in range(20):
            info = b'{"zmws": 1, "id": "f%d", "slots": %d}' % (
                self.chance.randrange(10**6), 10 ** self.chance.randrange(9),
            )  # fmt: skip
            service = self.chance.choice((b"E", b"X", b"ECHO2", b"S%d" % self.chance.randrange(10**6)))
            if not self._send("READY upon READY", to, [b"MDPW02", b"\x01", service, info]):
                break
        self._read(to)

    def never_reads(self) -> None:
        """Asks, and takes no answer."""
        to = self._socket("viewer", "client", False)
        lazy = self._known.get(("lazy", "client"))
        if lazy is None or self.chance.random() < 0.02:
            if lazy is not None:
                lazy.close(0)
            lazy = self.context.socket(zmq.DEALER)
            lazy.setsockopt(zmq.LINGER, 0)
            lazy.setsockopt(zmq.RCVHWM, 1)
            lazy.setsockopt(zmq.RCVBUF, 4_096)
            lazy.setsockopt(zmq.SNDHWM, 500)
            self.secure(lazy, "viewer", None)
            host, port = tcp(self.stand[self.which]["client"])
            lazy.connect(f"tcp://{self.chance.choice(ADDRESSES)}:0;{host}:{port}")
            self._known["lazy", "client"] = lazy
        for _ in range(20):
            frames = [b"%d" % next(self._numbers), b"", b"MDPC02", b"\x01", b"zmws.stats", b"{}"]
            try:
                lazy.send_multipart(frames, zmq.DONTWAIT)
            except zmq.Again:
                break
            self.sent("never reads", messages=1)
        self._read(to)

    def topics(self) -> None:
        """Subscriptions that nobody needs."""
        to = self._socket("news", "news", self.chance.random() < 0.01, zmq.XSUB)
        for _ in range(30):
            topic = self.chance.choice((b"\x01", b"\x01", b"\0", b"\x07")) + self.chance.randbytes(8)
            if self.chance.random() < 0.1:
                topic += b"x" * self.chance.randrange(900)
            if not self._send("subscriptions", to, [topic]):
                break
        self._read(to)

    def deep(self) -> None:
        _, to = self._someone("client", "operator")
        depth = self.chance.choice((100, 199, 201, 5_000, 100_000))
        opening, closing = self.chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
        body = opening * depth + b"1" + closing * depth
        name = self.chance.choice((b"zmws.submit", b"zmws.jobs", b"E", b"zmws.batch"))
        frames = [b"%d" % next(self._numbers), b"", b"MDPC02", b"\x01", name, body]
        self._send("deep JSON", to, frames)

    def long(self) -> None:
        """Huge numbers, and objects with many keys."""
        _, to = self._someone("client", "operator")
        what = self.chance.randrange(4)
        if what == 0:
            body = b'{"limit": %s}' % (b"9" * self.chance.choice((20, 4_000, 400_000)))
        elif what == 1:
            body = b"[" + b"9" * 200 + b", 1e999" * 1_000 + b"]"
        else:
            count = self.chance.choice((1_000, 10_000))
            body = json.dumps({f"{n:x}": n for n in range(count)}).encode()
        frames = [b"%d" % next(self._numbers), b"", b"MDPC02", b"\x01", b"zmws.jobs", body]
        if self.chance.random() < 0.03:
            frames[-1] = b"x" * (9 * 2**20)  # more than is taken: the connection is cut
        self._send("long JSON", to, frames)

    def endless(self) -> None:
        """A message of thousands of frames."""
        _, to = self._someone()
        self._send("endless multipart", to, [b"x"] * self.chance.choice((64, 66, 1_000, 20_000)))


class Plain(Spoken):
    """To the broker that asks nobody for a key."""


class Keyed(Spoken):
    """To the one that does: those who come in, and those who do not."""

    which = "keyed"

    def secure(self, made: zmq.Socket[bytes], role: str, secret: Any) -> None:
        public, own, broker = secret or self.stand["keys"][role.rstrip("0123456789")]
        made.curve_publickey, made.curve_secretkey = public.encode(), own.encode()
        made.curve_serverkey = broker.encode()

    def of_connections(self) -> list[Stroke]:
        return [
            self.comes_and_goes,
            self.stranger,
            self.stranger,
            self.revoked,
            self.mistaken,
            self.wrong_door,
        ]

    def _knocks(self, kind: str, secret: Any, door: str) -> None:
        place = f"{kind} {next(self._numbers) % 30}"  # so many of them at once
        known = self._known.pop((place, door), None)
        if known is not None:
            known.close(0)
        is_news = door == "news"
        made = self._made("", door, zmq.XSUB if is_news else zmq.DEALER, secret=secret)
        self._known[place, door] = made
        if not is_news:
            with contextlib.suppress(zmq.Again):
                made.send_multipart([b"", b"MDPC02", b"\x01", b"zmws.stats"], zmq.DONTWAIT)
        self.sent(kind, connections=1)

    def stranger(self) -> None:
        secret = (*pair(), self.stand["public"])
        self._knocks("a key that nobody knows", secret, self.chance.choice(SOCKETS))

    def revoked(self) -> None:
        self._knocks("a key that was revoked", self.stand["keys"]["revoked"], self.chance.choice(SOCKETS))

    def mistaken(self) -> None:
        public, own, _ = self.stand["keys"]["client"]
        self._knocks("another broker's key", (public, own, pair()[0]), self.chance.choice(SOCKETS))

    def wrong_door(self) -> None:
        role, door = self.chance.choice((("client", "news"), ("client", "worker"), ("viewer", "mdp")))
        self._knocks("a door that is not for it", self.stand["keys"][role], door)


def mutation(frames: list[bytes], chance: random.Random) -> list[bytes]:
    """One change."""
    if not frames:
        return [chance.randbytes(3)]
    at = chance.randrange(len(frames))
    what = chance.randrange(8)
    one = frames[at]
    if what == 0:
        return frames[:at] + frames[at + 1 :]
    if what == 1:
        return [*frames[:at], one, *frames[at:]]
    if what == 2:
        return [*frames[:at], chance.randbytes(chance.randrange(20)), *frames[at:]]
    if what == 3:
        return [*frames[:at], one[: chance.randrange(len(one) + 1)], *frames[at + 1 :]]
    if what == 4:
        changed = bytearray(one or b"\0")
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        return [*frames[:at], bytes(changed), *frames[at + 1 :]]
    if what == 5:
        return [*frames[:at], one * chance.randrange(5), *frames[at + 1 :]]
    if what == 6:
        return frames[: at + 1]
    chance.shuffle(frames)
    return frames


# ---------------------------------------------------------------- HTTP


class Http(Attacker):
    """Requests to the gateway, bytes by chance and worse."""

    def of_connections(self) -> list[Stroke]:
        return [self.silent, self.slow_head, self.slow_body, self.chance_bytes]

    def of_messages(self) -> list[Stroke]:
        often = [self.anything, self.anything, self.tokens, self.pipelined, self.jobs]
        return [*often * 4, self.endless_head, self.parts, self.chunks, self.deep, self.special, self.streams]

    @property
    def _address(self) -> tuple[str, int]:
        host, _, port = self.stand["http"].rpartition(":")
        return host, int(port)

    def _ask(self, kind: str, data: bytes, messages: int = 1, hold_s: float = 0.5, drip: bytes = b"") -> None:
        opened = self.crowd.open(kind, self._address, data, hold_s, drip)
        if opened is None:
            time.sleep(0.002)
        self.told["connections"] += 1
        self.sent(kind, messages=messages)

    def _post(self, path: str, body: bytes, *headers: str, token: str = "") -> bytes:
        token = token or self.stand["tokens"][self.chance.choice(ROLES)]
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers]
        if not any(line.startswith("Transfer-Encoding") for line in headers):
            lines.append(f"Content-Length: {len(body)}")
        if not any(line.startswith("Content-Type") for line in headers):
            lines.append("Content-Type: application/json")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body

    def silent(self) -> None:
        self.crowd.open("http silent", self._address, b"", self.chance.uniform(0, 10))
        self.sent("http: silent", connections=1)

    def slow_head(self) -> None:
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200
        self.crowd.open("http slow head", self._address, head[:10], 60.0, head[10:])
        self.sent("http: a head byte by byte", connections=1)

    def slow_body(self) -> None:
        data = self._post("/api/v1/jobs", b"", "Content-Length: 100000").replace(
            b"Content-Length: 0\r\n", b""
        )
        self.crowd.open("http slow body", self._address, data, 60.0, b'{"a": "' + b"y" * 100)
        self.sent("http: a body byte by byte", connections=1)

    def chance_bytes(self) -> None:
        data = self.chance.randbytes(self.chance.randrange(1, 3_000))
        self.crowd.open("http bytes", self._address, data, 0.3)
        self.sent("http: bytes of chance", connections=1, messages=1)

    def anything(self) -> None:
        self._ask("http: hostile requests", random_request(self.chance))

    def tokens(self) -> None:
        """Guesses, and cookies."""
        token = self.chance.choice(("", "zmws_" + self.chance.randbytes(32).hex(), "x" * 5_000, "\xff\xfe"))
        data = self._post("/api/v1/jobs", b'{"service": "ECHO"}', token=token or " ")
        if self.chance.random() < 0.5:
            cookie = f"Cookie: zmws-5580={self.chance.randbytes(30).hex()}.1.b; " + "a=b; " * 200
            data = f"GET /ui/ HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n".encode()
        self._ask("http: guessed tokens and cookies", data)

    def pipelined(self) -> None:
        one = self.chance.choice((b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", self._job()))
        count = self.chance.randrange(2, 15)
        self._ask("http: pipelined", one * count, messages=count)

    def _job(self) -> bytes:
        options = self.chance.choice(('"keep": 0', '"delay": 0.1', '"retries": 9e99', '"meta": {"a": []}'))
        body = f'{{"service": "E", "durability": "memory", {options}}}'.encode()
        return self._post("/api/v1/jobs", body)

    def jobs(self) -> None:
        self._ask("http: jobs", self._job())

    def endless_head(self) -> None:
        many = self.chance.choice((b"X: y\r\n" * 3_000, b"X: " + b"y" * 60_000, b"x" * 60_000))
        self._ask("http: endless heads", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + many)

    def parts(self) -> None:
        """A form of very many parts, or of one without end."""
        part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
        body = self.chance.choice((part * 900, b"--b\r\n" + b"X: y\r\n" * 5_000, part[:60] + b"x" * 40_000))
        kind = "Content-Type: multipart/form-data; boundary=b"
        self._ask("http: multipart", self._post(self.chance.choice(("/E", "/api/v1/jobs")), body, kind))

    def chunks(self) -> None:
        body = self.chance.choice(
            (b"1\r\nx\r\n" * 3_000, b"ffffffffffffffff\r\nx", b"-1\r\n", b"1;" + b"e" * 30_000, b"zz\r\n")
        )
        self._ask("http: chunks", self._post("/api/v1/jobs", body, "Transfer-Encoding: chunked"))

    def deep(self) -> None:
        body = self.chance.choice(
            (
                b"[" * 60_000,
                b'{"a":' * 10_000,
                b'{"service": "E", "retries": ' + b"9" * 50_000 + b"}",
                b'{"service": "E", "params": ' + b"9" * 50_000 + b"}",
                json.dumps({f"{n:x}": n for n in range(5_000)}).encode(),
            )
        )
        self._ask("http: deep and long JSON", self._post("/api/v1/jobs", body))

    def special(self) -> None:
        header = self.chance.choice(
            (
                "Range: bytes=0-1,2-3," + ",".join(f"{n}-{n}" for n in range(1_000)),
                "Expect: 100-continue",
                "Expect: " + "x" * 1_000,
                "Accept-Encoding: " + "gzip," * 2_000,
                "Content-Encoding: gzip",
                "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAAA",
            )
        )
        self._ask("http: odd headers", self._post("/api/v1/jobs", b'{"service": "E"}', header))

    def streams(self) -> None:
        """News that nobody reads."""
        token = self.stand["tokens"]["news"]
        lines = ["GET /api/v1/events HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "", ""]
        self._ask("http: streams", "\r\n".join(lines).encode(), hold_s=self.chance.uniform(0, 20))


KINDS: dict[str, tuple[type[Attacker], float, float]] = {
    # What it is, and its share of the messages and of the connections.
    "raw": (Raw, 0.15, 0.55),
    "keyed": (Keyed, 0.50, 0.30),
    "plain": (Plain, 0.31, 0.05),
    "http": (Http, 0.04, 0.10),
}


def shares(messages: int, connections: int) -> Iterator[tuple[str, int, int]]:
    for kind, (_, share, share_of_connections) in KINDS.items():
        yield kind, int(messages * share) + 1, int(connections * share_of_connections) + 1


def main() -> int:
    stand = json.loads(Path(sys.argv[1]).read_text())
    kind = sys.argv[2]
    os.sched_setaffinity(0, stand["cores"])
    messages, connections = stand["shares"][kind]
    attacker = KINDS[kind][0](stand, messages, connections)
    began = time.monotonic()
    attacker.run()
    sys.stdout.write(json.dumps({"took_s": time.monotonic() - began, "told": attacker.told}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # libzmq may have much that is not sent, and nobody waits for it


if __name__ == "__main__":
    sys.exit(main())
