"""The store that forgets: what is particular to it."""

from __future__ import annotations

from typing import Any

from zmws.core.job import Job
from zmws.core.writes import (
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    UNKNOWN,
    DeleteJob,
    FinishJob,
    InsertJob,
    PruneJobs,
    ReadJob,
    ReviveJob,
    row_of,
)
from zmws.store.memory import MemoryStore


def insert(job_id: str, **changes: Any) -> InsertJob:
    job = Job(job_id, "S", "stored", (b"body",), created_at=0.0, ready_at=0.0, rank=0.0)
    for name, value in changes.items():
        setattr(job, name, value)
    return InsertJob(row_of(job))


def test_a_revival_of_what_was_deleted_before_it_is_unknown_and_no_crash() -> None:
    store = MemoryStore()
    store.commit([insert("a"), FinishJob("a", {"state": "failed"}, 100.0)])
    verdicts = store.commit([DeleteJob("a"), ReviveJob("a", {"state": "waiting"})])
    assert [verdict.verdict for verdict in verdicts] == [UNKNOWN]


def test_only_the_newest_ended_jobs_are_kept_and_nothing_else_of_the_others() -> None:
    store = MemoryStore(ended_max=10)
    for n in range(3_000):
        store.commit([insert(f"j{n}"), FinishJob(f"j{n}", {"state": "complete"}, 1e9)])
    assert len(store._rows) == 10 and len(store._forget) < 1_100
    assert store.read(ReadJob(None, "j2999")).rows and not store.read(ReadJob(None, "j0")).rows


def test_a_unique_key_is_free_again_in_the_same_batch() -> None:
    store = MemoryStore()
    first = store.commit([insert("a", unique="k"), insert("b", unique="k")])
    assert [(v.verdict, v.job_id) for v in first] == [(NEW, "a"), (UNIQUE_CONFLICT, "a")]
    again = store.commit([FinishJob("a", {"state": "complete"}, 100.0), insert("b", unique="k")])
    assert [v.verdict for v in again] == [NEW]


def test_it_is_full_by_bytes_and_has_room_again_after_a_prune() -> None:
    store = MemoryStore(bytes_max=5_000)
    assert [v.verdict for v in store.commit([insert("a"), insert("b"), insert("c")])] == [NEW, NEW, FULL]
    store.commit([FinishJob("a", {"state": "complete"}, 100.0), PruneJobs(101.0, 10)])
    assert [v.verdict for v in store.commit([insert("c")])] == [NEW]
