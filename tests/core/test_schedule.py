"""zmws.core.schedule: what defines a recurring job, and what cannot."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from zmws.core.limits import Limits
from zmws.core.rows import ScheduleRow
from zmws.core.schedule import SCHEDULE, definition, schedule_field, schedule_of
from zmws.errors import OptionError

LEAST = {"name": "nightly", "service": "REPORT", "every": 60}


def made(limits: Limits | None = None, **given: Any) -> ScheduleRow:
    """As the settings and the broker do it: each field by its row, then all of them together."""
    limits = limits or Limits()
    given = {name: value for name, value in {**LEAST, **given}.items() if value is not None}
    held = {name: schedule_field(name, value, limits) for name, value in given.items()}
    return schedule_of(held, limits, anchor=7.0)


def refusal(limits: Limits | None = None, **given: Any) -> tuple[str, str]:
    """The option that is wrong, and what is said of it."""
    with pytest.raises(OptionError) as caught:
        made(limits, **given)
    assert caught.value.code == "bad_option"
    return caught.value.option, str(caught.value)


def test_the_least_that_can_be_said_leaves_the_defaults() -> None:
    assert made() == ScheduleRow(name="nightly", service="REPORT", every=60.0, anchor=7.0)


def test_all_that_can_be_said_is_held_and_shown() -> None:
    given: dict[str, Any] = {
        "name": "Report.1-a_b",
        "service": "REPORT",
        "params": {"kind": "day"},
        "options": {"retries": 5, "group": "a"},
        "cron": "30 2 * * *",
        "zone": "Europe/Berlin",
        "missed": "all",
        "missed_max": 7,
        "overlap": "cancel",
        "jitter": 20,
        "until": "2027-01-31T08:00:00+01:00",
        "paused": True,
    }
    row = made(every=None, **given)
    assert row.body == (b'PARAM-JSON: {"kind": "day"}',)
    assert json.loads(row.options) == given["options"]
    assert row.until == 1_801_378_800.0
    shown = {**given, "params_kind": "json", "every": None, "until": "2027-01-31T07:00:00.000Z"}
    assert definition(row) == shown
    assert shown.keys() - {"params_kind"} == SCHEDULE.keys() - {"params_base64"}


def test_every_field_of_a_definition_is_one_of_the_row_that_is_kept() -> None:
    kept = {field.name for field in fields(ScheduleRow)}
    assert SCHEDULE.keys() - kept == {"params", "params_base64"}


def test_bytes_come_in_base64() -> None:
    assert made(params_base64="AAEC").body == (b"\0\1\2",)
    assert definition(made(params_base64="AAEC"))["params_kind"] == "bytes"
    option, text = refusal(params_base64="?")
    assert (option, text) == ("params_base64", "'params_base64' is not base64")
    assert refusal(params=1, params_base64="AA==")[0] == "params_base64"


def test_who_makes_it_and_where_it_stands_is_the_callers_to_say() -> None:
    row = schedule_of({**LEAST, "ask": "x", "do": "add"}, Limits(), anchor=9.0, fixed=True, by="ann")
    assert (row.anchor, row.fixed, row.by) == (9.0, True, "ann")


def test_null_is_not_given() -> None:
    given = {**LEAST, "cron": None, "options": {"retries": None, "ttr": 5}, "until": None}
    row = schedule_of(given, Limits(), anchor=0.0)
    assert json.loads(row.options) == {"ttr": 5}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "x" * 65, "ä", "a\n", 7])
def test_a_name_of_which_no_id_can_be_made_is_refused(name: Any) -> None:
    option, text = refusal(name=name)
    assert option == "name"
    assert text.endswith("but must be a name of 1 to 64 characters of A-Z a-z 0-9 . _ -")
    assert made(name="x" * 64).name == "x" * 64


@pytest.mark.parametrize(
    ("given", "option", "told"),
    [
        ({"name": None}, "name", "a schedule needs 'name'"),
        ({"service": None}, "service", "a schedule needs 'service'"),
        ({"service": "a b"}, "service", "the service name 'a b' holds a space"),
        ({"service": "zmws.submit"}, "service", "is reserved for the broker itself"),
        ({"every": None}, "cron", "a schedule needs 'cron', such as \"30 8 * * *\", or 'every'"),
        ({"cron": "@daily"}, "every", "give 'cron' or 'every', not both"),
        ({"every": 0.5}, "every", "'every' is 0.5, but must be a number of seconds from 1 to 31622400"),
        ({"every": "10 min"}, "every", "'every' is '10 min', but must be a number of seconds from 1"),
        ({"zone": "Europe/Berlin"}, "zone", "'zone' is for 'cron'"),
        ({"missed": "twice"}, "missed", "'missed' is 'twice', but must be one of none, once, all"),
        ({"missed_max": 0}, "missed_max", "but must be a whole number from 1 to 1000"),
        ({"missed_max": 1001}, "missed_max", "but must be a whole number from 1 to 1000"),
        ({"overlap": "wait"}, "overlap", "but must be one of allow, skip, cancel"),
        ({"jitter": 60}, "jitter", "'jitter' is 60 s, but must be below 'every', 60 s"),
        ({"jitter": 86_401}, "jitter", "from 0 to 86400"),
        ({"until": "2027-01-31T08:00:00"}, "until", "but must be an ISO 8601 time with its zone"),
        ({"paused": 1}, "paused", "but must be true or false"),
        ({"options": [1]}, "options", "but must be a JSON object"),
        ({"options": {"retries": -1}}, "options.retries", "option 'retries' is -1, but must be"),
        ({"options": {"retrys": 1}}, "options.retrys", "did you mean 'retries'?"),
        ({"options": {"id": "a"}}, "options.id", "is not for a schedule: each of its jobs is given one"),
        ({"options": {"at": "2027-01-31T08:00:00Z"}}, "options.at", "the schedule says when"),
        ({"options": {"batch": "b"}}, "options.batch", "option 'batch' is not for a schedule"),
        ({"options": {"durability": "memory"}}, "options.durability", "jobs of a schedule are on disk"),
        ({"options": {"unique": "a"}, "overlap": "skip"}, "options.unique", "do not go together"),
        (
            {"options": {"delay": 5, "expires": 5}},
            "options.expires",
            "its jobs can only expire: 'delay' is 5 s, and 'expires' 5 s",
        ),
        (
            {"jitter": 20, "options": {"delay": 5, "expires": 25}},
            "options.expires",
            "its jobs can only expire: 'delay' and 'jitter' together are 25 s, and 'expires' 25 s",
        ),
        ({"evry": 1}, "evry", "'evry' is no setting of a schedule; did you mean 'every'?"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], option: str, told: str) -> None:
    wrong, text = refusal(**given)
    assert (wrong, told in text) == (option, True), text


def test_what_goes_together_is_taken() -> None:
    made(options={"unique": "a"})
    made(options={"unique": "a"}, overlap="cancel")
    made(overlap="skip", options={"durability": "disk", "delay": 5})
    made(jitter=59.9)
    made(jitter=20, options={"delay": 5, "expires": 26})
    made(jitter=3600, every=None, cron="@daily", zone="Europe/Berlin")
    made(zone="UTC")


def test_the_bounds_are_those_of_the_limits() -> None:
    limits = Limits(schedule_missed_max=5, schedule_bytes_max=1024)
    assert made(limits).missed_max == 5
    assert made(limits, missed_max=5).missed_max == 5
    assert "from 1 to 5" in refusal(limits, missed_max=6)[1]
    made(limits, params="x" * 900)
    assert refusal(limits, params="x" * 1024) == (
        "params",
        "the parameters are larger than 1024 bytes (schedule_bytes_max)",
    )
