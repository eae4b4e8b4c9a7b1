"""What may be asked of the services inside the broker: one table of their fields.

Rule 1: a question reaches its handler checked: every field has its type and its range, what was not given has
        its default or is absent, and null is not given, but where a row says that it is a value.
Rule 2: core/table.py checks them: a refusal names the field, its value and what it must be.
Rule 3: whole numbers fit into 64 bits: the store knows no others. The users' own values pass as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zmws.core import table
from zmws.core.desk.changes import CHANGES
from zmws.core.key import KINDS, ROLES
from zmws.core.limits import Limits
from zmws.core.options import JOB_OPTIONS, LIMITS
from zmws.core.rows import BATCH_STATES
from zmws.core.schedule import SCHEDULE
from zmws.core.states import STATES
from zmws.core.table import Row
from zmws.errors import BadJson
from zmws.wire.values import json_in

WHOLE_MAX = 2**63 - 1
SCHEDULE_VERBS = ("add", "pause", "resume", "run", "remove")
REPORTS = ("progress", "partial", "log", "save", "complete", "fail", "release")


class BadQuestion(Exception):
    """A question cannot be answered as it is; the message says what is wrong with it."""


_ID = Row("id", needed=True)
_SERVICE = Row("service", needed=True)
_TOKEN = Row("token", needed=True)
_SECONDS = Row("seconds", above_low=True)
_TEXT, _FLAG, _VALUE = Row("text"), Row("flag"), Row("value")
_FILTER = {
    "service": Row("name"),
    "state": Row("choice", choices=STATES),
    "group": Row("name"),
    "since": Row("time"),
    "before": Row("time"),
    "cause": Row("key"),
    "parent": Row("id"),
    "chain": Row("id"),
    "batch": Row("id"),
    "submitter": Row("word"),
}
# Of all that change something: the asker's id for the question (asks.py), and who acts (audit.py).
_ASK = {"ask": Row("word"), "by": Row("word")}
_MANY = {"id": Row("id"), **_FILTER, "all": _FLAG, "dry_run": _FLAG, **_ASK}
_OF_SERVICE = {"service": _SERVICE, **_ASK}

QUESTIONS: dict[str, dict[str, Row]] = {
    "zmws.hello": {},
    "zmws.job": {"id": _ID},
    "zmws.wait": {"id": _ID, "timeout": Row("seconds", default=30.0, high="wait_s_max")},
    "zmws.events": {
        "id": _ID,
        "after": Row("int", default=0, high=WHOLE_MAX),
        "timeout": Row("seconds", default=0.0, high="wait_s_max"),
        "life": Row("word", null=True),
    },
    "zmws.stack": {"id": _ID, "timeout": Row("seconds", default=5.0, high="wait_s_max")},
    "zmws.jobs": {
        **_FILTER,
        "limit": Row("int", default=100, low=1, high="list_rows_max"),
        "cursor": Row("page"),
        "memory": _FLAG,
        "q": Row("key"),
        "places": Row("choice", choices=("all", "names")),
    },
    "zmws.cancel": _MANY,
    "zmws.retry": _MANY,
    "zmws.delete": _MANY,
    "zmws.purge": _OF_SERVICE,
    "zmws.pause": _OF_SERVICE,
    "zmws.resume": _OF_SERVICE,
    "zmws.forget": _OF_SERVICE,
    "zmws.limit": {
        **_OF_SERVICE,
        **{name: replace(row, null=True) for name, row in LIMITS.items()},
        "paused": _FLAG,
        "version": Row("word"),
    },
    "zmws.copy": {
        **{name: row for name, row in JOB_OPTIONS.items() if name != "id"},
        "id": _ID,
        "new_id": Row("id"),
        "service": Row("service"),
        "params": _VALUE,
        "params_base64": _TEXT,
        **_ASK,
    },
    "zmws.peek": {"service": _SERVICE, "limit": Row("int", default=10, low=1, high="list_rows_max")},
    "zmws.drain": {"worker": Row("name"), "service": Row("service"), **_ASK},
    "zmws.lease": {
        "service": _SERVICE,
        "lease": Row("id", needed=True),
        "wait": Row("seconds", default=0.0, high="wait_s_max"),
        "ttr": _SECONDS,
        "by": _ASK["by"],
    },
    "zmws.extend": {"token": _TOKEN, "seconds": Row("seconds", needed=True, above_low=True), **_ASK},
    "zmws.report": {
        "token": _TOKEN,
        "kind": Row("choice", needed=True, choices=REPORTS),
        "done": Row("number", high=1),
        "text": _TEXT,
        "value": _VALUE,
        "value_base64": _TEXT,
        "result": _VALUE,
        "result_base64": _TEXT,
        "code": _TEXT,
        "error": _TEXT,
        "type": _TEXT,
        "traceback": _TEXT,
        "cause": _VALUE,
        "retry": Row("flag", default=True),
        "delay": Row("seconds"),
        "enqueue": _VALUE,
        **_ASK,
    },
    "zmws.open": {
        "id": Row("id"),
        "then": _VALUE,
        "failed": _VALUE,
        "keep": Row("seconds"),
        "meta": Row("object"),
        "group": Row("key"),
        **_ASK,
    },
    "zmws.close": {"id": _ID, **_ASK},
    "zmws.batch": {"id": _ID, "timeout": Row("seconds", default=0.0, high="wait_s_max")},
    "zmws.batches": {
        "state": Row("choice", choices=BATCH_STATES),
        "limit": Row("int", default=100, low=1, high="list_rows_max"),
        "cursor": Row("page"),
    },
    "zmws.schedules": {"name": Row("name")},
    "zmws.schedule": {
        "do": Row("choice", needed=True, choices=SCHEDULE_VERBS),
        "replace": _FLAG,
        **SCHEDULE,
        "name": replace(SCHEDULE["name"], needed=True),
        **_ASK,
    },
    "zmws.family": {"id": _ID, "limit": Row("int", default=1000, low=1, high="list_rows_max")},
    "zmws.series": {
        "service": Row("service"),
        "step": Row("choice", choices=("second", "minute", "hour"), default="second"),
        "since": Row("time"),
        "before": Row("time"),
        "figures": Row("text"),
    },
    "zmws.mark": {"text": Row("key", needed=True), "service": Row("service"), **_ASK},
    "zmws.failures": {
        "service": Row("service"),
        "limit": Row("int", default=100, low=1, high="list_rows_max"),
        "cursor": Row("key"),
    },
    "zmws.why": {"id": _ID},
    "zmws.lanes": {
        "since": Row("time"),
        "worker": Row("name"),
        "service": Row("service"),
        "limit": Row("int", default=50, low=1, high=100),
        "step": Row("seconds", default=1.0),
    },
    "zmws.acted": {
        "outcome": Row("word", default="done"),
        "verb": Row("verb", needed=True),
        "on": Row("key", needed=True),
        "detail": Row("object"),
        **_ASK,
        "by": Row("word", needed=True),
    },
    "zmws.audit": {
        "by": Row("word"),
        "verb": Row("verb"),
        "on": Row("key"),
        "since": Row("time"),
        "before": Row("time"),
        "limit": Row("int", default=100, low=1, high="list_rows_max"),
        "cursor": Row("page"),
    },
    "zmws.keys": {"unless": Row("word")},
    "zmws.key": {
        "do": Row("choice", needed=True, choices=("new", "change", "revoke")),
        "name": Row("word", needed=True),
        "kind": Row("choice", choices=KINDS),
        "proof": _TEXT,
        "role": Row("choice", choices=tuple(ROLES)),
        "services": _VALUE,
        "rights": Row("object"),
        "group": Row("key", null=True),
        "rate": Row("number", above_low=True, high=1e9, null=True),
        "bytes_rate": Row("number", above_low=True, high=1e15, null=True),
        "waiting_max": Row("int", low=1, high=WHOLE_MAX, null=True),
        "connections_max": Row("int", low=1, high=1_000_000, null=True),
        **_ASK,
    },
    "zmws.warnings": {},
    "zmws.metrics": {},
    "zmws.services": {},
    "zmws.service": {"service": _SERVICE},
    "zmws.workers": {},
    "zmws.stats": {},
}


assert {name for name, fields in QUESTIONS.items() if "ask" in fields} == CHANGES


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
        if name not in known:
            raise BadQuestion(table.no_such(name, f"field of {service}", known))
        if value is None:
            if known[name].null:
                told[name] = None
            continue
        try:
            told[name] = table.checked(f"'{name}'", known[name], value, _high(known[name], limits))
        except table.Unfit as wrong:
            raise BadQuestion(str(wrong)) from None
    for name, row in known.items():
        if name in told:
            continue
        if row.needed:
            raise BadQuestion(f"{service} needs '{name}', {table.expected(row, _high(row, limits))}")
        if row.default is not None:
            high = _high(row, limits)
            told[name] = row.default if high is None else min(row.default, high)
    return told


def _high(row: Row, limits: Limits) -> table.Number | None:
    """The bound, where a limit says it."""
    return getattr(limits, row.high) if isinstance(row.high, str) else None
