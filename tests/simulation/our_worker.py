"""What befalls a worker of ours: its process dies or stands still, its connection is cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from tests.simulation.broker import SimBroker
from tests.simulation.invariants import Watcher
from tests.simulation.peer import Peer
from tests.simulation.world import World
from zmws.core.session import Session


def is_poison(body: tuple[bytes, ...]) -> bool:
    """Whether a worker of ours dies of this job."""
    return bool(body) and b'"poison"' in body[0]


class OurWorker(Peer, ABC):
    """A process with an id of its own, which tells what it holds when it comes back."""

    def __init__(self, world: World, broker: SimBroker, watcher: Watcher, name: str) -> None:
        super().__init__(world, broker, "worker")
        self.watcher, self.name = watcher, name
        self.lives = 0
        self._cut_at = -10.0

    @property
    @abstractmethod
    def process(self) -> object:
        """What is another one after a crash."""

    @property
    @abstractmethod
    def worker_id(self) -> str:
        """The id that its READY tells."""

    @property
    @abstractmethod
    def tokens(self) -> set[bytes]:
        """What it runs."""

    @property
    @abstractmethod
    def unconfirmed(self) -> Iterable[bytes]:
        """The tokens of the results that it keeps."""

    @property
    def known_as(self) -> object:
        """How the broker names it."""
        return self.worker_id

    @abstractmethod
    def begin(self) -> None:
        """A new process."""

    def go_on(self) -> None:
        """It stood still, and does so no more."""

    def crash(self) -> None:
        """kill -9."""
        if not self.running:
            return
        self.world.say(f"{self.name} crashes")
        self.running = self.frozen = self.watcher.ahead.faultless = False
        for token in self._charged():
            self.watcher.may_have_failed(token)
        if self.link is not None:
            self.link.break_off()
        self.world.after(self.world.random.uniform(0.5, 4.0), self.begin)

    def _charged(self) -> set[bytes]:
        """The tokens that its death may be charged to: of one that holds several nobody can know."""
        return {*self.unconfirmed, *self._at_stake()}

    def _at_stake(self) -> set[bytes]:
        """The tokens it holds, as it knows or as the broker does, also over a connection before this one."""
        given = [token for session in self._sessions() for token in session.holding]
        return {*self.tokens, *self.holds_at_broker(), *given}

    def _sessions(self) -> list[Session]:
        """What the broker takes for this process."""
        known = self.broker.core.roster.sessions.by_peer.values() if self.broker.up else ()
        return [session for session in known if session.id == self.worker_id]

    def freeze(self, seconds: float) -> None:
        """SIGSTOP and, later, SIGCONT. Standing still for long breaks the connection (ZMTP)."""
        if self.frozen or not self.running:
            return
        self.world.say(f"{self.name} stands still for {seconds:.1f} s")
        self.frozen = True
        for token in self._at_stake():
            self.watcher.may_have_failed(token)
        if self.link is not None:
            self.link.frozen = True
        link, process = self.link, self.process

        def zmtp_timeout() -> None:
            if self.frozen and self.link is link and link is not None:
                link.break_off()

        def go_on() -> None:
            if self.process is not process or not self.frozen:
                return
            self.frozen = False
            if self.link is not None:
                self.link.thaw()
            self.go_on()

        self.world.after(3.0, zmtp_timeout)
        self.world.after(seconds, go_on)

    def cut(self, seconds: float) -> None:
        # Back within half a second, a job goes on where it is, and one that never arrived is given
        # back: no failure. Two cuts in a row can be too long together.
        # Nor does who has left come back.
        short = seconds < 0.5 and self.world.now - self._cut_at > 4.0 and self.running and not self.frozen
        self._cut_at = self.world.now
        if not short:
            for token in self._at_stake():
                self.watcher.may_have_failed(token)
        elif self.link is not None:
            self.link.short_cut = True
        super().cut(seconds)
