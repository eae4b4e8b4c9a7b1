"""Rows a second that a store commits: new jobs alone, and with their start and their end.

    python -m benchmarks.store_commits [FOLDER] [--memory]

By hand; FOLDER should lie on the disk that is meant, not on a tmpfs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zmws.core.job import Job
from zmws.core.rows import row_of
from zmws.core.writes import FinishJob, InsertJob, UpdateJob, Write
from zmws.store.sqlite.disk import SqliteStore
from zmws.store.sqlite.memory import MemoryStore

BODY = b"x" * 100


def new(number: int, body: bytes = BODY) -> InsertJob:
    at = 1_700_000_000.0 + number / 1000
    job = Job(
        id=f"0190-{number:028x}",
        service="ECHO",
        kind="stored",
        body=(body,),
        created_at=at,
        ready_at=at,
        rank=at,
        number=number,
    )
    job.enter(at)
    return InsertJob(row=row_of(job))


def start(job_id: str) -> UpdateJob:
    changes: dict[str, Any] = {
        "state": "running",
        "attempt": 1,
        "started_at": 1_700_000_001.0,
        "nonce": "0123456789abcdef",
        "worker": "echo-1",
        "worker_ours": True,
        "lease": None,
        "deadline_at": None,
        "events": 2,
        "states": ((1, 1.7e9, "waiting", 0), (2, 1.7e9 + 1, "running", 1)),
    }
    return UpdateJob(job_id=job_id, changes=changes)


def finish(job_id: str) -> FinishJob:
    changes: dict[str, Any] = {
        "state": "complete",
        "ended_at": 1_700_000_002.0,
        "result": (b"x" * 100,),
        "result_plain": False,
        "error": None,
        "attempts": ({"attempt": 1, "worker": "echo-1", "started_at": 1.0, "ended_at": 2.0},),
        "events": 3,
        "states": ((1, 1.7e9, "waiting", 0), (2, 1.7e9 + 1, "running", 1), (3, 1.7e9 + 2, "complete", 1)),
    }
    return FinishJob(job_id, changes, "ECHO", forget_at=1_700_086_400.0)


def batches(writes: list[Write], rows: int) -> Iterator[list[Write]]:
    for at in range(0, len(writes), rows):
        yield writes[at : at + rows]


def measure(store: Any, what: str, writes: list[Write], rows: int, jobs: int) -> None:
    cpu, begun = time.thread_time(), time.perf_counter()
    for batch in batches(writes, rows):
        store.commit(batch)
    took, cpu = time.perf_counter() - begun, time.thread_time() - cpu
    print(
        f"{what:28} {rows:5} a commit: {len(writes) / took:9,.0f} rows/s {jobs / took:9,.0f} jobs/s"
        f"  cpu {1e6 * cpu / len(writes):5.1f} us a row"
    )


def main() -> None:
    arguments = [one for one in sys.argv[1:] if one != "--memory"]
    folder = Path(arguments[0]) if arguments else Path.cwd()
    number = 0
    for rows in (1, 10, 100, 1000):
        count = min(100_000, 2_000 * rows)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            store: Any = MemoryStore() if "--memory" in sys.argv else SqliteStore(Path(place) / "zmws.db")
            inserts = [new(number + n + 1) for n in range(count)]
            number += count
            measure(store, "inserts", list(inserts), rows, count)
            ids = [write.row["id"] for write in inserts]
            measure(store, "starts", [start(job_id) for job_id in ids], rows, count)
            measure(store, "finishes", [finish(job_id) for job_id in ids], rows, count)
            # As a busy broker has them: one job comes in, one starts, one ends, ten jobs apart.
            more = [new(number + n + 1) for n in range(count // 2)]
            number += count // 2
            mixed: list[Write] = []
            for n, write in enumerate(more):
                mixed.append(write)
                if n >= 10:
                    mixed.append(start(more[n - 10].row["id"]))
                if n >= 20:
                    mixed.append(finish(more[n - 20].row["id"]))
            measure(store, "insert+start+finish, mixed", mixed, rows, len(more))
            store.close()


if __name__ == "__main__":
    main()
