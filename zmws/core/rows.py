"""What the store brings back: the record of a job as values, and what is read beside jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from zmws.core.job import Job
from zmws.core.record import NAMES, Frames

Row = dict[str, Any]
Key = tuple[float, int]  # what jobs are ordered by: rank or ready_at, then number


class KnownService(NamedTuple):
    """What was remembered of a service (RememberService). None: nobody said so."""

    name: str
    paused: bool | None = None
    defaults: str | None = None
    params: str | None = None
    limits: str | None = None


class SeriesMark(NamedTuple):
    """WriteMark, as it is read."""

    at: float
    kind: str
    text: str
    service: str | None = None
    by: str | None = None


@dataclass(slots=True)
class Act:
    """WriteAct, as it is read."""

    number: int
    at: float
    by: str
    verb: str
    on: str | None
    detail: str | None
    count: int | None
    outcome: str


class Cause(NamedTuple):
    """Why jobs of a service have failed. `failed`: how many are now; `total`: ever were.
    `hours`: how many in each hour since 1970 of the last 24 in which one did, by the wall."""

    cause: str
    service: str
    type: str | None
    message: str
    frame: str | None
    failed: int
    total: int
    first_at: float
    last_at: float
    last_job: str
    hours: dict[int, int]


class KnownBatch(NamedTuple):
    """One to which clients may add. `created_at` by the wall; whose it is, as in BatchRow."""

    id: str
    created_at: float
    by: str | None = None
    group: str | None = None


@dataclass(slots=True, kw_only=True)
class BatchRow:
    """A batch of jobs: how many members it has, and how they have ended. Times are by the wall, but for
    `forget_at`, which goes by the steady clock."""

    number: int = 0  # the order in which they were opened; the store gives it out
    id: str
    created_at: float
    closed: bool = False  # no client adds to it any more
    total: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    first: tuple[str, ...] = ()  # ids of those that ended first without completing, and have not since
    then_service: str | None = None  # of the job that follows when all are complete
    failed_service: str | None = None  # and when all have ended, and one at least otherwise
    then_id: str | None = None  # that job, once it has been made
    then_at: float | None = None
    failed_id: str | None = None
    failed_at: float | None = None
    ended_at: float | None = None  # when the last of them ended, of a closed one
    keep: float | None = None
    forget_at: float | None = None
    meta: str | None = None  # JSON as text
    by: str | None = None  # who has opened it: of keys the name of one
    group: str | None = None  # of this tenant, whose keys share it

    @property
    def unfinished(self) -> int:
        """Members that have not ended."""
        return self.total - self.complete - self.failed - self.cancelled - self.expired

    @property
    def state(self) -> str:
        """One of BATCH_STATES."""
        if not self.closed:
            return "open"
        if self.unfinished:
            return "running"
        return "complete" if self.complete == self.total else "failed"


BATCH_STATES = ("open", "running", "complete", "failed")
BATCH_WAITS_S = 3600.0  # until a batch that outlives its `keep` is looked at again: there are records of it
BATCH_FIRST_MAX = 10  # ids that a batch keeps of members that did not complete


@dataclass(slots=True, kw_only=True)
class ScheduleRow:
    """A recurring job: what is submitted when, and what became of it. Times are by the wall."""

    name: str
    service: str
    body: Frames = ()
    options: str = "{}"  # of its jobs: JSON as text
    cron: str | None = None  # or
    every: float | None = None  # seconds
    zone: str = "UTC"
    missed: str = "once"
    missed_max: int = 100
    overlap: str = "allow"
    jitter: float = 0.0
    until: float | None = None
    paused: bool = False
    fixed: bool = False  # it stands in the settings
    anchor: float  # from when `every` counts; no time before it is missed
    since: float | None = None  # nor one before it went on after a pause
    by_hand: bool = False  # an operator has paused or resumed it: that goes before the settings
    last_at: float | None = None  # the time for which it fired last
    fired_at: float | None = None  # when that was
    last_id: str | None = None  # the job of it
    fired: int = 0  # how often
    by: str | None = None


@dataclass(slots=True, kw_only=True)
class KeyRow:
    """Somebody who may come in: what proves who it is, and what it may (key.py). Times are by the wall."""

    name: str
    kind: str  # curve or token
    proof: str  # its public key in Z85, or the SHA-256 of its token in hex
    role: str | None  # from which the rights were made
    rights: dict[str, tuple[str, ...]]  # patterns of services by right
    group: str | None = None  # its jobs are of this one alone
    rate: float | None = None  # jobs a second
    bytes_rate: float | None = None  # and bytes of them
    waiting_max: int | None = None  # unfinished jobs
    connections_max: int | None = None
    made_at: float = 0.0
    by: str | None = None
    revoked_at: float | None = None


@dataclass(slots=True)
class Unfinished:
    """What an earlier run left, beside its running jobs."""

    services: list[KnownService] = field(default_factory=list)
    waiting: list[tuple[str, str | None, int]] = field(default_factory=list)  # service, group, how many
    scheduled: list[tuple[str, int]] = field(default_factory=list)  # service, how many
    ended: dict[tuple[str, str], int] = field(default_factory=dict)  # records by service and final state
    number: int = 0  # the highest ever given out, of the jobs that there are
    forget_at: float | None = None  # when the first ended job or batch is to be forgotten
    batches: list[KnownBatch] = field(default_factory=list)  # those that are open
    schedules: list[ScheduleRow] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)
    submitted: list[tuple[str, int]] = field(default_factory=list)  # unfinished jobs by the key of theirs


@dataclass(slots=True)
class Rows:
    """What a read brings back. `more`: the key of the first job that a page left out, None if it left out
    none. `next`: where a list goes on, None at its end. `unfinished` only of ReadUnfinished."""

    rows: list[Row] = field(default_factory=list)
    more: Key | None = None
    next: int | None = None
    unfinished: Unfinished | None = None
    series: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    marks: list[SeriesMark] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    batches: list[BatchRow] = field(default_factory=list)
    # each with the record of its last job, as lists have it, if there is one still
    schedules: list[tuple[ScheduleRow, Row | None]] = field(default_factory=list)
    rendered: bytes | None = None
    looked: int = 0
    looked_to: float | None = None
    fault: str | None = None  # of a read for a question: it could not be made, and why


_values = attrgetter(*NAMES)


def row_of(job: Job) -> Row:
    """The record of a job as values, detached from the job."""
    return dict(zip(NAMES, _values(job), strict=True))


def job_of(row: Row) -> Job:
    """A stored job from its record."""
    job = Job(kind="stored", **{name: row[name] for name in NAMES})
    job.history = row.get("history", ())
    job.body_bytes = size_of(job.body) + len(job.saved or "") + len(job.meta or "") + len(job.rest or "")
    return job


def size_of(frames: tuple[bytes, ...]) -> int:
    """Bytes of a body."""
    return len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
