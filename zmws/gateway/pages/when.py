"""When a schedule fires, in words and as its next times.

Rule 1: words are said only where they say all of it; of what is more than that the expression stands alone.
Rule 2: the next times are as the broker computes them (zmws/cron.py); it says the very next itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zmws.cron import NICKNAMES, next_time
from zmws.gateway.pages.shown import moment, span

TIMES_SHOWN = 5
_CLOCKS_MAX = 4  # times of a day that are named one by one
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)


def in_words(row: Mapping[str, Any]) -> str:
    """When a schedule fires; "" where that takes more words than its expression."""
    if row["every"] is not None:
        every = row["every"]
        whole = every < 60 and every == int(every)
        return f"every {'second' if every == 1 else f'{int(every)} s' if whole else span(every)}"
    fields = NICKNAMES.get(row["cron"].lower(), row["cron"]).upper().split()
    if len(fields) != 5:
        return ""
    clock, days = _clock(fields[0], fields[1]), _days(*fields[2:])
    if clock is None or days is None:
        return ""
    if clock.startswith("at"):
        return f"{days} {clock}"
    return clock if days == "every day" else f"{days}, {clock}"


def _clock(minute: str, hour: str) -> str | None:
    minutes, hours = _numbers(minute), _numbers(hour)
    if minutes is not None and hours is not None and len(minutes) * len(hours) <= _CLOCKS_MAX:
        return "at " + _listed([f"{h:02d}:{m:02d}" for h in hours for m in minutes])
    every_minutes, every_hours = _step(minute, 60), _step(hour, 24)
    if every_minutes is not None and hour == "*":
        return "every minute" if every_minutes == 1 else f"every {every_minutes} minutes"
    if minutes is not None and len(minutes) == 1 and every_hours is not None:
        each = "every hour" if every_hours == 1 else f"every {every_hours} hours"
        return each if minutes == [0] else f"{each} at minute {minutes[0]}"
    return None


def _days(of_month: str, month: str, of_week: str) -> str | None:
    months = "" if month == "*" else _named(month, ("", *_MONTHS), 3)
    if months is None:
        return None
    behind = f" of {months}" if months else " of each month"
    if of_month == "*" and of_week == "*":
        return f"every day in {months}" if months else "every day"
    if of_week == "*":
        numbers = _numbers(of_month)
        if of_month == "L":
            return "on the last day" + behind
        return None if numbers is None else f"on day {_listed([str(one) for one in numbers])}{behind}"
    week = _named(of_week, (*_DAYS, "Sunday"), 3)
    if of_month != "*" or week is None:
        return None
    return week + (f" in {months}" if months else "")


def _numbers(text: str) -> list[int] | None:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 3 for part in parts):
        return None
    return sorted({int(part) for part in parts})


def _step(text: str, of: int) -> int | None:
    """The n of `*/n`, where it divides the hour or the day; 1 of `*`."""
    if text == "*":
        return 1
    step = text.removeprefix("*/")
    if step == text or not (step.isascii() and step.isdigit() and len(step) < 3) or int(step) == 0:
        return None
    return int(step) if of % int(step) == 0 else None


def _named(text: str, names: tuple[str, ...], letters: int) -> str | None:
    """Names of days or months for their numbers, or their first letters."""
    found = []
    for part in text.split(","):
        ends = [_name(end, names, letters) for end in part.split("-")]
        if None in ends or len(ends) > 2:
            return None
        found.append(" to ".join(str(end) for end in ends))
    return _listed(found)


def _name(text: str, names: tuple[str, ...], letters: int) -> str | None:
    if text.isascii() and text.isdigit() and len(text) < 3:
        number = int(text)
        return (names[number] or None) if number < len(names) else None
    return next((name for name in names if name and name[:letters].upper() == text), None)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def next_times(row: Mapping[str, Any]) -> list[str]:
    """Its next times in ISO 8601, also of one that is paused. `next_at`: as the broker has said it."""
    until = math.inf if row["until"] is None else moment(row["until"]).timestamp()
    found = [] if row["next_at"] is None else [moment(row["next_at"]).timestamp()]
    after = found[-1] if found else time.time()
    while len(found) < TIMES_SHOWN:
        at = after + row["every"] if row["every"] is not None else next_time(row["cron"], row["zone"], after)
        if at is None or at > until:
            break
        found.append(at)
        after = at
    return [datetime.fromtimestamp(at, UTC).isoformat() for at in found]
