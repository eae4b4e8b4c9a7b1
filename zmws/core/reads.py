"""What the core asks of the store, and what people ask it to look up. What comes back is in rows.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zmws.core.rows import Key, Rows


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
    earliest first; light, but those with `on_failed` with their bodies and `meta`."""

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
    parent: str | None = None
    chain: str | None = None
    batch: str | None = None
    submitter: str | None = None  # the key or token by which they were submitted


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


@dataclass(slots=True)
class ReadBatch(Read):
    """One batch, in order with the writes: `Rows.batches` has it, or is empty."""

    batch: str


@dataclass(slots=True)
class ReadBatches(Read):
    """Batches, the newest first, in `Rows.batches`; `state` is one of BATCH_STATES. Goes on below number
    `cursor`; `Rows.next` as in ReadMatching."""

    state: str | None
    limit: int
    cursor: int | None = None


@dataclass(slots=True)
class ReadFamily(Read):
    """A job's family, as ReadJobs has records: the job that has no parent (as far as there are records), then
    those that it made, and so on; each after its parent, siblings in the order of their numbers. At most
    `limit`; `Rows.next` is not None where there are more."""

    job_id: str
    limit: int


@dataclass(slots=True)
class ReadSchedules(Read):
    """Schedules by name, in `Rows.schedules`: all, or the one of that name."""

    name: str | None = None


# A fault while these are read is told to whoever asked; of all others the core itself has need.
# In no order with the writes.
FOR_PEOPLE = (
    *(ReadJobs, ReadSearch, ReadSeries, ReadCauses, ReadAhead, ReadAudit),
    *(ReadBatches, ReadFamily, ReadSchedules),
)
FOR_QUESTIONS = (ReadJob, ReadMatching, ReadBatch, *FOR_PEOPLE)
SEARCHES = (ReadSearch,)  # of them, by a connection and a thread of their own


def rendered(read: Read, rows: Rows) -> bytes:
    """The answer that is made of what was read, by whoever comes to it first."""
    assert read.render is not None, read
    return rows.rendered if rows.rendered is not None else read.render(rows)
