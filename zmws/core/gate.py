"""The gate between core and shell: what may leave when (docs/architecture.md).

Rule 1: writes are numbered in the order the core made them and leave in batches, bounded by rows and
        bytes; one batch is under way at a time. No unit is parted, however long it is.
Rule 2: a send that speaks of a write is held until that write is on disk; all others leave at once.
        So nobody is told of what a crash could undo.
Rule 3: reads of the feeding kind ride with the batches, in order with the writes.
Rule 4: what nobody waits for (a dispatch, an end that nobody asked about) gathers for a while, so that one
        commit serves many; the end of a job takes up its dispatch if that has not left yet.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from zmws.core.job import Pending
from zmws.core.reads import FOR_PEOPLE, Read, ReadJob
from zmws.core.states import RUNNING
from zmws.core.writes import PATIENT, FinishJob, InsertJob, ReviveJob, UpdateJob, Write
from zmws.wire.messages import Link, Peer


@dataclass(slots=True)
class Send:
    """A message for a peer. `after`: the write it speaks of, None if it speaks of none. `link`: how
    a worker is spoken to, None for clients."""

    peer: Peer
    message: Any
    after: Pending | None = None
    link: Link | None = None


@dataclass(slots=True)
class Batch:
    """Writes that are committed together, and reads that follow them. `seq` is its last number."""

    seq: int
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)


READS_WEIGHT_MAX = 64  # of one batch: what its reads bring is in memory at one time
WHOLE_WEIGHT = 8  # of a read that brings a record with all that belongs to it


class Gate:
    """Numbers writes, batches them, and holds what speaks of them."""

    def __init__(self, batch_rows_max: int, batch_bytes_max: int, patience_s: float = 0.0) -> None:
        self._rows_max = batch_rows_max
        self._bytes_max = batch_bytes_max
        self._patience_s = patience_s
        self._seq = 0
        self._committed = 0
        self._queue: deque[Write | Read] = deque()
        self._held: dict[int, list[Send]] = {}  # by the number of the write they wait for
        self._starts: dict[str, UpdateJob] = {}  # the dispatches in the queue, by the job's id
        self._waited = 0  # the last number in the queue that somebody waits for
        self._since = 0.0  # when the queue began to fill
        self._busy = False
        self._under_way: list[Write] = []
        self._batch_bytes = 0
        self.uncommitted_bytes = 0
        self.lists: list[Read] = []  # reads for people: they go to the reader, not into batches

    def push(self, writes: list[Write], reads: list[Read], sends: list[Send], now: float = 0.0) -> list[Send]:
        """Take what the core made at monotonic `now`; give back what may leave now."""
        if not writes and not reads and not self._held and self.idle:
            return sends  # all that there is is on disk
        if not self._queue:
            self._since = now
        assert not writes or not writes[0].unit, f"{writes[0]} is a unit with what has left already"
        for write, after in zip_longest(writes, writes[1:]):
            self._enqueue(write, sends, write.unit or (after is not None and after.unit))
        for read in reads:
            if isinstance(read, FOR_PEOPLE):
                self.lists.append(read)
            else:
                self._queue.append(read)
                self._waited = self._seq + 1
        free = []
        for send in sends:
            after = send.after
            if after is None or after.seq <= self._committed:
                free.append(send)
            else:
                self._held.setdefault(after.seq, []).append(send)
                self._waited = max(self._waited, after.seq)
        return free

    def _enqueue(self, write: Write, sends: list[Send], in_unit: bool) -> None:
        self._seq += 1
        write.seq = self._seq
        self.uncommitted_bytes += write.size
        self._queue.append(write)
        if not isinstance(write, PATIENT) or isinstance(write, ReviveJob):
            self._waited = self._seq
        elif isinstance(write, FinishJob):
            self._take_up_start(write, sends, in_unit)
        elif isinstance(write, UpdateJob) and "state" in write.changes:
            if write.changes["state"] == RUNNING and not in_unit:
                self._starts[write.job_id] = write
            else:
                self._starts.pop(write.job_id, None)  # what came after it must not be undone by it

    def _take_up_start(self, finish: FinishJob, sends: list[Send], in_unit: bool) -> None:
        """A job that ends before its dispatch was written is written once. Not if somebody waits for the
        dispatch itself, or is about to: what he is told must not be undone. Nor in a unit: when that is
        refused, the job runs on."""
        start = self._starts.pop(finish.job_id, None)
        if start is None or in_unit or any(send.after is start for send in sends):
            return
        if start.seq not in self._held:
            start.void = True
            self.uncommitted_bytes -= start.size
            finish.changes = {**start.changes, **finish.changes}

    def next_batch(self, now: float = 0.0) -> Batch | None:
        """What to commit next, None while a batch is under way, there is nothing, or nobody waits for it
        yet."""
        if self._busy or not self._queue:
            return None
        if self._waited <= self._committed and now < self._since + self._patience_s and not self._is_full():
            return None
        batch, weight = Batch(self._committed), 0
        self._batch_bytes = 0
        while self._queue:
            item = self._queue[0]
            if isinstance(item, Read):
                if weight >= READS_WEIGHT_MAX:
                    break
                weight += WHOLE_WEIGHT if isinstance(item, ReadJob) and item.whole else 1
                batch.reads.append(item)
            elif batch.reads:
                break  # a read sees what stands before it, and nothing behind it
            elif item.void:
                batch.seq = item.seq
            else:
                full = len(batch.writes) >= self._rows_max or (
                    batch.writes and self._batch_bytes + item.size > self._bytes_max
                )
                if full and not (item.unit or (isinstance(item, InsertJob) and item.together)):
                    break  # a unit, and the jobs of one message, are in one commit
                batch.writes.append(item)
                batch.seq = item.seq
                self._batch_bytes += item.size
                if isinstance(item, UpdateJob):
                    self._starts.pop(item.job_id, None)
            self._queue.popleft()
        self._busy, self._under_way = True, batch.writes
        self._since = now
        return batch

    def _is_full(self) -> bool:
        return len(self._queue) >= self._rows_max or self.uncommitted_bytes >= self._bytes_max

    def due(self) -> float | None:
        """When `next_batch` is to be asked again though nothing happens, None if it need not be."""
        return self._since + self._patience_s if self._queue and not self._busy else None

    def committed(self, seq: int) -> tuple[list[Send], list[Write]]:
        """The batch under way is on disk up to number `seq`; give back the sends that it frees, and its
        writes, in the order in which they were made."""
        assert self._busy and seq >= self._committed, (seq, self._committed)
        self._busy = False
        self.uncommitted_bytes -= self._batch_bytes
        free: list[Send] = []
        if self._held:
            for number in range(self._committed + 1, seq + 1):
                free.extend(self._held.pop(number, ()))
        self._committed = seq
        writes, self._under_way = self._under_way, []
        return free, writes

    @property
    def idle(self) -> bool:
        """Nothing under way and nothing queued: all that was written is on disk."""
        return not self._busy and not self._queue

    @property
    def held(self) -> int:
        """How many sends wait for a commit."""
        return sum(map(len, self._held.values()))
