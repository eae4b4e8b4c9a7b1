"""Targets: what may be asked of the services inside the broker, and which options may be given."""

from __future__ import annotations

import math
from typing import Any

from tests.fuzz.target import REFUSED, Target, taken
from tests.fuzz.wire import JSON_WORDS
from zmws.core import table
from zmws.core.desk.questions import QUESTIONS, BadQuestion, checked, question_body
from zmws.core.limits import Limits
from zmws.core.options import JOB_OPTIONS, job_options, job_options_of, worker_options
from zmws.core.schedule import SCHEDULE, definition, schedule_field, schedule_of
from zmws.core.table import Row
from zmws.errors import OptionError

LIMITS = Limits()
REFUSAL_CHARS_MAX = 2_000  # it names all there are, where none is near


def check_questions(data: bytes) -> None:
    """A body is asked of every service."""
    for service in QUESTIONS:
        asked = taken(BadQuestion, question_body, service, tuple(data.split(b"\n")), LIMITS)
        if asked is REFUSED:
            return
        for one in asked if isinstance(asked, list) else [asked]:
            told = _short(BadQuestion, checked, service, one, LIMITS)
            if told is not REFUSED:
                for name, value in told.items():
                    _check_value(QUESTIONS[service][name], value)


def _short(refusal: type[Exception], parser: Any, *given: Any, **more: Any) -> Any:
    """As `taken`; a refusal is a short text that can be sent."""

    def asked(*given: Any, **more: Any) -> Any:
        try:
            return parser(*given, **more)
        except refusal as why:
            assert len(str(why)) < REFUSAL_CHARS_MAX, len(str(why))
            str(why).encode()
            raise

    return taken(refusal, asked, *given, **more)


def _check_value(row: Row, value: Any) -> None:
    """What has been let through can be kept: whole numbers in 64 bits, times and others that are numbers."""
    if row.kind in ("value", "object", "parsed") or value is None:
        return
    if isinstance(value, int):
        assert -(2**63) <= value < 2**63, value
    elif isinstance(value, float):
        assert math.isfinite(value), value
    elif row.kind not in ("text", "service"):
        value.encode()


def check_options(data: bytes) -> None:
    """A text as options of a job, as defaults of a worker, and as the definition of a schedule."""
    options = _short(OptionError, job_options, data)
    if options is not REFUSED:
        for name, row in JOB_OPTIONS.items():
            _check_value(row, getattr(options, name))
    asked = taken(BadQuestion, question_body, "zmws.schedule", (data,), LIMITS)
    _short(OptionError, job_options_of, asked)
    _short(OptionError, worker_options, asked)
    if not isinstance(asked, dict):
        return
    given = {name: _short(OptionError, schedule_field, name, value, LIMITS) for name, value in asked.items()}
    given = {name: value for name, value in given.items() if value is not REFUSED}
    row = _short(OptionError, schedule_of, given, LIMITS, anchor=1e9)
    if row is not REFUSED:
        taken((), definition, row)
    for name, row_of_name in {**JOB_OPTIONS, **SCHEDULE}.items():
        if isinstance(text := asked.get(name), str):
            taken((), table.value_in, row_of_name, text)


_WORDS = (
    *JSON_WORDS,
    *(f'"{name}": '.encode() for name in dict.fromkeys(name for rows in QUESTIONS.values() for name in rows)),
    *(
        b'"complete"',
        b'"disk"',
        b'"2030-01-01T00:00:00Z"',
        b'"0001-01-01T00:00:00+23:59"',
        b'"j1/1/n"',
        b'"1 MiB"',
    ),
    *(
        b'"@daily"',
        b'"off"',
        b'"SYNC-"',
        b'"zmws.job"',
        b'"9999-12-31T23:59:59.999999-23:59"',
        b'"E"',
        b"1e308",
    ),
)

ASKED = Target(
    "questions",
    check_questions,
    _WORDS,
    (
        b'{"id": "a1", "timeout": 5, "by": "me", "ask": "a"}',
        b'{"service": "E", "state": "failed", "since": "2030-01-01T00:00:00Z", "limit": 10, "cursor": "5"}',
        b'{"token": "j1/1/n", "kind": "complete", "result": {"a": 1}, "delay": 1.5}',
        b'{"do": "add", "name": "n", "service": "E", "every": 5, "options": {"retries": 1}}',
        b'{"verb": "stop", "on": "broker", "by": "me", "detail": {}}',
        b'{"worker": "w", "since": "2030-01-01T00:00:00Z", "limit": 5, "step": 0.5}',
        b'{"service": "E", "max_running": null, "rate": 5, "paused": true}',
    ),
)
OPTIONS = Target(
    "options",
    check_options,
    _WORDS,
    (
        b'{"id": "a1", "priority": 5.0, "at": "2030-01-01T00:00:00Z", "meta": {"a": 1}, "on_failed": "E"}',
        b'{"ttr": 5, "retries": 3, "backoff": 1.5, "expires": 9, "unique": "k", "durability": "disk"}',
        b'{"name": "n", "service": "E", "cron": "* * * * *", "zone": "Europe/Berlin", "params": {"a": 1}}',
        b'{"name": "n", "service": "E", "every": 5, "jitter": 1, "until": "2030-01-01T00:00:00Z"}',
    ),
)
