"""Who listens at `news`: the topics that libzmq holds, and from which address each came.

Rule 1: libzmq passes a subscription on when it is the first of its topic, and its end when it was the last:
        so what is here is what libzmq holds. Of which connection it is it does not say, of which address it
        does.
Rule 2: a topic of a thousand bytes costs libzmq eighty thousand, so of one address there are at most so many
        bytes of them.
"""

from __future__ import annotations

from collections import Counter

_EACH_BYTES = 32  # a topic costs something, however short it is


class Subscriptions:
    """The topics."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max`: of one address; eighty times that in libzmq, at the worst."""
        self._bytes_max = bytes_max
        self._from: dict[bytes, str] = {}  # by topic
        self._bytes: Counter[str] = Counter()  # by address

    def begun(self, topic: bytes, address: str) -> bool:
        """Somebody listens; false if there are too many of his address."""
        if topic not in self._from:
            self._from[topic] = address
            self._bytes[address] += _EACH_BYTES + len(topic)
        return self._bytes[address] <= self._bytes_max

    def ended(self, topic: bytes) -> bool:
        """Nobody listens to it any more; false if nobody did."""
        address = self._from.pop(topic, None)
        if address is None:
            return False
        self._bytes[address] -= _EACH_BYTES + len(topic)
        if not self._bytes[address]:
            del self._bytes[address]
        return True

    def __len__(self) -> int:
        return len(self._from)
