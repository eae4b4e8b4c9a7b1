"""What the parts of the state machine share within one turn: the time they are given, where chance and
ids come from, and what comes out. Nothing here decides anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zmws.core.gate import Send
from zmws.core.limits import Limits
from zmws.core.messages import Link, ToWorker
from zmws.core.timers import Timers
from zmws.core.writes import Read, Write

Peer = tuple[str, bytes]
NEWS_PEER: Peer = ("news", b"")


@dataclass(slots=True)
class News:
    """What the news socket announces: a topic, and the JSON beside it."""

    topic: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Suppliers:
    """Chance and ids come from outside, so that a seed repeats a history exactly."""

    new_id: Callable[[], str]  # a job id
    nonce: Callable[[], str]  # 64 random bits, printable
    jitter: Callable[[], float]  # 0 <= x < 1
    secret: bytes  # up to 64 bytes that nobody outside knows; as long as one broker lives, the same


class Turn:
    """Time in, output out."""

    def __init__(self, limits: Limits, suppliers: Suppliers) -> None:
        self.limits = limits
        self.suppliers = suppliers
        self.now = 0.0  # monotonic, seconds
        self.wall = 0.0  # seconds since 1970
        self.timers = Timers()
        self.counters: Counter[str] = Counter()
        self.news_wanted = True
        self.writes: list[Write] = []
        self.reads: list[Read] = []
        self.sends: list[Send] = []
        self.log: list[tuple[str, str]] = []

    def send(self, peer: Peer, message: object, after: Write | None = None) -> None:
        """A message leaves, as soon as `after` is on disk."""
        self.sends.append(Send(peer, message, after))

    def command(self, peer: Peer, message: ToWorker, link: Link) -> None:
        """A command leaves for a worker, at once."""
        self.sends.append(Send(peer, message, None, link))

    def news(self, topic: str, body: dict[str, Any], after: Write | None = None) -> None:
        """An announcement, if anybody listens."""
        if self.news_wanted:
            self.sends.append(Send(NEWS_PEER, News(topic, body), after))

    def note(self, level: str, text: str) -> None:
        """A line for the log: `info` or `warning`."""
        self.log.append((level, text))

    def take(self) -> tuple[list[Write], list[Read], list[Send]]:
        """What has come out since the last call."""
        out = (self.writes, self.reads, self.sends)
        if self.writes:
            self.writes = []
        if self.reads:
            self.reads = []
        if self.sends:
            self.sends = []
        return out
