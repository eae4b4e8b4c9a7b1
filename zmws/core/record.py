"""A job's record: its columns, stated once.

Rule 1: a column is a field of `Record`: its name, its type, and its value before anything has set it. The
        type stands in its metadata once more, for compiled classes (setup.py) have no annotations; a test
        compares the two.
Rule 2: it is `born` where the insert of a new job writes it, and `later` where only an update does: until
        then it is as it stands here. How a store holds a value follows from its type (store/rows.py).
Rule 3: what ends in `_at` is a time, in seconds since 1970 by the wall; but `ready_at` and `expires_at` go by
        the steady clock (turn.py), and `ready_at` of a job with `by_wall` by the wall.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

Frames = tuple[bytes, ...]  # of a message
State = tuple[int, float, str, int]  # number of the event, wall time, state, attempt
Object = dict[str, Any]  # as JSON has it

# shown: in lists. apart: kept beside the record, so that a row stays small. large: it may be, so no list
# reads it. bulk: nor does who acts on the job: a "light" row is without it. kin: how it stands to other jobs;
# most have nothing of it, and then the insert does not write it.
Mark = Literal["shown", "apart", "large", "bulk", "kin"]


def born(kind: Any, *marks: Mark) -> dict[str, Any]:
    """The metadata of a column that the insert of a new job writes."""
    return {"type": kind, "marks": frozenset({"born", *marks})}


def later(kind: Any, *marks: Mark) -> dict[str, Any]:
    """The metadata of a column that only an update writes."""
    return {"type": kind, "marks": frozenset({"later", *marks})}


@dataclass(slots=True, kw_only=True)
class Record:
    """What survives a restart of the broker."""

    # What lists show, in their order: docs/protocol.md, "A job is".
    id: str = field(metadata=born(str, "shown"))
    service: str = field(metadata=born(str, "shown"))
    state: str = field(default="waiting", metadata=born(str, "shown"))
    attempt: int = field(default=0, metadata=later(int, "shown"))
    failures: int = field(default=0, metadata=later(int, "shown"))
    retries: int = field(default=3, metadata=born(int, "shown"))
    priority: int = field(default=0, metadata=born(int, "shown"))
    group: str | None = field(default=None, metadata=born(str | None, "shown"))
    unique: str | None = field(default=None, metadata=born(str | None, "shown"))
    created_at: float = field(metadata=born(float, "shown"))
    ready_at: float = field(metadata=born(float, "shown"))
    started_at: float | None = field(default=None, metadata=later(float | None, "shown"))
    ended_at: float | None = field(default=None, metadata=later(float | None, "shown"))
    expires_at: float | None = field(default=None, metadata=born(float | None, "shown"))
    ttr: float = field(default=3600.0, metadata=born(float, "shown"))
    worker: str | None = field(default=None, metadata=later(str | None, "shown"))
    progress: float | None = field(default=None, metadata=later(float | None, "shown"))
    progress_text: str | None = field(default=None, metadata=later(str | None, "shown"))
    error: Object | None = field(default=None, metadata=later(Object | None, "shown"))
    parent: str | None = field(default=None, metadata=born(str | None, "shown", "kin"))  # whose end made it
    batch: str | None = field(
        default=None, metadata=born(str | None, "shown", "kin")
    )  # of which it is a member
    chain: str | None = field(
        default=None, metadata=born(str | None, "shown", "kin")
    )  # of which it is a step

    number: int = field(default=0, metadata=born(int))  # the order of creation, and of jobs of one rank
    durability: str = field(default="disk", metadata=born(str))
    rank: float = field(metadata=born(float))
    by_wall: bool = field(default=False, metadata=born(bool))  # its time was given as `at`
    losses: int = field(default=0, metadata=later(int))
    backoff: float = field(default=2.0, metadata=born(float))
    keep: float | None = field(default=None, metadata=born(float | None))
    nonce: str | None = field(default=None, metadata=later(str | None))
    # when its attempt ends at the latest, if not by its ttr
    deadline_at: float | None = field(default=None, metadata=later(float | None))
    worker_ours: bool = field(default=False, metadata=later(bool))
    # zmws.lease: who runs it, where that is no worker
    lease: str | None = field(default=None, metadata=later(str | None))
    result: Frames = field(default=(), metadata=later(Frames, "large", "bulk"))
    result_plain: bool = field(default=False, metadata=later(bool))
    progress_at: float | None = field(default=None, metadata=later(float | None))
    progress_n: int = field(default=0, metadata=later(int))  # the number of that event
    # how many events there were: states, progress, partials and log lines
    events: int = field(default=0, metadata=born(int))
    # those it was in, and is in
    states: tuple[State, ...] = field(default=(), metadata=born(tuple[State, ...], "large"))
    # that have ended
    attempts: tuple[Object, ...] = field(default=(), metadata=later(tuple[Object, ...], "large"))
    partials_count: int = field(default=0, metadata=later(int))  # that were kept
    partials_cut: int = field(default=0, metadata=later(int))
    log_bytes: int = field(default=0, metadata=later(int))
    log_cut: int = field(default=0, metadata=later(int))
    # the caller's own JSON object
    meta: str | None = field(default=None, metadata=born(str | None, "large", "bulk"))
    # JSON that an attempt left for the next
    saved: str | None = field(default=None, metadata=later(str | None, "large", "bulk"))
    # of a failed job: why, as others have failed too; the store says it (wire/causes.py)
    cause: str | None = field(default=None, metadata=later(str | None))
    # the number of the parent: one of its id in another life is another job
    parent_number: int = field(default=0, metadata=born(int, "kin"))
    # how many generations of follow-ups it is away from a job that a client asked for
    depth: int = field(default=0, metadata=born(int, "kin"))
    # of a step: which of how many, and those after it: JSON, as they were given
    step: int = field(default=0, metadata=born(int, "kin"))
    steps: int = field(default=0, metadata=born(int, "kin"))
    rest: str | None = field(default=None, metadata=born(str | None, "large", "bulk", "kin"))
    # the services that are given a job when it completes, and when it fails or expires
    on_complete: str | None = field(default=None, metadata=born(str | None, "kin"))
    on_failed: str | None = field(default=None, metadata=born(str | None, "kin"))
    # the key by which it was submitted; of what follows a job, that of the job
    submitter: str | None = field(default=None, metadata=born(str | None, "kin"))
    # the batch whose end made it, as it was then
    concludes: Object | None = field(default=None, metadata=born(Object | None, "large", "kin"))
    body: Frames = field(metadata=born(Frames, "apart"))


class Column(NamedTuple):
    """One of them."""

    name: str
    type: Any  # without its `| None`
    null: bool  # whether it may be None
    marks: frozenset[str]
    blank: Any  # before anything has set it


def _columns() -> tuple[Column, ...]:
    found = []
    for one in fields(Record):
        kind, marks = one.metadata["type"], one.metadata["marks"]
        null = type(None) in get_args(kind)
        blank = None if one.default is MISSING else one.default
        found.append(Column(one.name, get_args(kind)[0] if null else kind, null, marks, blank))
    return tuple(found)


COLUMNS = _columns()
NAMES = tuple(column.name for column in COLUMNS)


def marked(*marks: str) -> tuple[str, ...]:
    """The names of the columns that are marked so."""
    return tuple(column.name for column in COLUMNS if column.marks.issuperset(marks))
