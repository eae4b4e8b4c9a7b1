"""One service: its waiting jobs, its ring of waiting workers, and what limits its starts.

Rule 1: the worker that has waited longest gets the next job (round-robin). The ring is a dict, whose
        order is the order of waiting and from which any worker can be taken at once.
Rule 2: groups with waiting jobs take turns; within a group the smallest rank is first, then the
        oldest. A job that is given back has its old rank and number, so it stands at the head again.
Rule 3: a job that left (cancelled, expired) stays in its group as a stale entry and is skipped.
Rule 4: most jobs come in the order in which they go. Those stand in a plain queue, the others (given
        back, of a higher priority) in a heap beside it; the smaller of the two heads is next.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from zmws.core.job import WAITING, Job
from zmws.core.options import ServiceOptions

if TYPE_CHECKING:
    from zmws.core.session import Session

# With ageing off a point of priority outweighs any difference of times.
STRICT_HEAD_START_S = 1e10


Entry = tuple[float, int, Job]  # rank, number


class Group:
    """The waiting jobs of one group, smallest rank first."""

    __slots__ = ("_heap", "_queue", "live")

    def __init__(self) -> None:
        self.live = 0  # entries that are not stale
        self._queue: deque[Entry] = deque()
        self._heap: list[Entry] = []

    def push(self, entry: Entry) -> None:
        """A job comes in."""
        self.live += 1
        if self._queue and entry < self._queue[-1]:
            heapq.heappush(self._heap, entry)
        else:
            self._queue.append(entry)

    def pop(self) -> Entry:
        """The next job, or a stale entry. Raises IndexError when empty."""
        if self._heap and (not self._queue or self._heap[0] < self._queue[0]):
            return heapq.heappop(self._heap)
        return self._queue.popleft()

    def left(self) -> None:
        """A job has left from within. The stale entries hold on to their jobs: they must not be many."""
        self.live -= 1
        if len(self._queue) + len(self._heap) > 2 * self.live + 64:
            self._queue = deque(entry for entry in self._queue if _is_live(entry))
            self._heap = [entry for entry in self._heap if _is_live(entry)]
            heapq.heapify(self._heap)

    def __iter__(self) -> Iterator[Entry]:
        return chain(self._queue, self._heap)


def _is_live(entry: Entry) -> bool:
    _, number, job = entry
    return job.state == WAITING and job.number == number


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
        self._groups: dict[str | None, Group] = {}
        self.start_timer_at: float | None = None  # when it is looked at again because of its rate
        self._allowance = 1.0
        self._allowance_at: float | None = None

    # ------------------------------------------------------------ waiting jobs

    def rank(self, ready_at: float, priority: int) -> float:
        """The one number that orders jobs of a group, smallest first (DESIGN section 5)."""
        ageing = self.options.ageing
        return ready_at - priority * (STRICT_HEAD_START_S if ageing is None else ageing)

    def push(self, job: Job) -> None:
        """A job waits, at the place its rank gives it."""
        group = self._groups.get(job.group)
        if group is None:
            group = self._groups[job.group] = Group()
        group.push((job.rank, job.number, job))
        self.waiting_count += 1
        if job.kind == "memory":
            self.waiting_memory += 1

    def left(self, job: Job) -> None:
        """A waiting job was cancelled or has expired; its state has changed already."""
        self._count_out(job)
        group = self._groups[job.group]
        group.left()
        if not group.live:
            del self._groups[job.group]

    def pop(self) -> Job | None:
        """The next job, in turn among the groups; None if none waits."""
        groups = self._groups
        if not groups:
            return None
        name, group = next(iter(groups.items()))
        while not _is_live(entry := group.pop()):
            pass
        group.live -= 1
        if not group.live:
            del groups[name]
        elif len(groups) > 1:
            del groups[name]
            groups[name] = group  # to the end of the turn
        self._count_out(entry[2])
        return entry[2]

    def _count_out(self, job: Job) -> None:
        self.waiting_count -= 1
        if job.kind == "memory":
            self.waiting_memory -= 1

    def waiting(self) -> Iterator[Job]:
        """The waiting jobs, in no order that means anything."""
        return (entry[2] for group in self._groups.values() for entry in group if _is_live(entry))

    def oldest_s(self, wall: float) -> float | None:
        """Seconds that the job at the head of a group has waited longest, None if none waits."""
        heads = [
            next(entry[2].ready_at for entry in group if _is_live(entry)) for group in self._groups.values()
        ]
        return max(0.0, wall - min(heads)) if heads else None

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
