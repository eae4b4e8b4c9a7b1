"""Who may connect: the ZAP handler of the broker's sockets (ZeroMQ RFC 27).

Rule 1: it is bound before any other socket, for while there is none libzmq lets everybody in; and each socket
        that asks for keys insists on it (ZAP_ENFORCE_DOMAIN).
Rule 2: it is a socket of the broker's own loop, and no thread of a library: what the core knows holds at
        once.
Rule 3: until the keys are known, who asks waits. Who is refused is told nothing; the log says who and why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import zmq
from zmq.utils import z85

from zmws import sockets

ADDRESS = "inproc://zeromq.zap.01"
VERSION = b"1.0"
_AT_ONCE = 200  # requests, a wake-up
_TOLD_AGAIN_S = 60.0
_TOLD_MAX = 1_000  # refusals that are remembered, so that each is told once in a while

log = logging.getLogger("zmws.broker")


class ZapHandler:
    """Answers the requests of libzmq's handshakes."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        refused: Callable[[str, str, str], str | None],
        user_of: Callable[[str, str], str],
    ) -> None:
        """`refused`: why a public key may not connect to a socket of this name, from this address; None: it
        may. `user_of`: who it is from then on, for a public key and an address."""
        self._refused = refused
        self._user_of = user_of
        self._told: dict[tuple[str, str, str], float] = {}
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)  # one request a handshake: as many as there are connections
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.bind(ADDRESS)

    def answer(self) -> int:
        """Answer those who ask; how many were refused."""
        refusals = 0
        for _ in range(_AT_ONCE):
            if not sockets.readable(self.socket):
                break
            frames = sockets.recv(self.socket)
            # address, "", version, id, domain, peer, identity, mechanism, key: libzmq itself asks so.
            if len(frames) < 8 or frames[2] != VERSION:
                log.error("a ZAP request cannot be read, and is refused")
                refusals += 1
                continue
            status, user = self._verdict(frames)
            refusals += status != b"200"
            text = b"" if status == b"200" else b"not allowed"
            sockets.send(self.socket, [*frames[:2], VERSION, frames[3], status, text, user, b""])
        return refusals

    def _verdict(self, frames: list[bytes]) -> tuple[bytes, bytes]:
        domain, address = frames[4].decode("ascii", "replace"), frames[5].decode("ascii", "replace")
        if frames[7] != b"CURVE" or len(frames) != 9 or len(frames[8]) != 32:
            self._tell(domain, address, "a peer without a key")
            return b"400", b""
        public = z85.encode(frames[8]).decode()
        why = self._refused(domain, public, address)
        if why is not None:
            self._tell(domain, address, why)
            return b"400", b""
        return b"200", self._user_of(public, address).encode()

    def _tell(self, domain: str, address: str, why: str) -> None:
        now, what = time.monotonic(), (domain, address, why)
        if now - self._told.get(what, float("-inf")) < _TOLD_AGAIN_S:
            return
        if len(self._told) >= _TOLD_MAX:
            self._told.clear()
        self._told[what] = now
        log.warning("%s: refused from %s: %s", domain, address, why)

    def close(self) -> None:
        """After all sockets that ask it."""
        self.socket.close(linger=0)
