"""What may be asked of the services inside the broker: one table of their fields, and its one checker.

Rule 1: a question reaches its handler checked: every field has its type and its range, what was not given has
        its default or is absent, and null is not given.
Rule 2: a refusal names the field, and what it must be; a field that there is not, and the nearest there is.
Rule 3: whole numbers fit into 64 bits: the store knows no others. The users' own values pass as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal

from zmws.core.job import STATES, job_id_of
from zmws.core.limits import Limits
from zmws.core.options import ID_PATTERN, YEAR_S
from zmws.errors import BadJson
from zmws.wire.names import TOKEN_BYTES_MAX
from zmws.wire.values import json_in

WHOLE_MAX = 2**63 - 1
WORD_MAX = 64  # characters of an `ask` and a `by`
REPORTS = ("progress", "partial", "log", "complete", "fail", "release")


class BadQuestion(Exception):
    """A question cannot be answered as it is; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a question. `most`: the largest number, or which of the limits is that."""

    kind: Literal[
        "id", "service", "token", "seconds", "fraction", "whole", "page", "flag", "text", "name", "time",
        "choice", "value", "word",
    ]  # fmt: skip
    needed: bool = False
    default: Any = None
    least: float = 0
    above: bool = False  # the least itself is not allowed
    most: float | str = YEAR_S
    choices: tuple[str, ...] = ()


_ID = Field("id", needed=True)
_SERVICE = Field("service", needed=True)
_TOKEN = Field("token", needed=True)
_SECONDS = Field("seconds", above=True)
_TEXT, _FLAG, _VALUE = Field("text"), Field("flag"), Field("value")
_FILTER = {
    "service": Field("name"),
    "state": Field("choice", choices=STATES),
    "group": Field("name"),
    "since": Field("time"),
    "before": Field("time"),
}
# Of all that change something: the asker's id for the question (asks.py), and who acts, for the log.
_ASK = {"ask": Field("word"), "by": Field("word")}
_MANY = {"id": Field("id"), **_FILTER, "all": _FLAG, **_ASK}
_OF_SERVICE = {"service": _SERVICE, **_ASK}

QUESTIONS: dict[str, dict[str, Field]] = {
    "zmws.hello": {},
    "zmws.job": {"id": _ID},
    "zmws.wait": {"id": _ID, "timeout": Field("seconds", default=30.0, most="wait_s_max")},
    "zmws.events": {
        "id": _ID,
        "after": Field("whole", default=0, most=WHOLE_MAX),
        "timeout": Field("seconds", default=0.0, most="wait_s_max"),
    },
    "zmws.stack": {"id": _ID, "timeout": Field("seconds", default=5.0, most="wait_s_max")},
    "zmws.jobs": {
        **_FILTER,
        "limit": Field("whole", default=100, least=1, most="list_rows_max"),
        "cursor": Field("page"),
        "memory": _FLAG,
    },
    "zmws.cancel": _MANY,
    "zmws.retry": _MANY,
    "zmws.delete": _MANY,
    "zmws.purge": _OF_SERVICE,
    "zmws.pause": _OF_SERVICE,
    "zmws.resume": _OF_SERVICE,
    "zmws.forget": _OF_SERVICE,
    "zmws.lease": {
        "service": _SERVICE,
        "lease": Field("id", needed=True),
        "wait": Field("seconds", default=0.0, most="wait_s_max"),
        "ttr": _SECONDS,
    },
    "zmws.extend": {"token": _TOKEN, "seconds": Field("seconds", needed=True, above=True), **_ASK},
    "zmws.report": {
        "token": _TOKEN,
        "kind": Field("choice", needed=True, choices=REPORTS),
        "done": Field("fraction", most=1),
        "text": _TEXT,
        "value": _VALUE,
        "value_base64": _TEXT,
        "result": _VALUE,
        "result_base64": _TEXT,
        "code": _TEXT,
        "error": _TEXT,
        "type": _TEXT,
        "traceback": _TEXT,
        "retry": Field("flag", default=True),
        "delay": Field("seconds"),
        **_ASK,
    },
    "zmws.services": {},
    "zmws.workers": {},
    "zmws.stats": {},
}


# What changes something, and so may be asked again (asks.py).
CHANGES = frozenset(name for name, fields in QUESTIONS.items() if "ask" in fields)


def question_body(service: str, body: tuple[bytes, ...], limits: Limits) -> Any:
    """The JSON of a question: an object where there is no frame. Raises BadQuestion."""
    frames = [frame for frame in body if frame]
    if not frames:
        return {}
    if len(frames) > 1:
        raise BadQuestion(f"{service} takes one frame of JSON")
    frame = frames[0].removeprefix(b"PARAM-JSON: ").removeprefix(b"JSON-PARAM: ")
    try:
        return json_in(frame, limits.json_depth_max)
    except BadJson as wrong:
        raise BadQuestion(f"{service} takes JSON, and this is not that: {wrong}") from None


def checked(service: str, asked: Any, limits: Limits) -> dict[str, Any]:
    """The fields of a question in their types, times as seconds since 1970. Raises BadQuestion."""
    if not isinstance(asked, dict):
        raise BadQuestion(f"{service} takes one frame with a JSON object")
    known = QUESTIONS[service]
    told: dict[str, Any] = {}
    for name, value in asked.items():
        field = known.get(name)
        if field is None:
            raise BadQuestion(_no_such(service, name, known))
        if value is not None:
            told[name] = _checked(service, name, field, value, limits)
    for name, field in known.items():
        if name in told:
            continue
        if field.needed:
            raise BadQuestion(f"{service} needs '{name}', {_expected(field, limits)}")
        if field.default is not None:
            default = field.default
            told[name] = min(default, _most(field, limits)) if field.kind in ("seconds", "whole") else default
    return told


def _checked(service: str, name: str, field: Field, value: Any, limits: Limits) -> Any:
    check = _CHECKS[field.kind]
    found = check(value)
    if found is not None and field.kind in ("seconds", "fraction", "whole"):
        most = _most(field, limits)
        if not field.least <= found <= most or (field.above and found == field.least):
            found = None
    elif field.kind == "choice" and found not in field.choices:
        found = None
    if found is None:
        raise BadQuestion(f"'{name}' must be {_expected(field, limits)}")
    return found


def _most(field: Field, limits: Limits) -> float:
    most = field.most
    return float(getattr(limits, most)) if isinstance(most, str) else most


def _expected(field: Field, limits: Limits) -> str:
    if field.kind in ("seconds", "fraction", "whole"):
        what = {"seconds": "a number of seconds", "fraction": "a number", "whole": "a whole number"}
        least = f"above {field.least:g}" if field.above else f"from {field.least:g}"
        return f"{what[field.kind]} {least} to {_most(field, limits):.0f}"
    if field.kind == "choice":
        return f"one of {', '.join(field.choices)}"
    return _EXPECTED[field.kind]


def _no_such(service: str, name: str, known: Mapping[str, Field]) -> str:
    # To compare takes the longer the longer the name is, and whoever asks waits for it.
    near = get_close_matches(name[:40], known, n=1)
    if near:
        hint = f"; did you mean '{near[0]}'?"
    else:
        hint = f"; there are {', '.join(known)}" if known else "; it takes none"
    return f"{service} has no field '{name[:80]}'{hint}"


# ---------------------------------------------------------------- a value, or None if it is of another kind


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and ID_PATTERN.match(value) else None


def _token(value: Any) -> str | None:
    if not isinstance(value, str) or not value.isascii() or len(value) > TOKEN_BYTES_MAX:
        return None
    return value if job_id_of(value.encode()) is not None else None


def _number(value: Any) -> float | None:
    # The bound keeps out what no float can be; NaN is no larger and no smaller than anything.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18
    return float(value) if is_number else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _page(value: Any) -> int | None:
    is_page = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18
    return int(value) if is_page else None


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None


def _word(value: Any) -> str | None:
    is_word = isinstance(value, str) and value.isprintable() and 0 < len(value) <= WORD_MAX
    return value if is_word else None


def _moment(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.timestamp() if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


_CHECKS: dict[str, Any] = {
    "id": _id,
    "service": lambda value: value if isinstance(value, str) else None,
    "token": _token,
    "seconds": _number,
    "fraction": _number,
    "whole": _whole,
    "page": _page,
    "flag": lambda value: value if isinstance(value, bool) else None,
    "text": lambda value: value if isinstance(value, str) else None,
    "name": _name,
    "word": _word,
    "time": _moment,
    "choice": lambda value: value if isinstance(value, str) else None,
    "value": lambda value: value,
}
_EXPECTED = {
    "id": "an id: 1 to 128 characters of A-Z a-z 0-9 . _ : -",
    "service": "the name of a service",
    "token": "the token that came with the job",
    "page": "the 'next' of the page before",
    "flag": "true or false",
    "text": "a text",
    "name": "a printable text",
    "word": f"a printable text of 1 to {WORD_MAX} characters",
    "time": "an ISO 8601 time with its zone, such as 2027-01-31T08:00:00Z",
    "value": "a JSON value",
}
