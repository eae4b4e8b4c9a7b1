"""The definition of a recurring job: what may be said of it, and whether it can be (docs/options.md).

Rule 1: one table, read by the settings (`[[schedules]]`) and by the broker (`zmws.schedule`), as that of the
        options of jobs is.
Rule 2: whether an expression of cron and a time zone can be is not for the core to say: who calls looks
        (zmws/cron.py), for it takes a database of zones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from zmws.core.job import iso
from zmws.core.limits import Limits
from zmws.core.options import JOB_OPTIONS, job_options_of
from zmws.core.rows import ScheduleRow
from zmws.core.table import YEAR_END, Row, Unfit, checked, no_such
from zmws.errors import BadJson, OptionError
from zmws.wire.names import is_reserved, service_name_fault
from zmws.wire.values import frames_of, shown

NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
MISSED = ("none", "once", "all")
OVERLAP = ("allow", "skip", "cancel")
MISSED_MAX = 100
JITTER_S_MAX = 86_400.0


def check_name(value: Any) -> None:
    """Whether it can be the name of a schedule: ids of jobs are made of it. Raises ValueError that says what
    it must be."""
    if not isinstance(value, str) or NAME_PATTERN.match(value) is None:
        raise ValueError("a name of 1 to 64 characters of A-Z a-z 0-9 . _ -")


SCHEDULE: dict[str, Row] = {
    "name": Row("parsed", "its name, 1 to 64 characters of A-Z a-z 0-9 . _ -", parse=check_name),
    "service": Row("service", "whose jobs it makes"),
    "params": Row("value", "the parameters of each job"),
    "params_base64": Row("text", "or those that are bytes, in base64"),
    "options": Row("object", "the options of each job"),
    "cron": Row(
        "key", "when: minute, hour, day of the month, month, day of the week; or @daily and the like"
    ),
    "every": Row("seconds", "or so many seconds from one to the next", 1),
    "zone": Row("word", "the time zone of cron, such as Europe/Berlin; UTC, unless given"),
    "missed": Row("choice", "what of the times at which no broker ran is made up for", choices=MISSED),
    "missed_max": Row("int", "of all of them, so many, the newest", 1, "schedule_missed_max"),
    "overlap": Row("choice", "what to do while its last job has not ended", choices=OVERLAP),
    "jitter": Row("seconds", "each time is late by up to so many seconds, by chance", high=JITTER_S_MAX),
    "until": Row("time", "no more after this time", high=YEAR_END),
    "paused": Row("flag", "true: it makes none until it is resumed"),
}
# Each job has an id of its own, no other time than the schedule's, and is on disk before it counts as made.
_NOT_OPTIONS = {
    "id": "each of its jobs is given one",
    "at": "the schedule says when",
    "batch": "a batch is closed some day, and a schedule goes on",
}
_OPTIONS = tuple(name for name in JOB_OPTIONS if name not in _NOT_OPTIONS)


def schedule_field(name: str, value: Any, limits: Limits) -> Any:
    """One field of a definition in its type, times as seconds since 1970. Raises OptionError."""
    if name not in SCHEDULE:
        raise OptionError(name, no_such(name, "setting of a schedule", SCHEDULE))
    row = SCHEDULE[name]
    high = getattr(limits, row.high) if isinstance(row.high, str) else None
    try:
        return checked(f"'{name}'", row, value, high)
    except Unfit as wrong:
        raise OptionError(name, str(wrong)) from None


def schedule_of(
    given: Mapping[str, Any], limits: Limits, *, anchor: float, fixed: bool = False, by: str | None = None
) -> ScheduleRow:
    """The schedule that these fields define. Each has been checked by its row (`schedule_field`); null is not
    given. `anchor`: the wall time from which `every` counts; `fixed`: it stands in the settings.

    Raises OptionError; of what is wrong with an option, `option` is `options.NAME`.
    """
    held = {name: given[name] for name in SCHEDULE if given.get(name) is not None}
    for name in ("name", "service"):
        if name not in held:
            raise OptionError(name, f"a schedule needs '{name}'")
    service = held["service"]
    fault = service_name_fault(service)
    if is_reserved(service):
        fault = f"the service name '{service}' is reserved for the broker itself"
    if fault is not None:
        raise OptionError("service", fault)
    _check_times(held)
    options = _options(held.get("options", {}), held.get("overlap"), held.get("jitter", 0.0))
    body = _body(held, limits)
    # The row's own defaults hold for what is not given.
    more = {
        name: held[name]
        for name in ("cron", "every", "zone", "missed", "overlap", "jitter", "until", "paused")
        if name in held
    }
    missed_max = held.get("missed_max", min(MISSED_MAX, limits.schedule_missed_max))
    return ScheduleRow(
        name=held["name"],
        service=service,
        body=body,
        options=json.dumps(options),
        missed_max=missed_max,
        fixed=fixed,
        anchor=anchor,
        by=by,
        **more,
    )


def definition(row: ScheduleRow) -> dict[str, Any]:
    """The fields of a definition as people and programs are shown them."""
    params, kind = shown(row.body, params=True)
    return {
        "name": row.name,
        "service": row.service,
        "params": params,
        "params_kind": kind,
        "options": json.loads(row.options),
        "cron": row.cron,
        "every": row.every,
        "zone": row.zone,
        "missed": row.missed,
        "missed_max": row.missed_max,
        "overlap": row.overlap,
        "jitter": row.jitter,
        "until": iso(row.until),
        "paused": row.paused,
    }


def _check_times(held: Mapping[str, Any]) -> None:
    cron, every = held.get("cron"), held.get("every")
    if cron is None and every is None:
        text = "a schedule needs 'cron', such as \"30 8 * * *\", or 'every', a number of seconds"
        raise OptionError("cron", text)
    if cron is not None and every is not None:
        raise OptionError("every", "give 'cron' or 'every', not both")
    if every is None:
        return
    if held.get("zone", "UTC") != "UTC":
        raise OptionError(
            "zone", "'zone' is for 'cron'; 'every' counts seconds, which are alike in all zones"
        )
    jitter = held.get("jitter", 0.0)
    if jitter >= every:
        raise OptionError("jitter", f"'jitter' is {jitter:g} s, but must be below 'every', {every:g} s")


def _options(given: Mapping[str, Any], overlap: str | None, jitter: float) -> dict[str, Any]:
    """The options of each job, without those that are null."""
    options = {name: value for name, value in given.items() if value is not None}
    for name, why in _NOT_OPTIONS.items():
        if name in options:
            raise OptionError(f"options.{name}", f"option '{name}' is not for a schedule: {why}")
    for name in options:
        if name not in _OPTIONS:
            text = no_such(name, "option of the jobs of a schedule", _OPTIONS)
            raise OptionError(f"options.{name}", text)
    try:
        checked_options = job_options_of(options)
    except OptionError as wrong:
        raise OptionError(f"options.{wrong.option}", str(wrong)) from None
    if options.get("durability") == "memory":
        # What fires exactly once is the commit that makes the job.
        text = "option 'durability' is 'memory', but the jobs of a schedule are on disk"
        raise OptionError("options.durability", text)
    if "unique" in options and overlap == "skip":
        text = "option 'unique' and overlap 'skip' do not go together: 'skip' is such a key of its own"
        raise OptionError("options.unique", text)
    wait, expires = (checked_options.delay or 0.0) + jitter, checked_options.expires
    if expires is not None and wait >= expires:
        late = "'delay' and 'jitter' together are" if jitter else "'delay' is"
        text = f"its jobs can only expire: {late} {wait:g} s, and 'expires' {expires:g} s"
        raise OptionError("options.expires", text)
    return options


def _body(held: Mapping[str, Any], limits: Limits) -> tuple[bytes, ...]:
    if "params" in held and "params_base64" in held:
        raise OptionError("params_base64", "give 'params' or 'params_base64', not both")
    try:
        body = frames_of(held, "params")
    except BadJson as wrong:
        raise OptionError("params_base64", str(wrong)) from None
    most = limits.schedule_bytes_max
    if sum(map(len, body)) > most:
        raise OptionError("params", f"the parameters are larger than {most} bytes (schedule_bytes_max)")
    return body


assert {name for name, row in SCHEDULE.items() if isinstance(row.high, str)} == {"missed_max"}
