"""What the store brings back: the record of a job as values, and what is read beside jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from zmws.core.job import Job
from zmws.core.record import NAMES

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


@dataclass(slots=True)
class Unfinished:
    """What an earlier run left, beside its running jobs."""

    services: list[KnownService] = field(default_factory=list)
    waiting: list[tuple[str, str | None, int]] = field(default_factory=list)  # service, group, how many
    scheduled: list[tuple[str, int]] = field(default_factory=list)  # service, how many
    ended: dict[tuple[str, str], int] = field(default_factory=dict)  # records by service and final state
    number: int = 0  # the highest ever given out, of the jobs that there are
    forget_at: float | None = None  # when the first ended job is to be forgotten


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
    job.body_bytes = size_of(job.body) + len(job.saved or "") + len(job.meta or "")
    return job


def size_of(frames: tuple[bytes, ...]) -> int:
    """Bytes of a body."""
    return len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
