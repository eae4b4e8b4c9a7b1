"""A store that forgets with the process: the twin of the durable ones, for `[store] url = "memory:"`.

It keeps what a durable store keeps, by the same rules, so that jobs take the same way through gate
and writer. Bounded: new jobs are refused (`full`) past `bytes_max`, and of the ended jobs only the
newest `ended_max` are kept.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Sequence

from zmws.core.job import FINAL_STATES
from zmws.core.writes import (
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    DeleteJob,
    FinishJob,
    InsertJob,
    PruneJobs,
    Read,
    ReadJob,
    ReadJobs,
    ReadUnfinished,
    RememberService,
    ReviveJob,
    Row,
    Rows,
    UpdateJob,
    Verdict,
    Write,
    size_of,
)

ROW_BYTES = 2_000  # what a record weighs beside its body and result, about


class MemoryStore:
    """Jobs in a dict. Thread-safe: one lock, held for a batch or a page."""

    durability = "memory"

    def __init__(self, bytes_max: int = 512 * 1024 * 1024, ended_max: int = 100_000) -> None:
        self._bytes_max = bytes_max
        self._ended_max = ended_max
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._unique: dict[tuple[str, str], str] = {}
        self._services: dict[str, None] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()  # id -> forget_at, in the order of the ends
        self._forget: list[tuple[float, str]] = []
        self._bytes = 0

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes; verdicts of inserts and revivals, in order."""
        verdicts: list[Verdict] = []
        with self._lock:
            for write in writes:
                verdict = self._apply(write)
                if verdict is not None:
                    verdicts.append(verdict)
        return verdicts

    def read(self, read: Read) -> Rows:
        """Answer a read."""
        with self._lock:
            if isinstance(read, ReadJob):
                row = self._rows.get(read.job_id)
                return Rows([_copy(row)] if row is not None else [])
            if isinstance(read, ReadUnfinished):
                rows = [_copy(r) for r in self._rows.values() if r["state"] not in FINAL_STATES]
                return Rows(sorted(rows, key=lambda r: (r["rank"], r["created_at"])), list(self._services))
            assert isinstance(read, ReadJobs), read
            return self._page(read)

    def close(self) -> None:
        """Nothing to let go of."""

    # ------------------------------------------------------------ writes

    def _apply(self, write: Write) -> Verdict | None:
        if isinstance(write, InsertJob):
            return self._insert(write)
        if isinstance(write, ReviveJob):
            return self._revive(write)
        if isinstance(write, FinishJob):
            self._update(write)
            self._finished(write)
        elif isinstance(write, UpdateJob):
            self._update(write)
        elif isinstance(write, AppendToJob):
            self._append(write)
        elif isinstance(write, DeleteJob):
            self._delete(write.job_id)
        elif isinstance(write, RememberService):
            self._services[write.service] = None
        else:
            assert isinstance(write, PruneJobs), write
            self._prune(write)
        return None

    def _insert(self, write: InsertJob) -> Verdict:
        row = write.row
        known = self._rows.get(row["id"])
        if known is not None:
            return Verdict(EXISTING, row["id"], known["service"])
        key = (row["service"], row["unique"])
        holder = self._unique.get(key) if row["unique"] is not None else None
        if holder is not None:
            return Verdict(UNIQUE_CONFLICT, holder, row["service"])
        weight = self._weight(row)
        if write.only_if_known or self._bytes + weight > self._bytes_max:
            return Verdict(FULL, row["id"], row["service"])
        self._rows[row["id"]] = dict(row)
        self._bytes += weight
        if row["unique"] is not None:
            self._unique[key] = row["id"]
        return Verdict(NEW, row["id"], row["service"])

    def _revive(self, write: ReviveJob) -> Verdict:
        row = self._rows.get(write.job_id)
        if row is None:
            return Verdict(UNKNOWN, write.job_id)
        key = (row["service"], row["unique"])
        if row["unique"] is not None:
            holder = self._unique.get(key)
            if holder is not None:
                return Verdict(UNIQUE_CONFLICT, holder, row["service"])
            self._unique[key] = write.job_id
        row.update(write.changes)
        self._ended.pop(write.job_id, None)
        return Verdict(NEW, write.job_id, row["service"])

    def _update(self, write: UpdateJob) -> None:
        row = self._rows[write.job_id]
        before = self._weight(row)
        row.update(write.changes)
        self._bytes += self._weight(row) - before

    def _finished(self, write: FinishJob) -> None:
        row = self._rows[write.job_id]
        key = (row["service"], row["unique"])
        if row["unique"] is not None and self._unique.get(key) == write.job_id:
            del self._unique[key]
        self._ended[write.job_id] = write.forget_at
        heapq.heappush(self._forget, (write.forget_at, write.job_id))
        while len(self._ended) > self._ended_max:
            self._delete(next(iter(self._ended)))
        if len(self._forget) > 2 * len(self._ended) + 1_000:
            self._forget = [(at, job_id) for job_id, at in self._ended.items()]
            heapq.heapify(self._forget)

    def _append(self, write: AppendToJob) -> None:
        # The core has bounded what may be appended (partials_max, log_bytes_max).
        row = self._rows[write.job_id]
        row.setdefault("partials" if write.kind == "partial" else "log", []).append(write.value)
        row["appended_bytes"] = row.get("appended_bytes", 0) + write.size
        self._bytes += write.size

    def _prune(self, write: PruneJobs) -> None:
        for _ in range(write.limit):
            if not self._forget or self._forget[0][0] > write.at:
                return
            forget_at, job_id = heapq.heappop(self._forget)
            # Revived since, or ended again with another time: then another entry speaks for it.
            if self._ended.get(job_id) == forget_at:
                self._delete(job_id)

    def _delete(self, job_id: str) -> None:
        row = self._rows.pop(job_id, None)
        self._ended.pop(job_id, None)
        if row is not None:
            self._bytes -= self._weight(row)

    @staticmethod
    def _weight(row: Row) -> int:
        return ROW_BYTES + size_of(row["body"]) + size_of(row["result"]) + int(row.get("appended_bytes", 0))

    # ------------------------------------------------------------ reads

    def _page(self, read: ReadJobs) -> Rows:
        """Newest first. The cursor is the last id of the page before, by creation time and id."""
        rows = [row for row in self._rows.values() if _matches(row, read)]
        rows.sort(key=_order, reverse=True)
        if read.cursor is not None:
            at, _, job_id = read.cursor.partition("/")
            rows = [row for row in rows if _order(row) < (float(at), job_id)]
        page = rows[: read.limit]
        more = len(rows) > read.limit
        after = f"{page[-1]['created_at']!r}/{page[-1]['id']}" if more else None
        return Rows([dict(row) for row in page], next=after)


def _copy(row: Row) -> Row:
    """A row that later appends do not change."""
    return {name: list(value) if isinstance(value, list) else value for name, value in row.items()}


def _order(row: Row) -> tuple[float, str]:
    return row["created_at"], row["id"]


def _matches(row: Row, read: ReadJobs) -> bool:
    return (
        (read.service is None or row["service"] == read.service)
        and (read.state is None or row["state"] == read.state)
        and (read.group is None or row["group"] == read.group)
        and (read.since is None or row["created_at"] >= read.since)
        and (read.before is None or row["created_at"] < read.before)
    )
