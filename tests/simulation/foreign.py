"""Peers that know RFC 18 and nothing more: a worker and a client."""

from __future__ import annotations

from tests.simulation.broker import SimBroker
from tests.simulation.invariants import Watcher
from tests.simulation.peer import Peer
from tests.simulation.world import World
from zmws.wire import mdp
from zmws.wire.messages import WorkerRequest


class ForeignWorker(Peer):
    """RFC 18 and nothing more, under a routing id of its own choice, silent while it works."""

    def __init__(self, world: World, broker: SimBroker, watcher: Watcher, name: str, service: str) -> None:
        super().__init__(world, broker, "mdp")
        self.watcher, self.name, self.service = watcher, name, service
        self.busy = False
        self.may_hang = True
        self._unread: list[list[bytes]] = []
        self._heard = 0.0
        self.register()
        self._beat()

    @property
    def known_as(self) -> object:
        """What the broker knows it by: not the name that it gives it."""
        return self.socket, self.name.encode(), ""

    @property
    def unconfirmed(self) -> tuple[bytes, ...]:
        """It keeps no results."""
        return ()

    def register(self) -> None:
        self._heard = self.world.now
        self.open(self.name.encode())
        self._send([mdp.MDPW02, mdp.W_READY, self.service.encode()])

    def _send(self, frames: list[bytes]) -> None:
        if self.link is not None:
            self.link.send_to_broker(frames)

    def _beat(self) -> None:
        if not self.busy:
            if self.world.now - self._heard > 7.5:
                self.register()
            else:
                self._send([mdp.MDPW02, mdp.W_HEARTBEAT])
        self.world.after(2.0, self._beat)

    def cut(self, seconds: float) -> None:
        for token in self.holds_at_broker():
            self.watcher.may_have_failed(token)
        super().cut(seconds)

    def lost(self) -> None:
        # As libzmq does: the same routing id on a new connection, without a word to the program.
        def reconnect() -> None:
            if self.link is not None and not self.link.alive:
                self.open(self.name.encode())

        self.world.after(0.5, reconnect)

    def received(self, frames: list[bytes]) -> None:
        if self.busy:
            self._unread.append(frames)  # it is not reading while it works
            return
        self._heard = self.world.now
        if frames[1] == mdp.W_DISCONNECT:
            self.world.after(0.1, lambda: None if self.busy else self.register())
        elif frames[1] == mdp.W_REQUEST:
            token, body = frames[2], frames[4:]
            self.busy = True
            self.watcher.began(self.name, WorkerRequest(token, "", b"", tuple(body)), self.world)

            def end() -> None:
                self.busy = False
                self._heard = self.world.now
                self._send([mdp.MDPW02, mdp.W_FINAL, token, b"", *body])
                unread, self._unread = self._unread, []
                for frames in unread:
                    self.received(frames)

            takes = self.world.random.choice((0.0, 0.2, 4.0))
            if self.may_hang and self.world.chance(0.1):
                self.may_hang = False
                takes = self.world.random.uniform(25.0, 45.0)  # past `ttr`: it is given up, and comes back
                self.watcher.may_have_failed(token)
            self.world.after(takes, end)


class StrictClient(Peer):
    """RFC 18 and nothing more: it knows no refusal, repeats nothing, and wants as many answers as it asks."""

    def __init__(self, world: World, broker: SimBroker, name: str) -> None:
        super().__init__(world, broker, "mdp")
        self.name = name
        self.asked = self.answered = 0
        self.open()

    def burst(self, service: str, count: int) -> None:
        """Ask so often at once."""
        if self.link is None or not self.link.alive:
            return
        self.world.say(f"{self.name} asks {count} times for {service}")
        for n in range(count):
            self.asked += 1
            self.link.send_to_broker([mdp.MDPC02, mdp.C_REQUEST, service.encode(), b"%d" % n])

    def received(self, frames: list[bytes]) -> None:
        self.answered += frames[1] == mdp.C_FINAL

    def lost(self) -> None:
        # What it asked over the old connection is answered to nobody.
        self.asked = self.answered = 0
        self.world.after(0.5, lambda: None if self.link is not None and self.link.alive else self.open())
