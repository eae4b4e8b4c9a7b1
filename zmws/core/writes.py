"""What the core asks of the store: writes, reads, and what comes back.

Rule 1: a write carries values, never a Job: the writer thread may read it while the core goes on.
Rule 2: the gate gives each write its number (`seq`) in the order in which the core made them.
Rule 3: writes apply in order within a batch, so a finish frees its unique key for an insert behind it.
Rule 4: what a write's fate decides (whether an id is new, what a prune forgot) comes back as its verdict,
        from the commit: only the store can know.
Rule 5: a write that is one `unit` with the one before it is in its commit, and all of a unit happens or none:
        when one of its writes is refused, each that takes a verdict is told that refusal.
Rule 6: jobs stand in the store by their `number`, which the core gives out in the order of creation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, NamedTuple

from zmws.core.job import Job
from zmws.core.record import NAMES

Row = dict[str, Any]
Key = tuple[float, int]  # what jobs are ordered by: rank or ready_at, then number

NEW, EXISTING, UNIQUE_CONFLICT, FULL = "new", "existing", "unique_conflict", "full"
DISK_FULL = "disk_full"  # no room on the host's disk, for now
UNKNOWN = "unknown"  # a revival or removal of what has been deleted or pruned meanwhile
DELETED = "deleted"


@dataclass(slots=True)
class Verdict:
    """What became of an insert, a revival or a removal. `job_id`: the job that stands for it now."""

    verdict: str
    job_id: str
    service: str = ""  # of an existing job: another service means id_conflict
    state: str = ""  # of a deleted job: what it had ended as
    by_unit: bool = False  # this was another write's of the unit, which did not happen for that


@dataclass(slots=True)
class Pruned(Verdict):
    """What a prune forgot: how many, by service and state, and when the next job is due to be forgotten
    (None: no ended job is left). It may be due already: a step is bounded."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    next_at: float | None = None


Told = Callable[["Verdict"], None]  # what is to be done with a verdict


@dataclass(slots=True, kw_only=True)
class Write:
    """The root of all writes. `seq` is 0 until the gate numbers it."""

    seq: int = 0
    size: int = 200  # bytes it is worth, for the bounds on batches
    void: bool = False  # another write has taken it up
    unit: bool = False  # one unit with the write before it: all of it happens, or nothing
    job: Job | None = field(default=None, repr=False)  # the core's own: whom it is of; no store looks at it
    told: Told | None = field(default=None, repr=False)  # or what is to be done with its verdict


@dataclass(slots=True)
class InsertJob(Write):
    """A new job. Has a verdict. `only_if_known`: the service is full, so anything but a repeat is FULL.
    `together`: of the same message as the write before it, and so in the same commit; but no unit."""

    row: Row
    only_if_known: bool = False
    together: bool = False


@dataclass(slots=True)
class UpdateJob(Write):
    """New values for columns of a job's record."""

    job_id: str
    changes: Mapping[str, Any]


@dataclass(slots=True)
class FinishJob(UpdateJob):
    """The job reaches a final state, which frees its unique key. Forgotten at `forget_at`."""

    service: str
    forget_at: float


@dataclass(slots=True)
class ReviveJob(UpdateJob):
    """A job that failed, expired or was cancelled waits again. Has a verdict: its unique key may be taken by
    now."""


@dataclass(slots=True)
class AppendToJob(Write):
    """A partial result (`kind` partial, `value` its frames) or a log line (`kind` log, a text) for the
    job's history: its event number `n`, at wall time `at`."""

    job_id: str
    kind: str
    value: Any
    n: int = 0
    at: float = 0.0


@dataclass(slots=True)
class DeleteJob(Write):
    """Remove a job that has ended. Has a verdict: DELETED, or UNKNOWN where there is no such ended job."""

    job_id: str


@dataclass(slots=True)
class RememberService(Write):
    """A service that a worker registered: known from now on, also after a restart. `paused` and `limits`: as
    an operator set them; `defaults` and `params`: what a READY told. The last three are JSON as text. None
    changes nothing of it."""

    service: str
    paused: bool | None = None
    defaults: str | None = None
    params: str | None = None
    limits: str | None = None


@dataclass(slots=True)
class ForgetService(Write):
    """A service is not known any more. The records of its jobs stay as they are."""

    service: str


@dataclass(slots=True)
class PruneJobs(Write):
    """Forget ended jobs whose `keep` has passed at the time `at`, the longest due first, at most `limit`
    records and pieces of history in all. Has a verdict: Pruned."""

    at: float
    limit: int


@dataclass(slots=True)
class WriteSeries(Write):
    """What was counted in a minute, by the steady time at which it began: for each of these services, "" for
    all together, its figures (series.py). They are added to those of that minute and of its hour that are
    there. Minutes before `minutes_from` and hours and marks before `hours_from` are forgotten."""

    at: int
    figures: list[tuple[str, dict[str, Any]]]
    minutes_from: float
    hours_from: float


@dataclass(slots=True)
class WriteMark(Write):
    """A mark in the series, at steady time `at`: a deploy, a start. `service`: of one alone. `by`: who made
    it."""

    at: float
    kind: str
    text: str
    service: str | None = None
    by: str | None = None


@dataclass(slots=True)
class ForgetActs(Write):
    """What operators did before wall time `acts_from` is forgotten, and all but the newest `acts_max`; a
    bounded number of them by one write."""

    acts_from: float
    acts_max: int


@dataclass(slots=True)
class WriteAct(ForgetActs):
    """What an operator did, at wall time `at` (desk/audit.py). `on`: a job's id, a service, a worker, a
    process. `detail`: JSON as text. `count`: jobs or workers that it was done to. None: there is no such."""

    at: float
    by: str
    verb: str
    on: str | None
    detail: str | None
    count: int | None
    outcome: str


# But for revivals: nobody waits for them, unless an answer does.
PATIENT = (UpdateJob, AppendToJob, WriteSeries)
WITH_VERDICT = (InsertJob, ReviveJob, DeleteJob, PruneJobs)
_REFUSALS = frozenset({UNIQUE_CONFLICT, FULL, DISK_FULL, UNKNOWN})


def units(writes: Iterable[Write]) -> list[list[Write]]:
    """The writes as what happens as a whole or not at all; most are a unit of their own."""
    found: list[list[Write]] = []
    for write in writes:
        if write.unit:
            found[-1].append(write)
        else:
            found.append([write])
    return found


def refuses(verdict: Verdict, write: Write) -> bool:
    """Whether the write did not happen, and so no other of its unit may. A repeat is no refusal, for what it
    asks for is there; but it is one if the id is that of another service's job."""
    if verdict.verdict == EXISTING:
        return isinstance(write, InsertJob) and verdict.service != write.row["service"]
    return verdict.verdict in _REFUSALS


def units_verdicts(unit: Iterable[Write], refused: Write, verdict: Verdict) -> list[Verdict]:
    """What each write of a unit that takes a verdict is told when one of them was refused."""
    told = replace(verdict, by_unit=True)
    return [verdict if write is refused else told for write in unit if isinstance(write, WITH_VERDICT)]


@dataclass(slots=True)
class Read:
    """A question to the store. `asker` is the core's own and comes back with the answer.

    A row that is read "light" has an empty body and result. No row has a history unless that is said.
    """

    asker: Any
    # Makes the answer of what was read, beside the loop: it is in `Rows.rendered` then. It uses no more than
    # what it was given.
    render: Callable[[Rows], bytes] | None = field(default=None, repr=False, kw_only=True)


@dataclass(slots=True)
class ReadJob(Read):
    """One job's record; read by the writer thread, in order with the writes. `whole`: with its body and
    its history (`row["history"]`: a list of (n, at, kind, value), by n); else light. `past`: light, and of
    its history what is past this event number."""

    job_id: str
    whole: bool = True
    past: int | None = None


@dataclass(slots=True)
class ReadUnfinished(Read):
    """Recovery: `rows` are the running jobs, with their bodies, and with `events`, `partials_count` and
    `log_bytes` as their history has them; the rest is in `Rows.unfinished`."""


@dataclass(slots=True)
class ReadWaiting(Read):
    """A page of a group's waiting jobs, from key `since` (rank, number) on, in the order of the keys, with
    their bodies: at most `limit`, and no more than `bytes_max` of bodies after the first."""

    service: str
    group: str | None
    since: Key
    limit: int
    bytes_max: int


@dataclass(slots=True)
class ReadScheduled(Read):
    """As ReadWaiting for the scheduled jobs of all services whose times go by the wall, or by the steady
    clock: the key is (ready_at, number)."""

    by_wall: bool
    since: Key
    limit: int
    bytes_max: int


@dataclass(slots=True)
class ReadExpired(Read):
    """Jobs that wait or are scheduled, were never dispatched, and whose expires_at is `at` or before; the
    earliest first; light."""

    at: float
    limit: int


@dataclass(slots=True)
class Filter:
    """Which jobs; None: all. Times are of their creation: `since` is included, `before` is not."""

    service: str | None = None
    state: str | None = None
    group: str | None = None
    since: float | None = None
    before: float | None = None
    cause: str | None = None  # why they have failed (ReadCauses)


@dataclass(slots=True)
class ReadMatching(Read):
    """Jobs that an operator's filter names, of one of `states` too, with numbers above `after` and up to
    `last`, in the order of their numbers; light. `Rows.next` is the number to go on after, None at the
    end; a page that looked at enough rows may bring few or none and still have a `next`."""

    where: Filter
    states: tuple[str, ...]
    after: int
    last: int
    limit: int


@dataclass(slots=True)
class ReadJobs(Read):
    """A page of a list, newest first (the highest number), for people: light, without attempts and states,
    and with errors as lists show them (`job.listed_error`); read beside the writes, and never delays a job.
    Goes on below number `cursor`. `Rows.next` as in ReadMatching."""

    where: Filter
    limit: int = 100
    cursor: int | None = None


@dataclass(slots=True)
class ReadSearch(Read):
    """As ReadJobs, of jobs in which a text stands: in one of `places` (id, error, params, result). Each page
    looks at a bounded number of records, for a bounded time: `Rows.looked` says how many those were, and
    `Rows.looked_to` when the oldest of them was created."""

    where: Filter
    text: str
    places: tuple[str, ...]
    limit: int = 100
    cursor: int | None = None


@dataclass(slots=True)
class ReadSeries(Read):
    """The figures of minutes (`step` 60) or hours (3600) that began from steady time `since` on and before
    `before`, of a service and of all together (""), the earliest first, as (at, service, figures) in
    `Rows.series`; and the marks of that time in `Rows.marks`. `service` None: of all together alone;
    `step` 0: the marks alone."""

    service: str | None
    step: int
    since: float
    before: float
    limit: int


@dataclass(slots=True)
class ReadUsual(Read):
    """The hours from steady time `since` on, of all services, in `Rows.series`: for the core, at the
    start."""

    since: float


@dataclass(slots=True)
class ReadCauses(Read):
    """Why jobs have failed, those that did so last first: Cause after Cause in `Rows.causes`. Goes on below
    `cursor` (last_at, cause)."""

    service: str | None
    limit: int
    cursor: tuple[float, str] | None = None


@dataclass(slots=True)
class ReadAhead(Read):
    """How many stored jobs wait in a group before this key (rank, number): `Rows.next`, at most `limit`. And
    the minutes of the service from `since` on, as ReadSeries has them, of their figures the clocks alone."""

    service: str
    group: str | None
    key: Key | None
    since: float
    limit: int


@dataclass(slots=True)
class ReadAudit(Read):
    """What operators did, the newest first: Act after Act in `Rows.acts`. Times are by the wall: `since` is
    included, `before` is not. Goes on below number `cursor`; `Rows.next` as in ReadMatching."""

    by: str | None
    verb: str | None
    on: str | None
    since: float | None
    before: float | None
    limit: int
    cursor: int | None = None


# A fault while these are read is told to whoever asked; of all others the core itself has need.
# In no order with the writes.
FOR_PEOPLE = (ReadJobs, ReadSearch, ReadSeries, ReadCauses, ReadAhead, ReadAudit)
FOR_QUESTIONS = (ReadJob, ReadMatching, *FOR_PEOPLE)
SEARCHES = (ReadSearch,)  # of them, by a connection and a thread of their own


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


def rendered(read: Read, rows: Rows) -> bytes:
    """The answer that is made of what was read, by whoever comes to it first."""
    assert read.render is not None, read
    return rows.rendered if rows.rendered is not None else read.render(rows)


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
