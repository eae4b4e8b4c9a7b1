"""zmws.cron: when an expression fires in a zone, also where the clock changes; and what a wrong one is told.

The oracle looks at each minute there is. It knows each expression as a condition on what the clock shows.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from zmws.cron import NICKNAMES, cron_fault, fault_of, next_time, zone_fault

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
ZONES = (BERLIN, NEW_YORK, LORD_HOWE)
MINUTE, DAY = 60, 86_400
Shows = Callable[[datetime], bool]

# Neither minute nor hour begins with a star: each time once, whatever the clock does.
FIXED: dict[str, Shows] = {
    "30 2 * * *": lambda at: (at.hour, at.minute) == (2, 30),
    "0,15,45 1-3 * * *": lambda at: at.hour in (1, 2, 3) and at.minute in (0, 15, 45),
    "10 2 * * SUN": lambda at: (at.hour, at.minute, at.isoweekday()) == (2, 10, 7),
    "59 23 L * *": lambda at: (at.hour, at.minute, (at + timedelta(1)).day) == (23, 59, 1),
    "5 4 13 * FRI": lambda at: (at.hour, at.minute) == (4, 5) and (at.day == 13 or at.isoweekday() == 5),
}
# All others: whenever the clock shows it.
SHOWN: dict[str, Shows] = {
    "35 * * * *": lambda at: at.minute == 35,
    "*/20 2 * * *": lambda at: at.hour == 2 and at.minute % 20 == 0,
    "5 */2 * * *": lambda at: at.hour % 2 == 0 and at.minute == 5,
    "* 1 * 4,10 7": lambda at: at.hour == 1 and at.month in (4, 10) and at.isoweekday() == 7,
}
DENSE: dict[str, Shows] = {
    "* * * * *": lambda at: True,
    "*/7 * * * *": lambda at: at.minute % 7 == 0,
    "40-50 * * * *": lambda at: 40 <= at.minute <= 50,
}


def seconds(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """The moment at which the clock of the zone shows this."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def fired(cron: str, zone: str, begin: float, end: float) -> list[float]:
    """The times after `begin`, up to `end`, each asked for with the one before."""
    found: list[float] = []
    at = next_time(cron, zone, begin)
    while at is not None and at <= end:
        assert at > (found[-1] if found else begin)
        found.append(at)
        at = next_time(cron, zone, at)
    return found


def shown(cron: str, zone: str, begin: str, end: str) -> list[str]:
    """The same, as the clock of the zone has it, with its distance from UTC."""
    times = fired(cron, zone, seconds(begin, zone), seconds(end, zone))
    return [datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat(timespec="minutes") for at in times]


class Oracle:
    """Goes through every minute; each expression's times are gathered."""

    def __init__(self, zone: str, fixed: dict[str, Shows], others: dict[str, Shows]) -> None:
        self.zone, self.fixed, self.others = ZoneInfo(zone), fixed, others
        self.times: dict[str, list[float]] = {cron: [] for cron in (*fixed, *others)}

    def walk(self, begin: int, end: int) -> None:
        highest = datetime.fromtimestamp(begin, self.zone).replace(tzinfo=None)
        for at in range(begin + MINUTE, end + 1, MINUTE):
            now = datetime.fromtimestamp(at, self.zone).replace(tzinfo=None)
            for cron, is_it in self.others.items():
                if is_it(now):
                    self.times[cron].append(at)
            # What was never shown before is due now: one minute, or all that the clock has jumped over.
            while highest < now:
                highest += timedelta(minutes=1)
                for cron, is_it in self.fixed.items():
                    if is_it(highest) and self.times[cron][-1:] != [at]:
                        self.times[cron].append(at)


@pytest.mark.parametrize("zone", ZONES)
def test_over_two_years_no_time_is_left_out_and_none_comes_twice(zone: str) -> None:
    begin, end = int(seconds("2026-01-01T00:00:00")), int(seconds("2028-01-01T00:00:00"))
    oracle = Oracle(zone, FIXED, SHOWN)
    oracle.walk(begin, end)
    for cron, times in oracle.times.items():
        assert len(times) > 20, cron
        assert fired(cron, zone, begin, end) == times, cron


@pytest.mark.parametrize("zone", [*ZONES, "America/Santiago", "Africa/Casablanca"])
def test_about_each_change_of_the_clock_every_minute_is_right(zone: str) -> None:
    clock = ZoneInfo(zone)
    year = range(int(seconds("2026-01-01T00:00:00")), int(seconds("2027-01-01T00:00:00")), DAY)
    changes = [at for at in year if _offset(at, clock) != _offset(at + DAY, clock)]
    assert len(changes) == 2
    for at in changes:
        oracle = Oracle(zone, FIXED, {**SHOWN, **DENSE})
        oracle.walk(at - DAY, at + 2 * DAY)
        for cron, times in oracle.times.items():
            assert fired(cron, zone, at - DAY, at + 2 * DAY) == times, (cron, at)


def _offset(at: float, clock: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(at, clock).utcoffset()


@pytest.mark.parametrize("cron", ["30 2 * * *", "0,30 1-3 * * *", "35 * * * *", "*/15 2 * * *", "* * * * *"])
@pytest.mark.parametrize("zone", ZONES)
def test_from_whichever_moment_it_is_asked_it_is_the_first_after_that(cron: str, zone: str) -> None:
    for day in ("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"):
        begin = seconds(f"{day}T00:00:00", zone)
        times = fired(cron, zone, begin, begin + 2 * DAY)
        for minute in range(0, 6 * 60):
            for asked in (begin + minute * MINUTE, begin + minute * MINUTE + 31.5):
                after = next_time(cron, zone, asked)
                assert after == next(at for at in times if at > asked), (cron, day, asked)


def test_a_fixed_time_that_the_clock_jumps_over_fires_at_the_end_of_the_jump() -> None:
    days = ("2026-03-28T12:00:00", "2026-03-30T12:00:00")
    assert shown("30 2 * * *", BERLIN, *days) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    days = ("2026-03-07T12:00:00", "2026-03-08T12:00:00")
    assert shown("0,30 2 * * *", NEW_YORK, *days) == ["2026-03-08T03:00-04:00"]
    days = ("2026-10-03T12:00:00", "2026-10-04T12:00:00")
    assert shown("15,45 2 * * *", LORD_HOWE, *days) == ["2026-10-04T02:30+11:00", "2026-10-04T02:45+11:00"]


def test_a_fixed_time_that_comes_twice_fires_the_first_time() -> None:
    days = ("2026-10-24T12:00:00", "2026-10-26T12:00:00")
    assert shown("30 2 * * *", BERLIN, *days) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    days = ("2026-10-31T12:00:00", "2026-11-01T12:00:00")
    assert shown("30 1 * * *", NEW_YORK, *days) == ["2026-11-01T01:30-04:00"]
    days = ("2026-04-04T12:00:00", "2026-04-05T12:00:00")
    assert shown("45 1 * * *", LORD_HOWE, *days) == ["2026-04-05T01:45+11:00"]


def test_who_asks_in_the_second_of_two_hours_is_told_no_time_of_the_first() -> None:
    after = seconds("2026-10-25T02:15:00", BERLIN, fold=1)
    assert next_time("30 2 * * *", BERLIN, after) == seconds("2026-10-26T02:30:00", BERLIN)
    assert next_time("*/30 2 * * *", BERLIN, after) == after + 15 * MINUTE


def test_what_runs_each_hour_runs_in_both_hours_that_are_alike_and_in_none_that_is_left_out() -> None:
    days = ("2026-10-25T01:00:00", "2026-10-25T04:00:00")
    assert shown("0 * * * *", BERLIN, *days) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
        "2026-10-25T04:00+01:00",
    ]
    days = ("2026-03-29T00:30:00", "2026-03-29T04:00:00")
    assert shown("@hourly", BERLIN, *days) == [
        "2026-03-29T01:00+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T04:00+02:00",
    ]
    # Half an hour is left out, and the minute that is asked for is not in it.
    days = ("2026-10-04T01:00:00", "2026-10-04T04:00:00")
    assert shown("35 * * * *", LORD_HOWE, *days) == [
        "2026-10-04T01:35+10:30",
        "2026-10-04T02:35+11:00",
        "2026-10-04T03:35+11:00",
    ]


def test_the_leap_day_and_the_end_of_each_month() -> None:
    span = ("2025-01-01T00:00:00", "2033-01-01T00:00:00")
    assert shown("0 12 29 2 *", "UTC", *span) == [
        "2028-02-29T12:00+00:00",
        "2032-02-29T12:00+00:00",
    ]
    days = [text[5:10] for text in shown("0 0 L * *", BERLIN, "2028-01-01T00:00:00", "2028-06-30T23:00:00")]
    assert days == ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30"]
    days = [text[5:10] for text in shown("0 0 31 * *", BERLIN, "2027-01-01T00:00:00", "2028-01-01T00:00:00")]
    assert days == ["01-31", "03-31", "05-31", "07-31", "08-31", "10-31", "12-31"]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("@hourly", "2026-07-15T11:00+02:00"),
        ("@daily", "2026-07-16T00:00+02:00"),
        ("@weekly", "2026-07-19T00:00+02:00"),
        ("@monthly", "2026-08-01T00:00+02:00"),
        ("@yearly", "2027-01-01T00:00+01:00"),
    ],
)
def test_names_for_what_is_often_wanted(name: str, first: str) -> None:
    assert name in NICKNAMES
    assert shown(name, BERLIN, "2026-07-15T10:20:00", "2027-01-02T00:00:00")[0] == first


def test_the_next_time_is_after_the_one_that_is_given_by_however_little() -> None:
    noon = seconds("2026-07-15T12:00:00")
    assert next_time("* * * * *", "UTC", noon) == noon + 60
    assert next_time("* * * * *", "UTC", noon - 0.001) == noon
    assert next_time("* * * * *", "UTC", noon + 59.999) == noon + 60
    assert next_time("0 12 * * *", "UTC", noon - 0.5) == noon
    assert next_time("0 12 * * *", "UTC", noon + 0.5) == noon + DAY


def test_where_there_is_no_time_any_more_there_is_none() -> None:
    assert next_time("0 0 * * *", "UTC", seconds("9999-12-31T12:00:00")) is None
    assert next_time("0 0 * * *", BERLIN, 1e20) is None
    assert next_time("0 0 * * *", BERLIN, float("inf")) is None
    assert next_time("0 0 29 2 *", BERLIN, float("nan")) is None
    # Every 29th of February that is a Monday comes again, but not within fifty years of 2072.
    assert next_time("0 0 * 2 MON#5", "UTC", seconds("2030-01-01T00:00:00")) == seconds("2044-02-29T00:00:00")


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * */20 * 1L"])
def test_an_expression_that_never_fires_is_wrong(cron: str) -> None:
    told = f"cron is '{cron}', but there is no such day"
    assert (cron_fault(cron) or "").startswith(told)
    with pytest.raises(ValueError, match="there is no such day"):
        next_time(cron, "UTC", 0.0)


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("0 8 * *", "must be five fields (minute, hour, day of the month, month, day of the week), such as"),
        ("0 0 8 * * *", "cron is '0 0 8 * * *', but must be five fields"),
        ("", "cron is '', but must be five fields"),
        ("60 8 * * *", "its minute cannot be '60'; it may be 0-59, as one, a list (1,3), a range"),
        ("0 22-2 * * *", "its hour cannot be '22-2'; it may be 0-23"),
        ("0 8 0 * *", "its day of the month cannot be '0'; it may be 1-31, L (the last day)"),
        ("0 8 * MAI *", "its month cannot be 'MAI'; it may be 1-12 or JAN-DEC"),
        ("0 8 * * MO", "its day of the week cannot be 'MO'; it may be 0-7 (0 and 7 are Sunday), SUN-SAT"),
        ("1,,2 * * * *", "its minute cannot be '1,,2'"),
        ("*/0 * * * *", "its minute cannot be '*/0'"),
        ("\0 * * * *", "its minute cannot be '\\x00'"),
        ("9" * 5000 + " * * * *", "but must be a text of at most 255 characters"),
        ("@dayly", "cron is '@dayly', which is no name; did you mean '@daily'?"),
        ("@reboot", "which is no name; there are @hourly, @daily, @weekly, @monthly, @yearly"),
    ],
)
def test_what_is_wrong_with_an_expression_is_told(cron: str, told: str) -> None:
    assert told in (cron_fault(cron) or "")
    assert fault_of(cron, "Nowhere") == cron_fault(cron)
    with pytest.raises(ValueError, match="cron is "):
        next_time(cron, "UTC", 0.0)


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Europe/Berlim", "'Europe/Berlim', but there is no such time zone; did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("utc", "did you mean 'UTC'?"),
        ("GMT+2", "there is no such time zone; name one as IANA does, such as Europe/Berlin"),
        ("utc-05:00", "there is no such time zone; name one as IANA does, such as Europe/Berlin"),
        ("Etc/GMT + 2", "there is no such time zone; name one as IANA does, such as Europe/Berlin"),
        ("gmt", "did you mean 'GMT'?"),
        ("America", "there is no such time zone"),
        ("right/Europe/Berlin", "did you mean 'Europe/Berlin'?"),
        ("../etc/passwd", "there is no such time zone"),
        ("/etc/localtime", "there is no such time zone"),
        ("", "name one as IANA does, such as Europe/Berlin"),
        ("A" * 5000, "there is no such time zone"),
        ("a\0b", "zone is 'a\\x00b', but there is no such time zone"),
    ],
)
def test_what_is_wrong_with_a_zone_is_told(zone: str, told: str) -> None:
    assert told in (zone_fault(zone) or "")
    assert fault_of("@daily", zone) == zone_fault(zone)
    with pytest.raises(ValueError, match="zone is "):
        next_time("@daily", zone, 0.0)


@pytest.mark.parametrize("zone", ["GMT2", "Etc/GMT2", "Etc/GMT", "etc/gmt13", "GTM+2", "GMT 2"])
def test_no_zone_of_a_fixed_offset_is_proposed(zone: str) -> None:
    assert not re.search(r"GMT[+-][0-9]", zone_fault(f"{zone}x") or "")
    assert not re.search(r"'(Etc/)?GMT[+-][0-9]+'\?", zone_fault(zone) or "")


def test_without_a_database_of_zones_there_is_utc_and_the_mend_is_told() -> None:
    program = (
        "import sys, zoneinfo; sys.modules['tzdata'] = None\n"
        "from zmws.cron import fault_of, next_time\n"
        "print(fault_of('@daily', 'Europe/Berlin')); print(next_time('@daily', 'UTC', 0.0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONTZPATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    fault, at = done.stdout.splitlines()
    assert fault == (
        "zone is 'Europe/Berlin', but this machine has no database of time zones; "
        "install its package tzdata (pip or the system's)"
    )
    assert float(at) == datetime(1970, 1, 2, tzinfo=UTC).timestamp()


def test_who_has_no_schedule_loads_neither_cronsim_nor_zones() -> None:
    program = (
        "import sys, pathlib, zmws.cron, zmws.cli\n"
        "from zmws.settings import load\n"
        "load(pathlib.Path('etc/zmws.toml'))\n"
        "print(*sorted({'cronsim', 'zoneinfo'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
