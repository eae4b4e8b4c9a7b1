"""When a cron expression fires: its next time in a time zone, and what is wrong with one.

Rule 1: cronsim reads the expression and walks the clock on the wall, which knows no zone. Which moment is
        meant by what that clock shows is decided here: cronsim is wrong where the clock changes by less than
        an hour, and when it is asked within the hour that comes twice (decision 105).
Rule 2: as Debian's cron has it. An expression of fixed times (neither its minute nor its hour begins with a
        star) fires once for each of them: where the clock jumps over one, at the end of the jump; where one
        comes twice, at the first. Any other fires whenever the clock shows what it says: in no hour that is
        left out, and in both that are alike.
Rule 3: neither cronsim nor zoneinfo is loaded before somebody has an expression: `zmws call` must start fast.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING

from zmws.core.table import did_you_mean, nearest, shown, unfit

if TYPE_CHECKING:
    from cronsim import CronSim

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
CRON_CHARS_MAX = 255
KNOWN_MAX = 2_000  # expressions whose reading is kept

# The fields, and what may stand in each.
_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, L (the last day) or LW (the last weekday)"),
    ("month", "1-12 or JAN-DEC"),
    (
        "day of the week",
        "0-7 (0 and 7 are Sunday), SUN-SAT, 5L (the last Friday) or MON#1 (the first Monday)",
    ),
)
_FIVE = "five fields (minute, hour, day of the month, month, day of the week), such as '30 8 * * MON-FRI'"
# No path out of the database, and none of the files beside the zones in it: posix/, right/, localtime.
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]{0,63}(/[A-Za-z0-9_+-]{1,64}){0,3}")
_OFFSET = re.compile(r"[+-] ?[0-9]")
_MINUTE = timedelta(minutes=1)


def next_time(cron: str, zone: str, after: float) -> float | None:
    """The first time after `after` at which the expression fires in this zone, None where there is none any
    more, within fifty years. Times are seconds since 1970. Raises ValueError, as `fault_of` says it."""
    form, where = _form(cron), _zone(zone)
    try:
        begin = math.floor(after)
        at = _next_fixed(form, where, begin) if _is_fixed(form) else _next_shown(form, where, begin)
    except (ValueError, OverflowError, OSError):  # past the year 9999, or no time at all
        return None
    return None if at is None else float(at)


def fault_of(cron: str, zone: str) -> str | None:
    """What is wrong with an expression and its zone, or None."""
    return cron_fault(cron) or zone_fault(zone)


def cron_fault(cron: str) -> str | None:
    """What is wrong with an expression, or None."""
    try:
        _form(cron)
    except ValueError as wrong:
        return str(wrong)
    return None


def zone_fault(zone: str) -> str | None:
    """What is wrong with the name of a zone, or None."""
    try:
        _zone(zone)
    except ValueError as wrong:
        return str(wrong)
    return None


# ---------------------------------------------------------------- the walk


def _is_fixed(form: CronSim) -> bool:
    return not form.parts[1].startswith("*") and not form.parts[2].startswith("*")


def _walls(form: CronSim, after: datetime) -> Iterator[datetime]:
    """What the clock on the wall shows when the expression fires, from `after` on: times without a zone."""
    walk = copy.copy(form)  # it holds nothing but the place where it is, and what is never changed
    walk.dt = after
    return walk


def _next_fixed(form: CronSim, zone: tzinfo, after: int) -> float | None:
    # Later on the wall is later or the same moment (in a jump), so whatever was shown before is over.
    for wall in _walls(form, _shown(after, zone)):
        at = _moment(wall, zone)
        while _shown(at, zone) != wall:  # the clock jumps over it
            wall += _MINUTE
            at = _moment(wall, zone)
        if at > after:
            return at
    return None


def _next_shown(form: CronSim, zone: tzinfo, after: int) -> float | None:
    wall = _shown(after, zone)
    at = _first_shown(form, zone, wall, after, (0, 1))
    first, second = wall.replace(tzinfo=zone, fold=0), wall.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return at
    # In the first of two hours that are alike, what was shown in it comes once more.
    back = (first.utcoffset() or timedelta()) - (second.utcoffset() or timedelta())
    again = _first_shown(form, zone, wall - back, after, (1,))
    return min((one for one in (at, again) if one is not None), default=None)


def _first_shown(
    form: CronSim, zone: tzinfo, wall: datetime, after: int, folds: tuple[int, ...]
) -> float | None:
    """The first moment after `after` at which the clock shows a time past `wall` of the expression."""
    for shows in _walls(form, wall):
        for fold in folds:
            at = _moment(shows, zone, fold)
            if at > after and _shown(at, zone) == shows:
                return at
    return None


def _shown(at: float, zone: tzinfo) -> datetime:
    """What the clock on the wall shows, without a zone."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)


def _moment(wall: datetime, zone: tzinfo, fold: int = 0) -> float:
    """When the clock shows this; `fold` 1: for the second time, where it does so twice."""
    return wall.replace(tzinfo=zone, fold=fold).timestamp()


# ---------------------------------------------------------------- expression and zone, as they are written


@lru_cache(maxsize=KNOWN_MAX)
def _form(cron: str) -> CronSim:
    """The expression, read. Raises ValueError that says what is wrong with it."""
    from cronsim import CronSim, CronSimError

    if len(cron) > CRON_CHARS_MAX:
        raise unfit("cron", cron, f"a text of at most {CRON_CHARS_MAX} characters")
    if cron.startswith("@"):
        if cron not in NICKNAMES:
            raise ValueError(f"cron is {shown(cron)}, which is no name{did_you_mean(cron, NICKNAMES)}")
        cron = NICKNAMES[cron]
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        raise unfit("cron", cron, f"{_FIVE}, or one of {', '.join(NICKNAMES)}")
    some = datetime(2000, 1, 1)
    for n, (name, may_be) in enumerate(_FIELDS):
        alone = ["*"] * len(_FIELDS)
        alone[n] = fields[n]
        try:
            CronSim(" ".join(alone), some)
        except CronSimError:
            text = f"cron is {shown(cron)}, but its {name} cannot be {shown(fields[n])}"
            more = "as one, a list (1,3), a range (1-5) or with a step (*/2)"
            raise ValueError(f"{text}; it may be {may_be}, {more}") from None
    never = f"cron is {shown(cron)}, but there is no such day"
    try:
        form = CronSim(cron, some)
    except CronSimError:  # each field may be, and all months of it have fewer days
        raise ValueError(never) from None
    if next(_walls(form, some), None) is None:
        raise ValueError(f"{never} in fifty years")
    return form


@lru_cache(maxsize=KNOWN_MAX)
def _zone(name: str) -> tzinfo:
    """The zone of this name. Raises ValueError that says what is wrong with it."""
    if name == "UTC":
        return UTC  # it is there without a database, too
    from zoneinfo import ZoneInfo, available_timezones

    if _ZONE.fullmatch(name):
        # KeyError: there is none; OSError: it is a folder; ValueError: the file is something else.
        try:
            return ZoneInfo(name)
        except (KeyError, OSError, ValueError):
            pass
    known = {one for one in available_timezones() if _ZONE.fullmatch(one)}
    if not known:
        text = "this machine has no database of time zones; install its package tzdata (pip or the system's)"
        raise ValueError(f"zone is {shown(name)}, but {text}")
    near = _nearest_zone(name, known)
    hint = "name one as IANA does, such as Europe/Berlin" if near is None else f"did you mean '{near}'?"
    raise ValueError(f"zone is {shown(name)}, but there is no such time zone; {hint}")


def _nearest_zone(name: str, known: set[str]) -> str | None:
    """By its own letters, or by those of the city alone: Berlin, europe/berlin. None for an offset: Etc/GMT+2
    is two hours behind UTC, and who writes GMT+2 means two hours before it."""
    if _OFFSET.search(name):
        return None
    lower = {one.lower(): one for one in sorted(known) if not _OFFSET.search(one)}
    for wanted in (name.lower().replace(" ", "_"), name.lower().rpartition("/")[2]):
        if wanted in lower:
            return lower[wanted]
        cities = {one.rpartition("/")[2]: one for one in lower}
        if wanted in cities:
            return lower[cities[wanted]]
    near = nearest(name.lower(), lower)
    return None if near is None else lower[near]
