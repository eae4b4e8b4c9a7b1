"""Jobs sent ahead: a worker that is busy with short ones is given more than it can begin at once, so that it
need not wait for a REQUEST after each FINAL (docs/protocol.md, `prefetch`).

Rule 1: only while no taker of the service can be given a job, and only to a worker that has asked for it and
        that moves: what it runs is short by experience, and it has begun or ended a job a moment ago. Who has
        the fewest jobs in hand is next (dispatch.py, session.py).
Rule 2: run time x jobs ahead stays under `prefetch_time_s`: what is sent ahead waits for no longer.
Rule 3: of a session's tokens the oldest count as begun, as many as it has slots. The time to run of a later
        one counts from the FINAL that moves it up.
Rule 4: what no FINAL has moved up within `prefetch_patience_s` is overdue: it is taken back as soon as a slot
        elsewhere is free. A process that stands does not keep it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

JOBS_MIN = 8  # so many jobs must have ended before their run time is known
_WINDOW = 16  # jobs that a moving average is about

T = TypeVar("T")


class RunTime:
    """How long the jobs of one service run, by the last of them. Seconds."""

    __slots__ = ("_count", "_mean_s")

    def __init__(self) -> None:
        self._count = 0
        self._mean_s = 0.0

    def note(self, ran_s: float) -> None:
        """A job has ended: from its REQUEST, or from the FINAL before it where that was later."""
        self._count = min(self._count + 1, _WINDOW)
        self._mean_s += (ran_s - self._mean_s) / self._count

    @property
    def expected_s(self) -> float | None:
        """Of the next job; None as long as too few have ended."""
        return self._mean_s if self._count >= JOBS_MIN else None


class Fewest(Generic[T]):
    """Who may be sent a job ahead, those with the fewest jobs in hand first, then the longest here."""

    __slots__ = ("_by_count", "_count")

    def __init__(self) -> None:
        self._by_count: dict[int, dict[T, None]] = {}
        self._count: dict[T, int] = {}

    def put(self, one: T, count: int) -> None:
        """It has so many in hand now."""
        was = self._count.get(one)
        if was != count:
            if was is not None:
                self.drop(one)
            self._count[one] = count
            self._by_count.setdefault(count, {})[one] = None

    def drop(self, one: T) -> None:
        """It may not, until it is put again."""
        count = self._count.pop(one, None)
        if count is not None:
            having = self._by_count[count]
            del having[one]
            if not having:
                del self._by_count[count]

    def __contains__(self, one: object) -> bool:
        return one in self._count

    def __bool__(self) -> bool:
        return bool(self._count)

    def first(self) -> T | None:
        """The one whose turn it is, None if there is none."""
        counts = self._by_count
        return next(iter(counts[min(counts)])) if counts else None
