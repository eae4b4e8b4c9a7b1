"""What every dialog is to whoever drives it, and what every dialog wants done.

Rule 1: a dialog is fed frames and the time, and nothing else reaches it; it touches no socket and no clock.
Rule 2: what it wants done is taken from it in order, and done in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(slots=True)
class Open:
    """Close the socket there is, and connect a new one to this broker.

    `ping_s`: how often ZMTP sends a PING, from libzmq's own thread; `silence_s`: the answer comes within.
    """

    endpoint: str
    ping_s: float
    silence_s: float


@dataclass(slots=True)
class Transmit:
    """Send these frames on the socket there is."""

    frames: list[bytes]


class Dialog(Protocol):
    """One side's conversation with a broker, over one connection at a time. Times are monotonic seconds."""

    def connected(self, now: float) -> None:
        """The socket's handshake is through."""

    def disconnected(self, now: float, reason: str = "") -> None:
        """The connection broke or could not be made. `reason`: why, where that is of use."""

    def receive(self, now: float, frames: list[bytes]) -> None:
        """What the broker sent."""

    def tick(self, now: float) -> None:
        """Time has passed. Does nothing before a deadline has come."""

    def next_deadline(self) -> float | None:
        """When `tick` is to be called next; None if there is nothing to wait for but frames."""

    def take(self) -> Sequence[Any]:
        """What is to be done, in order: Open, Transmit, and what only this kind of dialog wants."""
