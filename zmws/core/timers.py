"""Deadlines: a heap of times, each with what is to be called then. An entry is a reminder, not a fact:
whoever is called looks whether its time has really come, so that nothing ever has to be taken out of the
middle.

What is over (a job that was cancelled, a wait that was answered) leaves its reminder behind. When the heap
has doubled, those that nobody wants any more are thrown out: there are never many more than are wanted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Generic, TypeVar

KEPT_MIN = 1_000  # below this nothing is thrown out

Whom = TypeVar("Whom")


class Reminder(Generic[Whom]):
    """What is called when a time has come. Each room makes its own once, and uses it for all."""

    __slots__ = ("call", "wanted")

    def __init__(
        self, call: Callable[[Whom], None], wanted: Callable[[Whom, float], bool] = lambda whom, at: True
    ) -> None:
        """`call(whom)` is called; `wanted(whom, at)`: whether that reminder is of something not over."""
        self.call = call
        self.wanted = wanted


class Timers:
    """Reminders by one clock, in its seconds."""

    def __init__(self) -> None:
        self.kept_min = KEPT_MIN
        self._heap: list[tuple[float, int, Reminder[Any], Any]] = []
        self._number = 0
        self._most = 0

    def add(self, at: float, reminder: Reminder[Whom], whom: Whom) -> None:
        """Call the reminder for `whom` at the time `at`."""
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, reminder, whom))
        if len(self._heap) > max(self._most, self.kept_min):
            self._heap = [entry for entry in self._heap if entry[2].wanted(entry[3], entry[0])]
            heapq.heapify(self._heap)
            self._most = 2 * len(self._heap)

    def next(self) -> float | None:
        """When the next reminder is due, None if there is none."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, most: int = 10_000) -> list[tuple[Reminder[Any], Any]]:
        """Take out what is due, at most `most` at a time, in the order of the times."""
        taken: list[tuple[Reminder[Any], Any]] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(taken) < most:
            _, _, reminder, whom = heapq.heappop(heap)
            taken.append((reminder, whom))
        return taken

    def __len__(self) -> int:
        return len(self._heap)
