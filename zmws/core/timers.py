"""Deadlines: a heap of (time, what, whom). An entry is a reminder, not a fact: whoever is woken looks
whether its time has really come, so that nothing ever has to be taken out of the middle."""

from __future__ import annotations

import heapq
from typing import Any


class Timers:
    """Reminders by monotonic time, in seconds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, Any]] = []
        self._number = 0

    def add(self, at: float, what: str, whom: Any = None) -> None:
        """Remind of `what` at monotonic time `at`."""
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, what, whom))

    def next(self) -> float | None:
        """When the next reminder is due, None if there is none."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, most: int = 10_000) -> list[tuple[str, Any]]:
        """Take out what is due, at most `most` at a time, in the order of the times."""
        taken: list[tuple[str, Any]] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(taken) < most:
            _, _, what, whom = heapq.heappop(heap)
            taken.append((what, whom))
        return taken

    def __len__(self) -> int:
        return len(self._heap)
