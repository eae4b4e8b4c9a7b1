"""One service: its waiting jobs, its ring of waiting workers, and what limits its starts.

Rule 1: the worker that has waited longest gets the next job (round-robin). The ring is a dict, whose
        order is the order of waiting and from which any worker can be taken at once.
Rule 2: groups with waiting jobs take turns; within a group the smallest rank is first, then the
        oldest. A job that is given back has its old rank and number, so it stands at the head again.
Rule 3: a job that left (cancelled, expired) stays in its heap as a stale entry and is skipped.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zmws.core.job import WAITING, Job
from zmws.core.options import ServiceOptions

if TYPE_CHECKING:
    from zmws.core.session import Session

# With ageing off a point of priority outweighs any difference of times.
STRICT_HEAD_START_S = 1e10


class Service:
    """Jobs and workers of one name."""

    def __init__(self, name: str, options: ServiceOptions | None = None) -> None:
        self.name = name
        self.options = options or ServiceOptions()
        self.paused = self.options.paused
        self.registered = False  # a worker registered it, or the configuration names it
        self.ring: dict[Session, None] = {}
        self.sessions: dict[Session, None] = {}
        self.running: dict[str, Job] = {}
        self.scheduled: dict[str, Job] = {}
        self.waiting_count = 0
        self.waiting_memory = 0
        self.complete = 0
        self.failed = 0
        self._groups: dict[str | None, list[tuple[float, int, Job]]] = {}
        self._allowance = 1.0
        self._allowance_at: float | None = None

    # ------------------------------------------------------------ waiting jobs

    def rank(self, ready_at: float, priority: int) -> float:
        """The one number that orders jobs of a group, smallest first (DESIGN section 5)."""
        ageing = self.options.ageing
        return ready_at - priority * (STRICT_HEAD_START_S if ageing is None else ageing)

    def push(self, job: Job) -> None:
        """A job waits, at the place its rank gives it."""
        heap = self._groups.setdefault(job.group, [])
        heapq.heappush(heap, (job.rank, job.number, job))
        self.waiting_count += 1
        if job.kind == "memory":
            self.waiting_memory += 1

    def left(self, job: Job) -> None:
        """A waiting job has been taken, cancelled or has expired."""
        self.waiting_count -= 1
        if job.kind == "memory":
            self.waiting_memory -= 1

    def pop(self) -> Job | None:
        """The next job, in turn among the groups; None if none waits."""
        while self._groups:
            group, heap = next(iter(self._groups.items()))
            while heap:
                _, number, job = heapq.heappop(heap)
                if job.state == WAITING and job.number == number:
                    del self._groups[group]
                    if heap:
                        self._groups[group] = heap  # to the end of the turn
                    self.left(job)
                    return job
            del self._groups[group]
        return None

    def waiting(self) -> Iterator[Job]:
        """The waiting jobs, in no order that means anything."""
        for heap in self._groups.values():
            for _, number, job in heap:
                if job.state == WAITING and job.number == number:
                    yield job

    def oldest_s(self, wall: float) -> float | None:
        """Seconds that the job at the head of a group has waited longest, None if none waits."""
        heads = [heap[0][2].ready_at for heap in self._groups.values() if heap]
        return max(0.0, wall - min(heads)) if heads and self.waiting_count else None

    def knows_group(self, group: str | None) -> bool:
        """Whether jobs of this group wait already."""
        return group in self._groups

    @property
    def groups(self) -> int:
        """How many groups have waiting jobs."""
        return len(self._groups)

    # ------------------------------------------------------------ starts

    def may_start_at(self, now: float) -> float | None:
        """When the next job may start: `now` or earlier if at once, None while only a change can
        allow it (paused, max_running reached, nothing waiting)."""
        if self.paused or not self.waiting_count:
            return None
        limit = self.options.max_running
        if limit is not None and len(self.running) >= limit:
            return None
        rate = self.options.rate
        if rate is None:
            return now
        self._refill(now, rate)
        # The comparison must not fail by a rounding error at the very time that was asked for.
        return now if self._allowance >= 1.0 - 1e-9 else now + (1.0 - self._allowance) / rate

    def started(self, job: Job, now: float) -> None:
        """A job was dispatched: it counts in max_running and uses up the rate."""
        self.running[job.id] = job
        if self.options.rate is not None:
            self._refill(now, self.options.rate)
            self._allowance -= 1.0

    def _refill(self, now: float, rate: float) -> None:
        since = self._allowance_at
        if since is not None:
            # A second's worth may be saved up, and never less than one start.
            self._allowance = min(max(1.0, rate), self._allowance + (now - since) * rate)
        self._allowance_at = now
