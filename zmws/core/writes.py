"""What the core asks of the store: writes, reads, and what comes back.

Rule 1: a write carries values, never a Job: the writer thread may read it while the core goes on.
Rule 2: the gate gives each write its number (`seq`) in the order in which the core made them.
Rule 3: writes apply in order within a batch, so a finish frees its unique key for an insert behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zmws.core.job import Job

# The columns of a job's record: what survives a restart of the broker. The order is the store's.
COLUMNS: tuple[str, ...] = (
    "id",
    "service",
    "state",
    "durability",
    "body",
    "created_at",
    "ready_at",
    "rank",
    "attempt",
    "failures",
    "losses",
    "retries",
    "priority",
    "group",
    "unique",
    "ttr",
    "backoff",
    "keep",
    "expires_at",
    "started_at",
    "ended_at",
    "nonce",
    "worker",
    "worker_ours",
    "result",
    "result_plain",
    "error",
    "progress",
    "progress_text",
    "attempts",
    "partials_cut",
    "log_bytes",
    "log_cut",
)
Row = dict[str, Any]

NEW, EXISTING, UNIQUE_CONFLICT, FULL = "new", "existing", "unique_conflict", "full"
UNKNOWN = "unknown"  # a revival of what has been deleted or pruned meanwhile


@dataclass(slots=True)
class Verdict:
    """What became of an insert or a revival. `job_id`: the job that stands for it now."""

    verdict: str
    job_id: str
    service: str = ""  # of an existing job: another service means id_conflict


@dataclass(slots=True, kw_only=True)
class Write:
    """The root of all writes. `seq` is 0 until the gate numbers it."""

    seq: int = 0
    size: int = 200  # bytes it is worth, for the bounds on batches


@dataclass(slots=True)
class InsertJob(Write):
    """A new job. `only_if_known`: the service is full, so anything but a repeat is FULL."""

    row: Row
    only_if_known: bool = False


@dataclass(slots=True)
class UpdateJob(Write):
    """New values for columns of a job's record."""

    job_id: str
    changes: Mapping[str, Any]


@dataclass(slots=True)
class FinishJob(UpdateJob):
    """The job reaches a final state, which frees its unique key. Forgotten at wall `forget_at`."""

    forget_at: float


@dataclass(slots=True)
class ReviveJob(UpdateJob):
    """A dead letter waits again. Has a verdict: its unique key may be taken by now."""


@dataclass(slots=True)
class AppendToJob(Write):
    """A partial result (`kind` partial) or a log line (`kind` log) for the job's record."""

    job_id: str
    kind: str
    value: Any


@dataclass(slots=True)
class DeleteJob(Write):
    """Remove a job that has ended."""

    job_id: str


@dataclass(slots=True)
class RememberService(Write):
    """A service that a worker registered: known from now on, also after a restart."""

    service: str


@dataclass(slots=True)
class PruneJobs(Write):
    """Forget at most `limit` ended jobs whose `keep` has passed at wall time `at`."""

    at: float
    limit: int


@dataclass(slots=True)
class Read:
    """A question to the store. `asker` is the core's own and comes back with the answer."""

    asker: Any


@dataclass(slots=True)
class ReadJob(Read):
    """One job's record; read by the writer thread, in order with the writes."""

    job_id: str


@dataclass(slots=True)
class ReadUnfinished(Read):
    """Recovery: every job that has not ended, by rank, and the known services."""


@dataclass(slots=True)
class ReadJobs(Read):
    """A page of a list, newest first, for people: read beside the writes, and never delays a job."""

    service: str | None = None
    state: str | None = None
    group: str | None = None
    since: float | None = None
    before: float | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(slots=True)
class Rows:
    """What a read brings back. `services` only of ReadUnfinished, `next` only of ReadJobs."""

    rows: list[Row] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    next: str | None = None


def row_of(job: Job) -> Row:
    """The record of a job as values, detached from the job."""
    return {name: getattr(job, name) for name in COLUMNS}


def job_of(row: Row) -> Job:
    """A stored job from its record, with its partial results and log lines where the row has them."""
    values = {name: row[name] for name in COLUMNS}
    values["attempts"] = tuple(row["attempts"])
    job = Job(kind="stored", **values)
    job.partials = list(row.get("partials", ()))
    job.log = list(row.get("log", ()))
    job.partials_bytes = sum(map(size_of, job.partials))
    job.body_bytes = size_of(job.body)
    return job


def size_of(frames: tuple[bytes, ...]) -> int:
    """Bytes of a body."""
    return len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
