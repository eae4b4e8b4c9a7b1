"""The three threads that know the store: one commits and feeds the core, one answers lists, one searches.

Rule 1: only the writer touches the store's writing side; a slow commit never stops the loop. Short batches
        for a store in memory are the loop's own: to hand them over takes longer than they do.
Rule 2: a thread says that it has something over an inproc socket of its own; the result itself lies
        in a deque, which needs no lock.
Rule 3: what goes wrong here ends the broker, loudly: nothing of that batch may be acknowledged. But a read
        that answers a question is that asker's matter alone.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import zmq

from zmws import sockets
from zmws.core.gate import Batch
from zmws.core.host import Commits, Host
from zmws.core.reads import FOR_QUESTIONS, SEARCHES, Read
from zmws.core.rows import Rows
from zmws.core.writes import Verdict
from zmws.store.base import Store

REST, REST_S_MAX = 3.0, 1.0  # of the reader, after each answer
BUSY = 0.1  # of a core that the other threads took meanwhile: then it rests
AT_ONCE_ROWS = 200  # of a batch that is committed without a thread: a few milliseconds


@dataclass(slots=True)
class Report:
    """What became of a batch (`seq` set) or a list (`seq` None)."""

    seq: int | None
    verdicts: list[Verdict] = field(default_factory=list)
    loaded: deque[tuple[Read, Rows]] = field(default_factory=deque)
    fault: BaseException | None = None  # StoreError: the host failed; any other: we did


class Storekeeper:
    """The writer's, the reader's and the searcher's thread, each behind a queue."""

    def __init__(self, store: Store, context: zmq.Context[zmq.Socket[bytes]], commits: Commits) -> None:
        """`commits`: where it is counted how long they take."""
        self._store = store
        self._commits = commits
        self._context = context
        self._at_once = store.durability == "memory"
        self._closing = False
        self._reports: deque[Report] = deque()
        self._endpoint = f"inproc://reports-{id(self)}"
        self.reports = context.socket(zmq.PULL)
        self.reports.bind(self._endpoint)
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._lists: queue.SimpleQueue[Read | None] = queue.SimpleQueue()
        self._searches: queue.SimpleQueue[Read | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._write_all, name="zmws-writer", daemon=True)]
        self._threads += [
            threading.Thread(
                target=self._list_all, args=(self._lists, REST), name="zmws-reader", daemon=True
            ),
            threading.Thread(
                target=self._list_all, args=(self._searches, 0), name="zmws-search", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def refuses_inserts(self) -> bool:
        """Whether the store refuses new jobs for lack of room."""
        return self._store.refuses_inserts

    @property
    def waits_for(self) -> str | None:
        """What commits wait for, in words; None: nothing."""
        return self._store.waits_for

    def look_at_room(self, host: Host) -> None:
        """How much the store takes up, and how much room it has."""
        store = self._store
        host.store_bytes, host.free_bytes = store.used_bytes, store.free_bytes
        host.free_bytes_min = store.free_bytes_min

    def commit(self, batch: Batch) -> Report | None:
        """Hand over a batch; its report follows. A short one for a store that waits for no host is committed
        here and now, and its report given back."""
        if self._at_once and len(batch.writes) <= AT_ONCE_ROWS and not batch.reads:
            return self._made(batch)
        self._batches.put(batch)
        return None

    def read_list(self, read: Read) -> None:
        """Hand over a read for people; its report follows."""
        (self._searches if isinstance(read, SEARCHES) else self._lists).put(read)

    def take(self) -> list[Report]:
        """The reports that have come in."""
        while sockets.readable(self.reports):
            sockets.recv(self.reports)
        reports = []
        while self._reports:
            reports.append(self._reports.popleft())
        return reports

    def close(self) -> None:
        """End the threads, then the store."""
        self._closing = True
        self._store.give_up()  # a commit that waits for the host would never let its thread end
        self._batches.put(None)
        self._lists.put(None)
        self._searches.put(None)
        for thread in self._threads:
            thread.join()
        self.reports.close(linger=0)
        self._store.close()

    # ------------------------------------------------------------ in the threads

    def _bell(self) -> zmq.Socket[bytes]:
        bell = self._context.socket(zmq.PUSH)
        bell.setsockopt(zmq.LINGER, 0)
        bell.connect(self._endpoint)
        return bell

    def _read(self, read: Read) -> Rows:
        try:
            rows = self._store.read(read)
            if read.render is not None:
                rows.rendered, rows.rows, rows.series = read.render(rows), [], []
            return rows
        except Exception as fault:
            if not isinstance(read, FOR_QUESTIONS):
                raise
            return Rows(fault=f"{type(fault).__name__}: {fault}")

    def _made(self, batch: Batch) -> Report:
        try:
            verdicts = self._commit(batch) if batch.writes else []
            loaded = deque((read, self._read(read)) for read in batch.reads)
            return Report(batch.seq, verdicts, loaded)
        except BaseException as fault:
            return Report(batch.seq, fault=fault)

    def _commit(self, batch: Batch) -> list[Verdict]:
        began = time.monotonic()
        verdicts = self._store.commit(batch.writes)
        self._commits.note(time.monotonic() - began)
        self._commits.writes += len(batch.writes)
        return verdicts

    def _write_all(self) -> None:
        bell = self._bell()
        while (batch := self._batches.get()) is not None:
            self._reports.append(self._made(batch))
            bell.send(b"")
        bell.close()

    def _list_all(self, wanted: queue.SimpleQueue[Read | None], rest: float) -> None:
        """Answer one read after the other. `rest`: so many times as long as an answer took it lets the loop
        go on alone, if that has work: both hold Python's lock, and who asks without pause must not have
        half of it."""
        bell = self._bell()
        while (read := wanted.get()) is not None:
            if self._closing:
                continue
            began = time.monotonic(), time.thread_time(), time.process_time()
            try:
                report = Report(None, loaded=deque([(read, self._read(read))]))
            except BaseException as fault:
                report = Report(None, fault=fault)
            self._reports.append(report)
            bell.send(b"")
            if rest:
                time.sleep(_rest_s(*began) * rest)
        bell.close()


def _rest_s(began: float, own_then: float, all_then: float) -> float:
    """The processor time that this thread has taken since then; 0 where the others had little to do."""
    own = time.thread_time() - own_then
    others = time.process_time() - all_then - own
    if others < BUSY * (time.monotonic() - began):
        return 0.0
    return min(REST_S_MAX / REST, max(0.0, own))
