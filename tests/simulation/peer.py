"""Whoever has a connection to the broker: it opens, is cut, stands still."""

from __future__ import annotations

from tests.simulation.broker import SimBroker
from tests.simulation.world import Link, World


class Peer:
    """Somebody with a connection to the broker."""

    def __init__(self, world: World, broker: SimBroker, socket: str) -> None:
        self.world, self.broker, self.socket = world, broker, socket
        self.link: Link | None = None
        self.unreachable_until = 0.0
        self.frozen = False
        self.running = True

    def open(self, routing_id: bytes | None = None) -> None:
        if self.link is not None:
            self.link.break_off()
        rid = routing_id or b"\0" + self.world.random.getrandbits(32).to_bytes(4, "big")
        self.link = link = Link(
            self.world,
            self.socket,
            rid,
            self.broker.receive,
            lambda on, frames: self._in(on, frames),
            lambda on: self._broke(on),
            self.broker.broken,
        )
        life = self.broker.life

        def handshake() -> None:
            if self.link is not link or not link.alive:
                return
            cut_off = self.world.now < self.unreachable_until
            if cut_off or life != self.broker.life or not self.broker.connect(link):
                link.break_off()
            else:
                self.connected()

        # What is sent before the handshake waits for it: both take the same way, in order.
        link._last["up"] = self.world.now + 0.005
        self.world.after(0.004, handshake)

    def cut(self, seconds: float) -> None:
        """The network is gone for a while."""
        self.unreachable_until = self.world.now + seconds
        if self.link is not None:
            self.link.break_off()

    def holds_at_broker(self) -> list[bytes]:
        """The tokens that the broker has given to this peer, arrived or not."""
        if self.link is None or not self.broker.up:
            return []
        session = self.broker.core.roster.sessions.by_peer.get(self.link.peer)
        return list(session.holding) if session is not None else []

    def connected(self) -> None: ...

    def received(self, frames: list[bytes]) -> None: ...

    def lost(self) -> None: ...

    def _in(self, link: Link, frames: list[bytes]) -> None:
        if link is self.link and self.running:
            self.received(frames)

    def _broke(self, link: Link) -> None:
        if link is not self.link or not self.running:
            return
        if self.frozen:
            self.world.after(0.5, lambda: self._broke(link))
        else:
            self.lost()
