"""`[[schedules]]`: the recurring jobs of an installation, by the table of the core (core/schedule.py)."""

from __future__ import annotations

from datetime import date
from typing import Any

from zmws.core.amounts import seconds_in
from zmws.core.limits import Limits
from zmws.core.rows import ScheduleRow
from zmws.core.schedule import SCHEDULE, schedule_field, schedule_of
from zmws.core.table import shown
from zmws.cron import cron_fault, zone_fault
from zmws.errors import BadValue, OptionError
from zmws.settings.problems import Problems, Where
from zmws.wire.values import encode_json


def schedules_in(tables: Any, limits: Limits, problems: Problems) -> tuple[ScheduleRow, ...]:
    """The schedules of the file."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        text = "'schedules' must be tables in an array: write [[schedules]], in double brackets"
        problems.in_file(("schedules",), text)
        return ()
    if len(tables) > limits.schedules_max:
        text = f"there are {len(tables)} schedules, but at most {limits.schedules_max} are taken"
        problems.in_file(("schedules",), f"{text}; raise schedules_max of [broker]")
    schedules: dict[str, ScheduleRow] = {}
    for index, table in enumerate(tables):
        schedule = _schedule(("schedules", index), table, limits, problems)
        if schedule is None:
            continue
        if schedule.name in schedules:
            text = f"schedule name {shown(schedule.name)} is used twice; give each its own name"
            problems.in_file(("schedules", index, "name"), text)
        schedules[schedule.name] = schedule
    return tuple(schedules.values())


def _schedule(where: Where, table: dict[str, Any], limits: Limits, problems: Problems) -> ScheduleRow | None:
    before = len(problems)
    # A problem tells its line, and the name too: of many schedules it is what people know.
    name = table.get("name")
    told = f"schedule {shown(name)}: " if isinstance(name, str) else ""
    given: dict[str, Any] = {}
    for key, value in table.items():
        try:
            given[key] = schedule_field(key, _plain(key, value), limits)
        except OptionError as wrong:
            problems.in_file((*where, key), f"{told}{wrong}")
        except BadValue as wrong:
            problems.in_file((*where, key), f"{told}{wrong}; write it as a text")
    for key, fault_in in (("cron", cron_fault), ("zone", zone_fault)):
        if key in given and (fault := fault_in(given[key])) is not None:
            problems.in_file((*where, key), f"{told}{fault}")
    if len(problems) > before:
        return None
    try:
        return schedule_of(given, limits, anchor=0.0, fixed=True)
    except OptionError as wrong:
        problems.in_file((*where, *wrong.option.split(".")), f"{told}{wrong}")
        return None


def _plain(key: str, value: Any) -> Any:
    """A value as JSON has it: seconds for "10 min", a text for a time. Raises OptionError, BadValue."""
    if key == "until" and isinstance(value, date):
        return value.isoformat()
    if key in SCHEDULE and SCHEDULE[key].kind == "seconds" and isinstance(value, str):
        seconds = seconds_in(value)
        if seconds is None:
            text = 'a number of seconds, or a text such as "90 s", "10 min", "1h30m" or "2 d"'
            raise OptionError(key, f"'{key}' is {shown(value)}, but must be {text}")
        return seconds
    encode_json(value, key)
    return value
