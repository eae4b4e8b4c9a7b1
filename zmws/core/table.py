"""What may be given under which name: rows of a table, the one checker of values, the one "did you mean".

Three tables are made of such rows: the options of jobs and services (options.py), the fields of questions
(desk/questions.py), and the settings (zmws/settings/table.py).

Rule 1: what has a kind, a range and a default is a row; nothing else in zmws checks such a value.
Rule 2: a refusal names what was given, its value, and what it must be; a name that there is not, the nearest.
Rule 3: what comes may be of any length and depth: a refusal stays short, and takes no time to make.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from zmws.core.tokens import job_id_of
from zmws.errors import BadJson
from zmws.wire.names import TOKEN_BYTES_MAX
from zmws.wire.values import json_in

YEAR_S = 366 * 86400.0
ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
VERB_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
KEY_BYTES_MAX = 255
WORD_CHARS_MAX = 64
OBJECT_BYTES_MAX = 4096
SHOWN_CHARS_MAX = 80
YEAR_END = 9000  # a time that is put off, or shown in another zone, must still be one
NAME_CHARS_MAX = 200  # to compare takes the longer the longer the name is, and whoever asks waits for it

Kind = Literal[
    "int", "whole", "number", "seconds", "bytes", "time", "page", "flag", "choice", "text", "name", "word",
    "verb", "key", "id", "token", "service", "object", "value", "parsed",
]  # fmt: skip
_RANGED = ("int", "whole", "number", "seconds", "bytes")
Number = int | float  # written out: compiled, a `float` would round a large int


@dataclass(frozen=True, slots=True)
class Row:
    """What may be given under one name. `help` is a line for people."""

    kind: Kind
    help: str = ""
    low: Number = 0
    high: Number | str | None = None  # None: a year, of a time no bound; a name: of the limit that says it
    above_low: bool = False  # the bound itself is not allowed
    choices: tuple[str, ...] = ()
    word: str | None = None  # allowed besides what the kind says, and means `word_value`
    word_value: Any = None
    parse: Callable[[Any], object] | None = None  # of `parsed`: raises ValueError that says what it must be
    needed: bool = False
    null: bool = False  # null is a value of its own, and not the same as not given
    default: Any = None


class Unfit(ValueError):
    """A value is not what its row says; the message is for whoever gave it."""


def checked(name: str, row: Row, value: Any, high: Number | None = None) -> Any:
    """The value in the type that the row has; times as seconds since 1970. Raises Unfit.

    `name`: how a refusal begins; `high`: the bound, where the row has but its name.
    """
    if row.word is not None and isinstance(value, str) and value == row.word:
        return row.word_value
    if row.parse is not None:
        try:
            row.parse(value)
        except ValueError as wrong:
            raise unfit(name, value, str(wrong) + _or_word(row)) from None
        return value
    found = value
    if row.kind in _RANGED:
        found = _ranged(row, value, _high(row, high))
    elif row.kind == "time":
        found = _time(row, value)
    elif row.kind == "page":
        found = _page(value)
    elif not _FITS[row.kind](row, value):
        found = None
    if found is None:
        raise unfit(name, value, expected(row, high))
    return found


def expected(row: Row, high: Number | None = None) -> str:
    """What a value must be."""
    text = row.help if row.kind == "parsed" else _EXPECTED[row.kind]
    if row.kind in _RANGED:
        low, most = _bound(row.low), _bound(_high(row, high))
        text += f" above {low}, up to {most}" if row.above_low else f" from {low} to {most}"
    if row.kind == "bytes":
        text += ' bytes, such as 1048576 or "1 MiB"'
    elif row.kind == "choice":
        text += ", ".join(row.choices)
    elif row.kind == "time" and row.high is not None:
        text += f", before the year {YEAR_END}"
    return text + _or_word(row)


def unfit(name: str, value: Any, must_be: str) -> Unfit:
    """The refusal of a value."""
    return Unfit(f"{name} is {shown(value)}, but must be {must_be}")


def no_such(name: str, what: str, known: Iterable[str]) -> str:
    """The refusal of a name that is none of those there are; `what`: they are."""
    return f"{shown(name)} is no {what}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names, to be put behind a refusal; where none is near, all of them."""
    there_are = list(known)
    near = nearest(name, there_are)
    return (
        f"; did you mean '{near}'?" if near is not None else f"; there are {', '.join(there_are) or 'none'}"
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest of the known names, None if none is near."""
    from difflib import get_close_matches  # not at the top: `zmws call` must start fast

    near = get_close_matches(name[:NAME_CHARS_MAX], list(known), n=1, cutoff=0.5)
    return near[0] if near else None


def shown(value: object) -> str:
    """A value as a refusal quotes it: as JSON and TOML have it, and not too long."""
    if isinstance(value, str):
        text = value[: SHOWN_CHARS_MAX + 1]
        text = f"'{text}'" if text.isprintable() else ascii(text)
    else:
        text = ""
        try:
            for part in json.JSONEncoder(default=str).iterencode(value):
                text += part
                if len(text) > SHOWN_CHARS_MAX:
                    break
        except ValueError:  # a number of thousands of digits
            text = "something that cannot be shown"
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."


def value_in(row: Row, text: str) -> Any:
    """The number, flag or object that a text of the environment or the command line stands for, where the
    row wants one. What is none is left as it is, for `checked` to refuse."""
    if row.kind == "flag":
        return {"true": True, "false": False}.get(text.lower(), text)
    if row.kind == "object":
        try:
            return json_in(text.encode())
        except (BadJson, UnicodeEncodeError):  # of bytes that are no UTF-8 the shell makes such a text
            return text
    if row.kind in _RANGED and row.kind != "bytes":
        for kind in (int, float):
            try:
                number: int | float = kind(text)
            except ValueError:
                continue
            if abs(number) < float("inf"):
                return number
    return text


# ---------------------------------------------------------------- a value, or None if it is of another kind


def _ranged(row: Row, value: Any, high: Number) -> Number | None:
    if row.kind == "bytes" and isinstance(value, str):
        size = _SIZE.fullmatch(value.strip())
        value = int(float(size["number"]) * _UNITS[size["unit"]]) if size else None
    allowed = (int,) if row.kind in ("int", "bytes") else (int, float)
    if not isinstance(value, allowed) or isinstance(value, bool):
        return None
    # Before float(), which cannot hold every int. A NaN is in no range.
    if not row.low <= value <= high or (row.above_low and value == row.low):
        return None
    if row.kind == "whole":
        return int(value) if value == int(value) else None
    return value if row.kind in ("int", "bytes") else float(value)


def _high(row: Row, high: Number | None) -> Number:
    bound = row.high if high is None else high
    assert not isinstance(bound, str), row
    return YEAR_S if bound is None else bound


def _bound(bound: Number) -> str:
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"


def _or_word(row: Row) -> str:
    return "" if row.word is None else f', or "{row.word}"' + ("" if row.word else " for none")


def _is_text(_: Row, value: Any) -> bool:
    return isinstance(value, str)


def _is_name(_: Row, value: Any) -> bool:
    # A lone surrogate, which passes JSON and can be neither stored nor sent, is not printable.
    return isinstance(value, str) and value.isprintable()


def _is_token(_: Row, value: Any) -> bool:
    if not isinstance(value, str) or not value.isascii() or len(value) > TOKEN_BYTES_MAX:
        return False
    return job_id_of(value.encode()) is not None


def _is_object(_: Row, value: Any) -> bool:
    return isinstance(value, dict) and len(json.dumps(value)) <= OBJECT_BYTES_MAX


def _page(value: Any) -> int | None:
    is_page = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18
    return int(value) if is_page else None


def _time(row: Row, value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None or (row.high is not None and moment.year >= YEAR_END):
            return None
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(\.[0-9]{1,6})?) *(?P<unit>B|KiB|MiB|GiB)?")
_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_FITS: dict[str, Callable[[Row, Any], bool]] = {
    "flag": lambda _, value: isinstance(value, bool),
    "choice": lambda row, value: isinstance(value, str) and value in row.choices,
    "text": _is_text,
    "name": _is_name,
    "word": lambda row, value: _is_name(row, value) and 0 < len(value) <= WORD_CHARS_MAX,
    "verb": lambda _, value: isinstance(value, str) and VERB_PATTERN.match(value) is not None,
    "key": lambda row, value: _is_name(row, value) and 0 < len(value.encode()) <= KEY_BYTES_MAX,
    "id": lambda _, value: isinstance(value, str) and ID_PATTERN.match(value) is not None,
    "token": _is_token,
    "service": _is_text,
    "object": _is_object,
    "value": lambda _, value: True,
}
_EXPECTED = {
    "int": "a whole number",
    "whole": "a whole number",  # 5.0 is one too: in JSON of some languages every number is written so
    "number": "a number",
    "seconds": "a number of seconds",
    "bytes": "a size",
    "time": "an ISO 8601 time with its zone, such as 2027-01-31T08:00:00Z",
    "page": "the 'next' of the page before",
    "flag": "true or false",
    "choice": "one of ",
    "text": "a text",
    "name": "a printable text",
    "word": f"a printable text of 1 to {WORD_CHARS_MAX} characters",
    "verb": "a word of 1 to 32 characters of a-z 0-9 _ -, the first a letter",
    "key": f"a printable text of 1 to {KEY_BYTES_MAX} bytes",
    "id": "an id: 1 to 128 characters of A-Z a-z 0-9 . _ : -",
    "token": "the token that came with the job",
    "service": "the name of a service",
    "object": f"a JSON object of at most {OBJECT_BYTES_MAX} bytes",
    "value": "a JSON value",
}
