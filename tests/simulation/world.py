"""A world in virtual time: a clock, a network that loses and delays, a disk that is slow and fails.

Everything random comes from one seeded generator, so that a seed repeats a history exactly. What runs
in it is the shipped core, gate, codec and dialogues.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zmws.wire.messages import Peer


class World:
    """The clock, the chance, and what is to happen."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0.0
        self.wall_offset = 1_700_000_000.0
        self.suspended = 0.0  # for how long, in all
        self.clock_jumped = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.trace: list[str] = []

    @property
    def wall(self) -> float:
        """Wall time, which may be stepped; `now` never is."""
        return self.now + self.wall_offset + self.suspended

    @property
    def boot(self) -> float:
        """Time that goes on while the machine is suspended, and is never stepped; `now` stands still then."""
        return self.now + self.suspended

    def after(self, delay: float, happening: Callable[[], None]) -> None:
        """Let something happen in `delay` seconds."""
        self._number += 1
        heapq.heappush(self._events, (self.now + max(0.0, delay), self._number, happening))

    def run(self, until: float) -> None:
        """Let time pass."""
        at_once = 0
        while self._events and self._events[0][0] <= until:
            before = self.now
            self.now, _, happening = heapq.heappop(self._events)
            at_once = at_once + 1 if self.now == before else 0
            assert at_once < 10_000, "time stands still: something wakes itself without end"
            happening()
        self.now = until

    def say(self, text: str) -> None:
        """A line of the history, shown when an invariant is broken."""
        if not text.endswith("MDPW02 | b'\\x05'"):  # bare heartbeats tell nothing
            self.trace.append(f"{self.now:9.3f} {text}")

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability


@dataclass(eq=False)
class Link:
    """One connection: in order and reliable until it breaks; then what was under way is lost without
    a word, and each side learns of it a little later."""

    world: World
    socket: str
    routing_id: bytes
    to_broker: Callable[[Link, list[bytes]], None]
    to_peer: Callable[[Link, list[bytes]], None]
    on_break_peer: Callable[[Link], None]
    on_break_broker: Callable[[Link], None]
    alive: bool = True
    gone_for_broker: bool = False
    short_cut: bool = False  # it breaks, but its peer is soon back
    frozen: bool = False  # the peer stands still: nothing is delivered to it, nothing lost
    _last: dict[str, float] = field(default_factory=dict)
    _backlog: list[list[bytes]] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        """Whom the broker hears over it."""
        return self.socket, self.routing_id, ""

    @property
    def delivers(self) -> bool:
        """Whether what is sent to the peer is read soon."""
        return not self.frozen

    def send_to_broker(self, frames: list[bytes]) -> None:
        if self.alive:
            self._deliver("up", frames)

    def send_to_peer(self, frames: list[bytes]) -> None:
        if self.alive:
            self._deliver("down", frames)

    def _deliver(self, way: str, frames: list[bytes]) -> None:
        # In order: no message overtakes the one before it.
        at = max(self.world.now + self.world.random.uniform(0.0001, 0.02), self._last.get(way, 0.0))
        self._last[way] = at

        def arrive() -> None:
            if not self.alive:
                return
            if way == "up":
                self.to_broker(self, frames)
            elif self.frozen:
                self._backlog.append(frames)
            else:
                self.to_peer(self, frames)

        self.world.after(at - self.world.now, arrive)

    def thaw(self) -> None:
        """The peer goes on, and reads what came meanwhile."""
        self.frozen = False
        backlog, self._backlog = self._backlog, []
        for frames in backlog:
            self.to_peer(self, frames)

    def break_off(self) -> None:
        """The connection is cut."""
        if not self.alive:
            return
        self.alive = False
        self.world.after(self.world.random.uniform(0.001, 0.05), lambda: self.on_break_peer(self))

        def broker_learns() -> None:
            self.gone_for_broker = True
            self.on_break_broker(self)

        self.world.after(self.world.random.uniform(0.001, 0.3), broker_learns)


def shown(frames: list[bytes]) -> str:
    """Frames as a line of the history."""
    texts: list[Any] = [
        frame.decode() if frame.isascii() and frame.decode().isprintable() else frame for frame in frames
    ]
    return " | ".join(str(text)[:120] for text in texts)
