"""A job's record: its columns, stated once.

Rule 1: a column is a field of `Record`: its name, its type, and its value before anything has set it.
Rule 2: it is `Born` where the insert of a new job writes it, and `Later` where only an update does: until
        then it is as it stands here. How a store holds a value follows from its type (store/rows.py).
Rule 3: what ends in `_at` is a time, in seconds since 1970 by the wall; but `ready_at` and `expires_at` go by
        the steady clock (turn.py), and `ready_at` of a job with `by_wall` by the wall.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

Frames = tuple[bytes, ...]  # of a message
State = tuple[int, float, str, int]  # number of the event, wall time, state, attempt
Object = dict[str, Any]  # as JSON has it

_T = TypeVar("_T")
Born = Annotated[_T, "born"]
Later = Annotated[_T, "later"]
Apart = Annotated[_T, "born", "apart"]  # kept beside the record, so that a row stays small
Shown = Annotated[_T, "shown"]  # in lists
Large = Annotated[_T, "large"]  # may be, so no list reads it
Bulk = Annotated[_T, "large", "bulk"]  # nor does who acts on the job: a "light" row is without it


@dataclass(slots=True, kw_only=True)
class Record:
    """What survives a restart of the broker."""

    # What lists show, in their order: docs/protocol.md, "A job is".
    id: Born[Shown[str]]
    service: Born[Shown[str]]
    state: Born[Shown[str]] = "waiting"
    attempt: Later[Shown[int]] = 0
    failures: Later[Shown[int]] = 0
    retries: Born[Shown[int]] = 3
    priority: Born[Shown[int]] = 0
    group: Born[Shown[str | None]] = None
    unique: Born[Shown[str | None]] = None
    created_at: Born[Shown[float]]
    ready_at: Born[Shown[float]]
    started_at: Later[Shown[float | None]] = None
    ended_at: Later[Shown[float | None]] = None
    expires_at: Born[Shown[float | None]] = None
    ttr: Born[Shown[float]] = 3600.0
    worker: Later[Shown[str | None]] = None
    progress: Later[Shown[float | None]] = None
    progress_text: Later[Shown[str | None]] = None
    error: Later[Shown[Object | None]] = None

    number: Born[int] = 0  # the order of creation, and of jobs of one rank
    durability: Born[str] = "disk"
    rank: Born[float]
    by_wall: Born[bool] = False  # its time was given as `at`
    losses: Later[int] = 0
    backoff: Born[float] = 2.0
    keep: Born[float | None] = None
    nonce: Later[str | None] = None
    deadline_at: Later[float | None] = None  # when its attempt ends at the latest, if not by its ttr
    worker_ours: Later[bool] = False
    lease: Later[str | None] = None  # zmws.lease: who runs it, where that is no worker
    result: Later[Bulk[Frames]] = ()
    result_plain: Later[bool] = False
    progress_at: Later[float | None] = None
    progress_n: Later[int] = 0  # the number of that event
    events: Born[int] = 0  # how many events there were: states, progress, partials and log lines
    states: Born[Large[tuple[State, ...]]] = ()  # those it was in, and is in
    attempts: Later[Large[tuple[Object, ...]]] = ()  # that have ended
    partials_count: Later[int] = 0  # that were kept
    partials_cut: Later[int] = 0
    log_bytes: Later[int] = 0
    log_cut: Later[int] = 0
    saved: Later[Bulk[str | None]] = None  # JSON that an attempt left for the next
    body: Apart[Frames]


class Column(NamedTuple):
    """One of them."""

    name: str
    type: Any  # without its `| None`
    null: bool  # whether it may be None
    marks: frozenset[str]
    blank: Any  # before anything has set it


def _columns() -> tuple[Column, ...]:
    hints = get_type_hints(Record, include_extras=True)
    found = []
    for field in fields(Record):
        hint, *marks = get_args(hints[field.name])
        null = type(None) in get_args(hint)
        kind = get_args(hint)[0] if null else hint
        blank = None if field.default is MISSING else field.default
        found.append(Column(field.name, kind, null, frozenset(marks), blank))
    return tuple(found)


COLUMNS = _columns()
NAMES = tuple(column.name for column in COLUMNS)


def marked(*marks: str) -> tuple[str, ...]:
    """The names of the columns that are marked so."""
    return tuple(column.name for column in COLUMNS if column.marks.issuperset(marks))
