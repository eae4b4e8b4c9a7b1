"""What the tests of stores write, and how they ask. Each file `test_*` of this folder that takes the fixture
`store` is a part of the contract, and runs over every store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from zmws.core.conclusion import template
from zmws.core.job import Job
from zmws.core.reads import Filter, ReadBatch, ReadJob, ReadJobs, ReadMatching, ReadUnfinished, ReadWaiting
from zmws.core.rows import BatchRow, Row, Unfinished, row_of
from zmws.core.states import STATES
from zmws.core.writes import (
    CloseBatch,
    DeleteJob,
    FinishJob,
    FinishMember,
    InsertJob,
    OpenBatch,
    ReviveJob,
    UpdateJob,
    Verdict,
    Write,
)
from zmws.store.base import Store

NUMBERS = count(1)
LAST = 1 << 40


def insert(job_id: str, body: bytes = b"body", only_if_known: bool = False, **changes: Any) -> InsertJob:
    values = {"service": "S", "number": next(NUMBERS), "created_at": 1.0, "ready_at": 2.0, "rank": 3.0}
    job = Job(id=job_id, kind="stored", body=(body,), **(values | changes))  # type: ignore[arg-type]
    job.enter(1.0)
    return InsertJob(row=row_of(job), only_if_known=only_if_known)


def update(job_id: str, **changes: Any) -> UpdateJob:
    return UpdateJob(job_id=job_id, changes=changes)


def finish(
    job_id: str, state: str = "complete", forget_at: float = 100.0, service: str = "S", **changes: Any
) -> FinishJob:
    return FinishJob(job_id, {"state": state, "ended_at": 50.0, **changes}, service, forget_at)


def finish_member(
    job_id: str, state: str = "complete", batch: str = "b", at: float = 60.0, **more: Any
) -> FinishMember:
    """`at`: the wall; the steady clock is 1000 s behind it."""
    changes = {
        name: more.pop(name) for name in [*more] if name not in ("service", "forget_at", "number", "spare_id")
    }
    return FinishMember(
        job_id,
        {"state": state, "ended_at": at, **changes},
        more.get("service", "S"),
        more.get("forget_at", 100.0),
        batch,
        more.get("number") or next(NUMBERS),
        at,
        at - 1000.0,
        more.get("spare_id", "spare"),
    )


def follow_up(service: str, body: bytes = b"", **more: Any) -> Row:
    """What follows from a batch, 5 s later, and expires 100 s after."""
    job = Job(
        id="", kind="stored", service=service, created_at=0.0, ready_at=0.0, rank=0.0, body=(body,), **more
    )
    job.body = (body,) if body else ()
    return template(job, 5.0, 0.5, 100.0)


def open_batch(
    batch: str = "b", then: Row | None = None, failed: Row | None = None, **more: Any
) -> OpenBatch:
    known = {"at": 7.0, "keep": None, "meta": None, "by": None, "group": None} | more
    return OpenBatch(batch, then=then, failed=failed, **known)


def close_batch(batch: str = "b", at: float = 70.0, number: int = 0) -> CloseBatch:
    return CloseBatch(batch, number or next(NUMBERS), at, at - 1000.0, "spare")


def batch_of(store: Store, batch: str = "b") -> BatchRow:
    (found,) = store.read(ReadBatch(None, batch)).batches
    return found


def revive(job_id: str, **changes: Any) -> ReviveJob:
    return ReviveJob(job_id=job_id, changes={"state": "waiting", "cause": None, **changes})


def delete(job_id: str) -> DeleteJob:
    return DeleteJob(job_id=job_id)


def unit(*writes: Write) -> list[Write]:
    """Of which all happen, or none."""
    for write in writes[1:]:
        write.unit = True
    return list(writes)


def said(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    return [(verdict.verdict, verdict.job_id) for verdict in verdicts]


def ids(rows: Iterable[Row]) -> list[str]:
    return [row["id"] for row in rows]


def found(store: Store, job_id: str, whole: bool = True) -> Row | None:
    rows = store.read(ReadJob(None, job_id, whole)).rows
    return rows[0] if rows else None


def has(store: Store, job_id: str) -> bool:
    return found(store, job_id) is not None


def job(store: Store, job_id: str, whole: bool = True) -> Row:
    row = found(store, job_id, whole)
    assert row is not None, f"there is no job {job_id}"
    return row


def unfinished(store: Store) -> Unfinished:
    found = store.read(ReadUnfinished(None)).unfinished
    assert found is not None
    return found


def waiting(store: Store, limit: int = 100, bytes_max: int = 1 << 20, **keys: Any) -> Any:
    known = {"service": "S", "group": None, "since": (float("-inf"), 0)} | keys
    return store.read(ReadWaiting(None, limit=limit, bytes_max=bytes_max, **known))


def listed(store: Store, limit: int = 100, **where: Any) -> list[str]:
    """A whole list, page after page."""
    found: list[str] = []
    cursor = None
    while True:
        page = store.read(ReadJobs(None, Filter(**where), limit, cursor))
        assert len(page.rows) <= limit and all(row["body"] == () for row in page.rows)
        found += ids(page.rows)
        if page.next is None:
            return found
        assert cursor is None or page.next < cursor
        cursor = page.next


def matching(
    store: Store,
    states: tuple[str, ...] = STATES,
    limit: int = 100,
    after: int = 0,
    last: int = LAST,
    **where: Any,
) -> list[str]:
    """All that a filter names, page after page."""
    found: list[str] = []
    while True:
        page = store.read(ReadMatching(None, Filter(**where), states, after, last, limit))
        assert len(page.rows) <= limit and all(row["body"] == () for row in page.rows)
        found += ids(page.rows)
        if page.next is None:
            return found
        assert page.next > after
        after = page.next
