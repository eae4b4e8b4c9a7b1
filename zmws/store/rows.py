"""Records as a database holds them: columns <-> Row.

Rule 1: every value goes in as one of int, float, text, bytes and null, and comes out as it was.
Rule 2: what a peer wrote is stored as it is, or where a database cannot (half a surrogate pair), nearly so.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from zmws.core.job import listed_error
from zmws.core.record import COLUMNS, Frames, Object, State, marked
from zmws.core.rows import BatchRow, Row, ScheduleRow

RECORD = tuple(column.name for column in COLUMNS if "apart" not in column.marks)
_KIN = marked("kin")
BORN = tuple(name for name in RECORD if name in marked("born") and name not in _KIN)
BORN_AS_KIN = (*BORN, *_KIN)  # of a job that stands to others, as most do not
# What is read of a job that an operator acts on, or that has expired.
LIGHT = tuple(name for name in RECORD if name not in marked("bulk"))
LISTED = tuple(name for name in RECORD if name not in marked("large"))
_BLANK: Row = {column.name: column.blank for column in COLUMNS} | {"body": ()}
_LATER = marked("later")
_born = itemgetter(*BORN)
_later = itemgetter(*_LATER)
_later_blank = _later(_BLANK)
_kin = itemgetter(*_KIN)
_kin_blank = _kin(_BLANK)
BATCH = (
    *("number", "id", "created_at", "closed", "total", "complete", "failed", "cancelled", "expired"),
    *("first", "then_service", "failed_service", "then_id", "then_at", "failed_id", "failed_at"),
    *("ended_at", "keep", "forget_at", "meta", "by", "group"),
)
SCHEDULE = (
    *("name", "service", "body", "options", "cron", "every", "zone", "missed", "missed_max", "overlap"),
    *(
        "jitter",
        "until",
        "paused",
        "fixed",
        "anchor",
        "since",
        "by_hand",
        "last_at",
        "fired_at",
        "last_id",
        "fired",
        "by",
    ),
)
KEY = (
    *("name", "kind", "proof", "role", "rights", "group", "rate", "bytes_rate", "waiting_max"),
    *("connections_max", "made_at", "by", "revoked_at"),
)

Converter = Callable[[Any], Any]
Converters = list[tuple[int, Converter]]  # of a row of values: where, and how
_LENGTH = struct.Struct(">I")


def names(columns: Iterable[str]) -> str:
    """Columns as SQL names them: `group` and `unique` are words of its own."""
    return ", ".join(quoted(name) for name in columns)


def quoted(column: str) -> str:
    """One column as SQL names it."""
    return f'"{column}"' if column in ("group", "unique", "by") else column


def born_values(row: Row) -> list[Any] | None:
    """The values for BORN, None if the row is more than a new job: the table has the rest by default."""
    return None if _later(row) != _later_blank else _converted(_born(row), _BORN_IN)


def kin_values(row: Row) -> list[Any] | None:
    """What BORN_AS_KIN has beside BORN, None if the row has nothing of it."""
    kin = _kin(row)
    return None if kin == _kin_blank else _converted(kin, _KIN_IN)


def whole_values(row: Row) -> list[Any]:
    """The values for RECORD."""
    return _converted([row[name] for name in RECORD], _RECORD_IN)


def _converted(values: Iterable[Any], how: Converters) -> list[Any]:
    converted = [*values]
    for index, convert in how:
        converted[index] = convert(converted[index])
    return converted


def converters(columns: Sequence[str]) -> Converters:
    """Of values for these columns, those that do not go in as they are."""
    return [(index, _IN[name]) for index, name in enumerate(columns) if name in _IN]


def row_from(values: Sequence[Any]) -> Row:
    """A row from the values of RECORD, and of the body behind them."""
    row: Row = dict(zip(RECORD, values, strict=False))
    for name, convert in _OUT.items():
        row[name] = convert(row[name])
    row["body"] = unpacked(values[-1])
    return row


def row_of_columns(values: Sequence[Any], columns: Sequence[str]) -> Row:
    """A row from the values of these columns; the others are as a new job has them."""
    row: Row = {**_BLANK, **dict(zip(columns, values, strict=True))}
    for name, convert in _OUT.items():
        if name in columns:
            row[name] = convert(row[name])
    return row


def listed_row(values: Sequence[Any]) -> Row:
    """A row from the values of LISTED, its error cut as lists show it."""
    row = row_of_columns(values, LISTED)
    row["error"] = listed_error(row["error"])
    return row


def kept_job(row: Row) -> str:
    """A record, its body too, as one JSON text: that of a job which is not made yet."""
    values = dict(zip(RECORD, whole_values(row), strict=True)) | {"body": packed(row["body"])}
    there = {name: value for name, value in values.items() if value is not None}
    coded = [name for name, value in there.items() if isinstance(value, bytes)]
    return json.dumps(there | {name: b64encode(there[name]).decode() for name in coded})


def job_kept(text: str) -> Row:
    """The record again."""
    values = json.loads(text)
    body = unpacked(b64decode(values.pop("body")))
    for name in _CODED & values.keys():
        values[name] = b64decode(values[name])
    return row_of_columns([*values.values()], tuple(values)) | {"body": body}


def batch_from(values: Sequence[Any]) -> BatchRow:
    """A batch from the values of BATCH."""
    told = dict(zip(BATCH, values, strict=True))
    told |= {"closed": bool(told["closed"]), "first": tuple(json.loads(told["first"]))}
    return BatchRow(**told)


_FLAGS = ("paused", "fixed", "by_hand")  # of a schedule


def schedule_values(schedule: ScheduleRow) -> list[Any]:
    """The values for SCHEDULE."""
    texts = {"options": storable(schedule.options), "by": storable(schedule.by)}
    known: dict[str, Any] = {"body": packed(schedule.body)} | texts
    known |= {name: int(getattr(schedule, name)) for name in _FLAGS}
    return [known[name] if name in known else getattr(schedule, name) for name in SCHEDULE]


def schedule_from(values: Sequence[Any]) -> ScheduleRow:
    """A schedule from the values of SCHEDULE."""
    told = dict(zip(SCHEDULE, values, strict=True))
    told |= {"body": unpacked(told["body"]), **{name: bool(told[name]) for name in _FLAGS}}
    return ScheduleRow(**told)


def packed(frames: tuple[bytes, ...]) -> bytes:
    """Frames as one value."""
    if len(frames) == 1:
        return _LENGTH.pack(len(frames[0])) + frames[0]
    return b"".join(part for frame in frames for part in (_LENGTH.pack(len(frame)), frame))


def unpacked(value: bytes | None) -> tuple[bytes, ...]:
    """The frames again."""
    frames = []
    at = 0
    while value and at < len(value):
        start = at + 4
        at = start + _LENGTH.unpack_from(value, at)[0]
        frames.append(value[start:at])
    return tuple(frames)


def event_value(kind: str, value: Any) -> bytes:
    """A partial result or a log line as the history holds it."""
    return packed(value) if kind == "partial" else value.encode("utf-8", "surrogatepass")


def event_from(values: Sequence[Any]) -> tuple[int, float, str, Any]:
    """An event of the history: (n, at, kind, value)."""
    n, at, kind, value = values
    return n, at, kind, unpacked(value) if kind == "partial" else value.decode("utf-8", "surrogatepass")


def storable(value: str | None) -> str | None:
    """A peer's text as a database can hold it: JSON lets half a surrogate pair through, which has no bytes in
    UTF-8."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


_encode = json.JSONEncoder(default=str, check_circular=False).encode  # json.dumps would make it each time


def _states(value: Iterable[Sequence[Any]]) -> str:
    """A line for each: as short as can be, for it is written with every change of state."""
    return "".join([f"{n} {at!r} {state} {attempt}\n" for n, at, state, attempt in value])


def _states_out(value: str) -> tuple[tuple[int, float, str, int], ...]:
    parts = (line.split(" ") for line in value.splitlines())
    return tuple((int(n), float(at), state, int(attempt)) for n, at, state, attempt in parts)


def _or_null(convert: Converter) -> Converter:
    return lambda value: convert(value) if value else None


# By type, what does not go in and come out as it is.
_TYPES_IN: list[tuple[Any, Converter]] = [
    (Frames, _or_null(packed)),
    (tuple[State, ...], _states),
    (tuple[Object, ...], _or_null(_encode)),
    (Object, lambda value: None if value is None else _encode(value)),
]
_TYPES_OUT: list[tuple[Any, Converter]] = [
    (bool, bool),
    (Frames, unpacked),
    (tuple[State, ...], _states_out),
    (tuple[Object, ...], lambda value: () if value is None else tuple(json.loads(value))),
    (Object, lambda value: None if value is None else json.loads(value)),
]


def _by_name(types: list[tuple[Any, Converter]]) -> dict[str, Converter]:
    return {
        column.name: convert
        for column in COLUMNS
        for kind, convert in types
        if column.type == kind and column.name in RECORD
    }


_CODED = {column.name for column in COLUMNS if column.type == Frames and column.name in RECORD}
_SAID = [column.name for column in COLUMNS if column.type is str and column.name in (*_LATER, "rest")]
# '' and not null, so that the index of the waiting jobs finds those without a group.
_IN = _by_name(_TYPES_IN) | {"group": lambda value: value or ""} | dict.fromkeys(_SAID, storable)
_OUT = _by_name(_TYPES_OUT) | {"group": lambda value: value or None}
_BORN_IN, _KIN_IN, _RECORD_IN = converters(BORN), converters(_KIN), converters(RECORD)
