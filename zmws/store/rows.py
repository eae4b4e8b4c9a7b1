"""Records as a database holds them: columns <-> Row.

Rule 1: every value goes in as one of int, float, text, bytes and null, and comes out as it was.
Rule 2: what a peer wrote is stored as it is, or where a database cannot (half a surrogate pair), nearly so.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from zmws.core.job import listed_error
from zmws.core.writes import COLUMNS, Row

RECORD = tuple(name for name in COLUMNS if name != "body")

# What a new job fills; all else of its row is then as the table has it by default.
BORN = (
    "number",
    "id",
    "service",
    "state",
    "durability",
    "created_at",
    "ready_at",
    "rank",
    "by_wall",
    "retries",
    "priority",
    "group",
    "unique",
    "ttr",
    "backoff",
    "keep",
    "expires_at",
    "events",
    "states",
)
_LATER: dict[str, Any] = {
    "attempt": 0,
    "failures": 0,
    "losses": 0,
    "started_at": None,
    "ended_at": None,
    "deadline_at": None,
    "nonce": None,
    "worker": None,
    "worker_ours": False,
    "lease": None,
    "result": (),
    "result_plain": False,
    "error": None,
    "progress": None,
    "progress_text": None,
    "progress_at": None,
    "progress_n": 0,
    "attempts": (),
    "partials_count": 0,
    "partials_cut": 0,
    "log_bytes": 0,
    "log_cut": 0,
    "saved": None,
}
assert {*BORN, *_LATER} == set(RECORD)
# What no list shows, and may be large: a row that was read for a list has it as a new job has.
UNLISTED = ("result", "attempts", "states", "saved")
# What is read of a job that an operator acts on, or that has expired.
LIGHT = tuple(name for name in RECORD if name not in ("result", "saved"))
LISTED = tuple(name for name in RECORD if name not in UNLISTED)
_born = itemgetter(*BORN)
_later = itemgetter(*_LATER)
_blank = tuple(_LATER.values())
_GROUP, _STATES = BORN.index("group"), BORN.index("states")
assert BORN[-1] == "states"

_LENGTH = struct.Struct(">I")


def names(columns: Iterable[str]) -> str:
    """Columns as SQL names them: `group` and `unique` are words of its own."""
    return ", ".join(quoted(name) for name in columns)


def quoted(column: str) -> str:
    """One column as SQL names it."""
    return f'"{column}"' if column in ("group", "unique") else column


def born_values(row: Row) -> tuple[Any, ...] | None:
    """The values for BORN, None if the row is more than a new job."""
    if _later(row) != _blank:
        return None
    values: tuple[Any, ...] = _born(row)
    return (*values[:_GROUP], values[_GROUP] or "", *values[_GROUP + 1 : _STATES], _states(values[_STATES]))


def whole_values(row: Row) -> list[Any]:
    """The values for RECORD."""
    return [stored(name, row[name]) for name in RECORD]


def stored(name: str, value: Any) -> Any:
    """One column's value as the database takes it."""
    convert = _IN.get(name)
    return value if convert is None else convert(value)


def converters(columns: Sequence[str]) -> list[tuple[int, Callable[[Any], Any]]]:
    """Of a row of values for these columns, those that do not go in as they are: where, and how."""
    return [(index, _IN[name]) for index, name in enumerate(columns) if name in _IN]


def row_from(values: Sequence[Any], body: bool = False) -> Row:
    """A row from the values of RECORD, and of the body behind them if it was read too."""
    row: Row = dict(zip(RECORD, values, strict=False))
    for name, convert in _OUT.items():
        row[name] = convert(row[name])
    row["body"] = unpacked(values[-1]) if body else ()
    return row


def row_of_columns(values: Sequence[Any], columns: Sequence[str]) -> Row:
    """A row from the values of these columns; the others are as a new job has them."""
    row: Row = {**_UNREAD, **dict(zip(columns, values, strict=True))}
    for name, convert in _OUT.items():
        if name in columns:
            row[name] = convert(row[name])
    return row


def listed_row(values: Sequence[Any]) -> Row:
    """A row from the values of LISTED, its error cut as lists show it."""
    row = row_of_columns(values, LISTED)
    row["error"] = listed_error(row["error"])
    return row


_UNREAD: dict[str, Any] = {**_LATER, "states": (), "body": ()}


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


def _said(value: str | None) -> str | None:
    """A peer's text: JSON lets half a surrogate pair through, which has no bytes in UTF-8."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


_encode = json.JSONEncoder(default=str, check_circular=False).encode  # json.dumps would make it each time


def _error_out(value: str | None) -> Any:
    return None if value is None else json.loads(value)


def _attempts_out(value: str | None) -> tuple[Any, ...]:
    return () if value is None else tuple(json.loads(value))


def _states(value: Iterable[Sequence[Any]]) -> str:
    """A line for each: as short as can be, for it is written with every change of state."""
    return "".join([f"{n} {at!r} {state} {attempt}\n" for n, at, state, attempt in value])


def _states_out(value: str) -> tuple[tuple[int, float, str, int], ...]:
    parts = (line.split(" ") for line in value.splitlines())
    return tuple((int(n), float(at), state, int(attempt)) for n, at, state, attempt in parts)


_IN: dict[str, Callable[[Any], Any]] = {
    "group": lambda value: value or "",
    "result": lambda value: packed(value) if value else None,
    "error": lambda value: None if value is None else _encode(value),
    "attempts": lambda value: _encode(value) if value else None,
    "states": _states,
    "by_wall": int,
    "worker_ours": int,
    "result_plain": int,
    "worker": _said,
    "lease": _said,
    "progress_text": _said,
}
_OUT: dict[str, Callable[[Any], Any]] = {
    "group": lambda value: value or None,
    "result": unpacked,
    "error": _error_out,
    "attempts": _attempts_out,
    "states": _states_out,
    "by_wall": bool,
    "worker_ours": bool,
    "result_plain": bool,
}
