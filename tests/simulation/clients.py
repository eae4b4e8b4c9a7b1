"""A client of ours: the shipped dialogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.broker import SimBroker
from tests.simulation.invariants import Watcher
from tests.simulation.peer import Peer
from tests.simulation.world import World
from zmws.dialog.actions import Open, Transmit
from zmws.dialog.client import Answered, ClientDialog, ClientSettings


class SimClient(Peer):
    """A client of ours: the shipped dialogue."""

    def __init__(self, world: World, broker: SimBroker, watcher: Watcher, name: str) -> None:
        super().__init__(world, broker, "client")
        self.watcher, self.name = watcher, name
        self.dialog = ClientDialog(["broker"], ClientSettings(away_s=60.0, connect_s=60.0, repeat_s=2.0))
        self._tick_at: float | None = None
        self._waiting: dict[bytes, Callable[[Any], None]] = {}
        self.asked = self.answered = 0

    def ask(
        self,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        then: Callable[[Any], None],
    ) -> None:
        """Send a request; `then` gets the Reply or the error."""
        self.asked += 1
        number = self.dialog.request(self.world.now, service, sync, options, body, timeout_s)
        self._waiting[number] = then
        self.act()

    def connected(self) -> None:
        self.dialog.connected(self.world.now)
        self.act()

    def received(self, frames: list[bytes]) -> None:
        self.dialog.receive(self.world.now, frames)
        self.act()

    def lost(self) -> None:
        self.dialog.disconnected(self.world.now)
        self.act()

    def act(self) -> None:
        for action in self.dialog.take():
            if isinstance(action, Open):
                self.open()
            elif isinstance(action, Transmit):
                if self.link is not None:
                    self.link.send_to_broker(action.frames)
                    if self.world.chance(0.02):
                        self.link.send_to_broker(action.frames)  # a repeated message
            elif isinstance(action, Answered):
                if action.reply.kind != "partial":
                    self.answered += 1
                    self._waiting.pop(action.number)(action.reply)
            else:
                self.answered += 1
                self._waiting.pop(action.number)(action.error)
        due = self.dialog.next_deadline()
        if due is not None and (self._tick_at is None or due < self._tick_at):
            self._tick_at = due

            def wake() -> None:
                if self._tick_at == due:
                    self._tick_at = None
                    self.dialog.tick(self.world.now)
                    self.act()

            self.world.after(due - self.world.now, wake)
