"""The store that forgets: what is particular to it."""

from __future__ import annotations

from itertools import count
from typing import Any

from zmws.core.job import Job
from zmws.core.writes import (
    FULL,
    NEW,
    AppendToJob,
    FinishJob,
    InsertJob,
    Pruned,
    PruneJobs,
    ReadJob,
    row_of,
)
from zmws.store.memory import ROW_BYTES, MemoryStore

NUMBERS = count(1)


def insert(job_id: str, **changes: Any) -> InsertJob:
    job = Job(job_id, "S", "stored", (b"body",), created_at=0.0, ready_at=0.0, rank=0.0)
    for name, value in {"number": next(NUMBERS), **changes}.items():
        setattr(job, name, value)
    return InsertJob(row=row_of(job))


def finish(job_id: str, state: str = "complete", forget_at: float = 100.0) -> FinishJob:
    return FinishJob(job_id, {"state": state}, "S", forget_at)


def test_only_the_newest_ended_jobs_are_kept_and_nothing_else_of_the_others() -> None:
    store = MemoryStore(ended_max=10)
    for n in range(3_000):
        store.commit([insert(f"j{n}"), finish(f"j{n}", forget_at=1e9)])
    assert len(store._rows) == 10 and len(store._forget) < 1_100
    assert store.read(ReadJob(None, "j2999")).rows and not store.read(ReadJob(None, "j0")).rows
    assert store._bytes == 10 * (ROW_BYTES + 4)


def test_what_it_dropped_by_itself_the_next_prune_reports() -> None:
    store = MemoryStore(ended_max=2)
    for n in range(5):
        store.commit([insert(f"j{n}"), finish(f"j{n}", forget_at=10.0 + n)])
    (pruned,) = store.commit([PruneJobs(at=0.0, limit=10)])
    assert isinstance(pruned, Pruned)
    assert pruned.counts == {("S", "complete"): 3} and pruned.next_at == 13.0
    (pruned,) = store.commit([PruneJobs(at=13.0, limit=10)])
    assert isinstance(pruned, Pruned)
    assert pruned.counts == {("S", "complete"): 1} and pruned.next_at == 14.0


def test_it_is_full_by_bytes_and_has_room_again_after_a_prune() -> None:
    store = MemoryStore(bytes_max=5_000)
    assert [v.verdict for v in store.commit([insert("a"), insert("b"), insert("c")])] == [NEW, NEW, FULL]
    store.commit([finish("a"), PruneJobs(at=101.0, limit=10)])
    assert [v.verdict for v in store.commit([insert("c")])] == [NEW]


def test_results_errors_and_histories_weigh_too_and_nothing_is_left_of_them() -> None:
    store = MemoryStore()
    error = {"code": "job_failed", "traceback": "x" * 10_000}
    changes = {"state": "failed", "error": error, "attempts": ({"error": error},)}
    store.commit(
        [
            insert("a"),
            AppendToJob(size=5_000, job_id="a", kind="log", value="x", n=1, at=1.0),
            FinishJob("a", changes, "S", forget_at=1.0),
        ]
    )
    assert store._bytes > 27_000
    store.commit([PruneJobs(at=1.0, limit=10)])
    assert store._bytes == 0 and not store._history
    for left in (store._rows, store._by_number, store._numbers, store._waiting, store._ended):
        assert not left
