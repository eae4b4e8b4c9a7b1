"""A store that forgets with the process: the twin of the durable ones, for `[store] url = "memory:"`.

Rule 1: it keeps what a durable store keeps, by the same rules, so that jobs take the same way through
        gate and writer; tests/test_stores.py runs both.
Rule 2: it is bounded: new jobs are refused (`full`) past `bytes_max`, and of the ended jobs only the
        newest `ended_max` are kept. What that drops, the next prune reports.
Rule 3: pages are found by bisection in sorted lists of keys, never by sorting what there is.
"""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from zmws.core.job import FINAL_STATES, REVIVABLE, RUNNING, SCHEDULED, WAITING, Event, listed_error
from zmws.core.writes import (
    DELETED,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    AppendToJob,
    DeleteJob,
    Filter,
    FinishJob,
    ForgetService,
    InsertJob,
    Key,
    Pruned,
    PruneJobs,
    Read,
    ReadExpired,
    ReadJob,
    ReadJobs,
    ReadMatching,
    ReadScheduled,
    ReadUnfinished,
    ReadWaiting,
    RememberService,
    ReviveJob,
    Row,
    Rows,
    Unfinished,
    UpdateJob,
    Verdict,
    Write,
    size_of,
)

ROW_BYTES = 2_000  # what a record weighs beside its body, its result and the like, about
LOOKED_AT_MAX = 20_000  # rows that one page of a list looks at

_ORDERING = frozenset({"state", "ready_at", "by_wall", "rank", "group", "expires_at", "attempt"})
_HEAVY = frozenset({"body", "result", "error", "attempts", "states", "progress_text"})


class MemoryStore:
    """Jobs in a dict. Thread-safe: one lock, held for a batch or a page."""

    durability = "memory"
    refuses_inserts = False  # it refuses by size, one by one
    waits_for: str | None = None

    def __init__(self, bytes_max: int = 512 * 1024 * 1024, ended_max: int = 100_000) -> None:
        self._bytes_max = bytes_max
        self._ended_max = ended_max
        self._lock = threading.Lock()
        self._bytes = 0
        self._rows: dict[str, Row] = {}
        self._history: dict[str, list[Event]] = {}
        self._history_bytes: Counter[str] = Counter()
        self._unique: dict[tuple[str, str], str] = {}
        self._services: dict[str, bool | None] = {}
        # Sorted; the rows that a key or a number stands for are in _by_number.
        self._numbers: list[int] = []
        self._by_number: dict[int, Row] = {}
        self._waiting: dict[tuple[str, str | None], list[Key]] = {}
        self._scheduled: dict[bool, list[Key]] = {False: [], True: []}  # by `by_wall`
        self._expiring: list[Key] = []
        self._ended: OrderedDict[str, float] = OrderedDict()  # id -> forget_at, in the order of the ends
        self._forget: list[tuple[float, str]] = []  # a heap, with entries that no longer hold
        self._counts: Counter[tuple[str, str]] = Counter()  # of the ended ones
        self._dropped: Counter[tuple[str, str]] = Counter()  # for ended_max, not yet reported

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes; verdicts of those that have one, in order."""
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
                return self._job(read)
            if isinstance(read, ReadWaiting):
                keys = self._waiting.get((read.service, read.group), [])
                return self._page(keys, read.since, read.limit, read.bytes_max)
            if isinstance(read, ReadScheduled):
                return self._page(self._scheduled[read.by_wall], read.since, read.limit, read.bytes_max)
            if isinstance(read, ReadExpired):
                due = self._expiring[: bisect_right(self._expiring, (read.at, _NUMBER_MAX))]
                rows = [_light(self._by_number[number]) for _, number in due[: read.limit]]
                return Rows(rows, more=due[read.limit] if len(due) > read.limit else None)
            if isinstance(read, ReadMatching):
                return self._matching(read)
            if isinstance(read, ReadJobs):
                return self._list(read)
            assert isinstance(read, ReadUnfinished), read
            return self._unfinished()

    def give_up(self) -> None:
        """Nothing here waits."""

    def close(self) -> None:
        """Nothing to let go of."""

    # ------------------------------------------------------------ writes

    def _apply(self, write: Write) -> Verdict | None:
        if isinstance(write, InsertJob):
            return self._insert(write)
        if isinstance(write, ReviveJob):
            return self._revive(write)
        if isinstance(write, DeleteJob):
            return self._delete(write)
        if isinstance(write, PruneJobs):
            return self._prune(write)
        if isinstance(write, FinishJob):
            self._finish(write)
        elif isinstance(write, UpdateJob):
            self._change(self._row(write.job_id), write.changes)
        elif isinstance(write, AppendToJob):
            self._append(write)
        elif isinstance(write, ForgetService):
            self._services.pop(write.service, None)
        else:
            assert isinstance(write, RememberService), write
            # What an operator has set is overwritten by an operator only.
            known = self._services.get(write.service)
            self._services[write.service] = known if write.paused is None else write.paused
        return None

    def _insert(self, write: InsertJob) -> Verdict:
        row = write.row
        job_id, service = row["id"], row["service"]
        known = self._rows.get(job_id)
        if known is not None:
            return Verdict(EXISTING, job_id, known["service"])
        holder = self._unique.get((service, row["unique"])) if row["unique"] is not None else None
        if holder is not None:
            return Verdict(UNIQUE_CONFLICT, holder, service)
        weight = ROW_BYTES + _weight(row, _HEAVY)
        if write.only_if_known or self._bytes + weight > self._bytes_max:
            return Verdict(FULL, job_id, service)
        assert row["number"] not in self._by_number, (
            f"job {job_id}: number {row['number']} is given out twice"
        )
        assert row["state"] not in FINAL_STATES, f"job {job_id}: new, and {row['state']} already"
        row = self._rows[job_id] = self._by_number[row["number"]] = dict(row)
        self._bytes += weight
        insort(self._numbers, row["number"])
        self._enter(row)
        if row["unique"] is not None:
            self._unique[service, row["unique"]] = job_id
        return Verdict(NEW, job_id, service)

    def _revive(self, write: ReviveJob) -> Verdict:
        row = self._rows.get(write.job_id)
        if row is None or row["state"] not in REVIVABLE:
            return Verdict(UNKNOWN, write.job_id)
        if row["unique"] is not None:
            holder = self._unique.setdefault((row["service"], row["unique"]), write.job_id)
            if holder != write.job_id:
                return Verdict(UNIQUE_CONFLICT, holder, row["service"])
        self._counts[row["service"], row["state"]] -= 1
        del self._ended[write.job_id]
        self._change(row, write.changes)
        return Verdict(NEW, write.job_id, row["service"])

    def _finish(self, write: FinishJob) -> None:
        row = self._row(write.job_id)
        assert row["state"] not in FINAL_STATES, f"job {write.job_id} ends as it has ended"
        self._change(row, write.changes)
        assert row["state"] in FINAL_STATES, f"job {write.job_id} ends and is {row['state']}"
        if row["unique"] is not None:
            del self._unique[row["service"], row["unique"]]
        self._counts[row["service"], row["state"]] += 1
        self._ended[write.job_id] = write.forget_at
        heapq.heappush(self._forget, (write.forget_at, write.job_id))
        while len(self._ended) > self._ended_max:
            oldest = self._rows[next(iter(self._ended))]
            self._dropped[oldest["service"], oldest["state"]] += 1
            self._remove(oldest)
        if len(self._forget) > 2 * len(self._ended) + 1_000:
            self._forget = [(at, job_id) for job_id, at in self._ended.items()]
            heapq.heapify(self._forget)

    def _append(self, write: AppendToJob) -> None:
        # The core has bounded what may be appended (partials_max, log_bytes_max).
        self._row(write.job_id)
        self._history.setdefault(write.job_id, []).append((write.n, write.at, write.kind, write.value))
        self._history_bytes[write.job_id] += write.size
        self._bytes += write.size

    def _delete(self, write: DeleteJob) -> Verdict:
        row = self._rows.get(write.job_id)
        if row is None or row["state"] not in FINAL_STATES:
            return Verdict(UNKNOWN, write.job_id)
        self._remove(row)
        return Verdict(DELETED, write.job_id, row["service"], row["state"])

    def _prune(self, write: PruneJobs) -> Verdict:
        counts, self._dropped = self._dropped, Counter()
        left = write.limit
        while (job_id := self._due_first()) is not None and self._forget[0][0] <= write.at:
            history = self._history.get(job_id, [])
            if left <= len(history):
                # More than the rest of the step: this step takes a part, the oldest, and the next goes on.
                history.sort(key=lambda event: event[0])
                del history[:left]
                break
            row = self._rows[job_id]
            left -= len(history) + 1
            counts[row["service"], row["state"]] += 1
            self._remove(row)
        next_at = self._forget[0][0] if self._due_first() is not None else None
        return Pruned("pruned", "", counts=dict(counts), next_at=next_at)

    # ------------------------------------------------------------ rows and their order

    def _row(self, job_id: str) -> Row:
        row = self._rows.get(job_id)
        assert row is not None, f"a write for job {job_id}, which is not in the store"
        return row

    def _change(self, row: Row, changes: Mapping[str, Any]) -> None:
        heavy = _HEAVY & changes.keys()
        before = _weight(row, heavy)
        if _ORDERING.isdisjoint(changes):
            row.update(changes)
        else:
            self._leave(row)
            row.update(changes)
            self._enter(row)
        self._bytes += _weight(row, heavy) - before

    def _remove(self, row: Row) -> None:
        """An ended job, which stands in no order but that of the numbers."""
        job_id, number = row["id"], row["number"]
        self._counts[row["service"], row["state"]] -= 1
        self._bytes -= ROW_BYTES + _weight(row, _HEAVY) + self._history_bytes.pop(job_id, 0)
        self._history.pop(job_id, None)
        del self._rows[job_id], self._by_number[number], self._ended[job_id]
        del self._numbers[bisect_left(self._numbers, number)]

    def _keys(self, row: Row) -> Iterable[tuple[list[Key], Key]]:
        """The orders that the row stands in, and where."""
        number, state = row["number"], row["state"]
        if state == WAITING:
            yield self._waiting.setdefault((row["service"], row["group"]), []), (row["rank"], number)
        elif state == SCHEDULED:
            yield self._scheduled[row["by_wall"]], (row["ready_at"], number)
        else:
            return
        if row["expires_at"] is not None and not row["attempt"]:
            yield self._expiring, (row["expires_at"], number)

    def _enter(self, row: Row) -> None:
        for keys, key in self._keys(row):
            insort(keys, key)

    def _leave(self, row: Row) -> None:
        for keys, key in self._keys(row):
            at = bisect_left(keys, key)
            assert keys[at] == key, (keys[at], key)
            del keys[at]
        if row["state"] == WAITING and not self._waiting[row["service"], row["group"]]:
            del self._waiting[row["service"], row["group"]]

    def _due_first(self) -> str | None:
        """The ended job that is to be forgotten first, its entry then being the first of the heap."""
        while self._forget:
            forget_at, job_id = self._forget[0]
            if self._ended.get(job_id) == forget_at:
                return job_id
            # Deleted or revived since, or ended again with another time: then another entry speaks for it.
            heapq.heappop(self._forget)
        return None

    # ------------------------------------------------------------ reads

    def _job(self, read: ReadJob) -> Rows:
        row = self._rows.get(read.job_id)
        if row is None:
            return Rows()
        history = sorted(self._history.get(read.job_id, ()), key=lambda event: event[0])
        if read.past is not None:
            return Rows([_light(row) | {"history": [event for event in history if event[0] > read.past]}])
        return Rows([row | {"history": history} if read.whole else _light(row)])

    def _page(self, keys: list[Key], since: Key, limit: int, bytes_max: int) -> Rows:
        rows: list[Row] = []
        size = 0
        start = bisect_left(keys, since)
        for key in keys[start : start + limit + 1]:
            row = self._by_number[key[1]]
            size += size_of(row["body"])
            if len(rows) == limit or (rows and size > bytes_max):
                return Rows(rows, more=key)
            rows.append(dict(row))
        return Rows(rows)

    def _matching(self, read: ReadMatching) -> Rows:
        start, end = bisect_right(self._numbers, read.after), bisect_right(self._numbers, read.last)
        return self._some(range(start, end), read.where, read.states, read.limit)

    def _list(self, read: ReadJobs) -> Rows:
        end = len(self._numbers) if read.cursor is None else bisect_left(self._numbers, read.cursor)
        page = self._some(range(end - 1, -1, -1), read.where, None, read.limit)
        page.rows = [row | _UNLISTED | {"error": listed_error(row["error"])} for row in page.rows]
        return page

    def _some(self, places: range, where: Filter, states: Sequence[str] | None, limit: int) -> Rows:
        """The first `limit` rows that match, of those that the numbers at these places stand for."""
        rows: list[Row] = []
        for place in places[:LOOKED_AT_MAX]:
            row = self._by_number[self._numbers[place]]
            if _matches(row, where) and (states is None or row["state"] in states):
                if len(rows) == limit:
                    return Rows(rows, next=rows[-1]["number"])
                rows.append(_light(row))
        if len(places) > LOOKED_AT_MAX:
            return Rows(rows, next=self._numbers[places[LOOKED_AT_MAX - 1]])
        return Rows(rows)

    def _unfinished(self) -> Rows:
        self._due_first()
        scheduled = Counter(self._by_number[key[1]]["service"] for key in chain(*self._scheduled.values()))
        unfinished = Unfinished(
            services=sorted(self._services.items()),
            waiting=[(service, group, len(keys)) for (service, group), keys in self._waiting.items()],
            scheduled=sorted(scheduled.items()),
            ended={key: n for key, n in self._counts.items() if n},
            number=self._numbers[-1] if self._numbers else 0,
            forget_at=self._forget[0][0] if self._forget else None,
        )
        unfinished.waiting.sort(key=lambda one: (one[0], one[1] or ""))
        running = [self._with_history(row) for row in self._rows.values() if row["state"] == RUNNING]
        running.sort(key=lambda row: int(row["number"]))
        return Rows(running, unfinished=unfinished)

    def _with_history(self, row: Row) -> Row:
        """A running job's row; what its history counts was not written into it yet."""
        history = self._history.get(row["id"], [])
        partials = sum(kind == "partial" for _, _, kind, _ in history)
        log_bytes = sum(len(value.encode()) for _, _, kind, value in history if kind == "log")
        return row | {
            "events": max([row["events"], *(n for n, *_ in history)]),
            "partials_count": max(row["partials_count"], partials),
            "log_bytes": max(row["log_bytes"], log_bytes),
        }


_NUMBER_MAX = 1 << 63


_UNLISTED: Row = {"attempts": (), "states": (), "saved": None}


def _light(row: Row) -> Row:
    return row | {"body": (), "result": ()}


def _weight(row: Row, names: Iterable[str]) -> int:
    """Bytes, about, of these columns of a record."""
    weight = 0
    for name in names:
        value = row[name]
        if not value:
            continue
        if name in ("body", "result"):
            weight += size_of(value)
        else:
            weight += len(value if isinstance(value, str) else repr(value))
    return weight


def _matches(row: Row, where: Filter) -> bool:
    return (
        (where.service is None or row["service"] == where.service)
        and (where.state is None or row["state"] == where.state)
        and (where.group is None or row["group"] == where.group)
        and (where.since is None or row["created_at"] >= where.since)
        and (where.before is None or row["created_at"] < where.before)
    )
