"""When jobs that wait in memory expire: one timer for all of them, at the earliest."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from zmws.core.job import Job
from zmws.core.turn import Turn


class Expiry:
    """What is remembered holds on to no job, and is not many more than there are jobs that wait."""

    def __init__(self, turn: Turn, waiting: Callable[[], Iterable[Job]]) -> None:
        """`waiting`: all jobs that wait or are scheduled, in memory."""
        self._turn = turn
        self._waiting = waiting
        self._expiring: list[tuple[float, int, str]] = []  # when, number and id
        self._most = 1_000

    def watch(self, job: Job) -> None:
        """Remind of this job when it expires, if it does."""
        if job.expires_at is None:
            return
        heapq.heappush(self._expiring, (job.expires_at, job.number, job.id))
        if self._expiring[0][1] == job.number:
            self._turn.steady_timers.add(job.expires_at, "expire")
        if len(self._expiring) > self._most:
            found = self._waiting()
            self._expiring = [(j.expires_at, j.number, j.id) for j in found if j.expires_at is not None]
            heapq.heapify(self._expiring)
            if self._expiring:  # a reminder of one that is gone may have stood for it
                self._turn.steady_timers.add(self._expiring[0][0], "expire")
            self._most = max(1_000, 2 * len(self._expiring))

    def late(self) -> Iterator[tuple[int, str]]:
        """Number and id of the jobs whose time has come; some are no longer there, or no longer wait."""
        while self._expiring and self._expiring[0][0] <= self._turn.steady:
            _, number, job_id = heapq.heappop(self._expiring)
            yield number, job_id
        if self._expiring:
            self._turn.steady_timers.add(self._expiring[0][0], "expire")

    def next_at(self) -> float | None:
        """When the next of them expires."""
        return self._expiring[0][0] if self._expiring else None
