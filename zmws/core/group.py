"""The waiting jobs of one group, and how far they are held in memory (docs/architecture.md).

Rule 1: within a group the smallest key (rank, number) is first. A job that is given back has its old key,
        so it stands at the head again.
Rule 2: stored jobs below `horizon` are all here. From it on they may stand in the store alone, so a job
        from there on is not given out, though it be here, until the pages before it have come in.
Rule 3: a job that left (cancelled, expired) stays in its queue as a stale entry and is skipped.
Rule 4: most jobs come in the order in which they go. Those stand in a plain line, the others (given
        back, of a higher priority) in a heap beside it; the smaller of the two heads is next.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter

from zmws.core.job import MEMORY, Job
from zmws.core.rows import Key
from zmws.core.states import WAITING

# Rank, number, when it came into the queue, job. A stale entry may have the rank and number of the very job
# that stands there anew (Rule 3), and jobs are not to be compared.
Entry = tuple[float, int, int, Job]
LOOK_BACK = 8  # how many of the last are looked at for one that can go
ALL_IN_STORE: Key = (float("-inf"), -1)  # the horizon of a group of which nothing is here


class Queue:
    """Waiting jobs of one kind, smallest key first."""

    __slots__ = ("_heap", "_line", "_pushed", "live")

    def __init__(self) -> None:
        self.live = 0  # entries that are not stale
        self._pushed = 0  # how many have come in
        self._line: deque[Entry] = deque()
        self._heap: list[Entry] = []

    def push(self, job: Job) -> None:
        """A job comes in."""
        self.live += 1
        self._pushed += 1
        entry = (job.rank, job.number, self._pushed, job)
        if self._line and entry < self._line[-1]:
            heapq.heappush(self._heap, entry)
        else:
            self._line.append(entry)

    def head(self) -> Entry | None:
        """The first job's entry."""
        line, heap = self._line, self._heap
        while line and line[0][3].state != WAITING:
            line.popleft()
        while heap and heap[0][3].state != WAITING:
            heapq.heappop(heap)
        if heap and (not line or heap[0] < line[0]):
            return heap[0]
        return line[0] if line else None

    def oldest_at(self) -> float | None:
        """When the oldest was ready, of those that stand first in the line and in the heap; None: none is."""
        if self.head() is None:
            return None
        firsts = [entries[0][3].ready_at for entries in (self._line, self._heap) if entries]
        return min(firsts)

    def pop(self) -> None:
        """Take out what `head` has shown."""
        self.live -= 1
        if self._heap and (not self._line or self._heap[0] < self._line[0]):
            heapq.heappop(self._heap)
        else:
            self._line.popleft()

    def pop_last(self) -> Job | None:
        """Take out one at the end of the line, for the store alone to keep: not the head, and nothing of
        which a write is under way. None if there is none such among the last few."""
        if len(self._heap) > len(self._line):
            # What came out of order is most of it (so this is seldom): it has an end, too.
            self._line = deque(sorted(self.entries()))
            self._heap = []
        head, line = self.head(), self._line
        if head is None:
            return None
        while line and line[-1][3].state != WAITING:
            line.pop()
        for place in range(-1, -1 - min(LOOK_BACK, len(line)), -1):
            entry = line[place]
            if entry[2] == head[2]:
                return None
            if entry[3].state == WAITING and entry[3].last_write is None:
                del line[place]
                self.live -= 1
                return entry[3]
        return None

    def left(self) -> None:
        """A job has left from within. The stale entries hold on to their jobs: they must not be many."""
        self.live -= 1
        if len(self._line) + len(self._heap) > 2 * self.live + 64:
            self._line = deque(entry for entry in self._line if entry[3].state == WAITING)
            self._heap = [entry for entry in self._heap if entry[3].state == WAITING]
            heapq.heapify(self._heap)

    def __iter__(self) -> Iterator[Job]:
        return (entry[3] for entry in self.entries())

    def entries(self) -> Iterator[Entry]:
        """Of all that wait, in no order."""
        return (entry for entry in chain(self._line, self._heap) if entry[3].state == WAITING)


class Group:
    """The waiting jobs of one fairness key."""

    __slots__ = ("horizon", "loading", "lowered", "memory", "stored")

    def __init__(self, horizon: Key | None = None) -> None:
        self.memory = Queue()
        self.stored = Queue()
        self.horizon = horizon  # None: all of it is here
        self.loading = False  # a page is being read
        self.lowered: Key | None = None  # the lowest key that went to the store alone meanwhile

    def queue_of(self, job: Job) -> Queue:
        """Where this job stands, or would."""
        return self.memory if job.kind == MEMORY else self.stored

    def next(self) -> Entry | None:
        """The job that may start next; None if none waits, or a page has to come in first."""
        first = self.stored.head() if self.stored.live else None
        if self.memory.live:
            other = self.memory.head()
            if first is None or (other is not None and other < first):
                first = other
        if first is None or (self.horizon is not None and first[:2] >= self.horizon):
            return None
        return first

    def oldest_at(self) -> float | None:
        """When its oldest job here was ready, as far as that is seen without a walk; None: none is."""
        found = [queue.oldest_at() for queue in (self.stored, self.memory) if queue.live]
        return min([at for at in found if at is not None], default=None)

    def coming(self, most: int) -> list[Job]:
        """The jobs that `next` would show one after the other, at most so many."""
        entries = chain(self.stored.entries(), self.memory.entries())
        horizon = self.horizon
        ready = (entry for entry in entries if horizon is None or entry[:2] < horizon)
        return [entry[3] for entry in heapq.nsmallest(most, ready, key=itemgetter(0, 1, 2))]

    def lower(self, key: Key) -> None:
        """A waiting job with this key stands in the store alone."""
        if self.horizon is None or key < self.horizon:
            self.horizon = key
        if self.loading and (self.lowered is None or key < self.lowered):
            self.lowered = key

    def came_in(self, more: Key | None) -> None:
        """A page has come in, up to `more`."""
        lowered, self.lowered, self.loading = self.lowered, None, False
        self.horizon = min(more, lowered) if more is not None and lowered is not None else more or lowered

    @property
    def empty(self) -> bool:
        """Nothing of it waits, here or in the store."""
        return not (self.stored.live or self.memory.live or self.horizon is not None)
