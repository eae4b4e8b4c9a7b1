"""`[[schedules]]`: recurring jobs that stand in the settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.settings.site import loaded, problem, problems
from zmws.cli.config import check
from zmws.core.options import ServiceOptions
from zmws.core.rows import ScheduleRow
from zmws.supervisor.kept import of_server

NIGHTLY = '[[schedules]]\nname = "nightly"\nservice = "REPORT"\n'


def one(site: Path, text: str) -> ScheduleRow:
    (found,) = loaded(site, NIGHTLY + text).schedules
    return found


def test_a_schedule_is_read(site: Path) -> None:
    text = """
cron = "30 2 * * MON-FRI"
zone = "Europe/Berlin"
params = { kind = "day", parts = [1, 2.5] }
options = { retries = 5 }
missed = "all"
missed_max = 3
overlap = "skip"
jitter = "2 min"
until = 2027-01-31T08:00:00+01:00
paused = true
"""
    assert one(site, text) == ScheduleRow(
        name="nightly",
        service="REPORT",
        body=(b'PARAM-JSON: {"kind": "day", "parts": [1, 2.5]}',),
        options='{"retries": 5}',
        cron="30 2 * * MON-FRI",
        zone="Europe/Berlin",
        missed="all",
        missed_max=3,
        overlap="skip",
        jitter=120.0,
        until=1_801_378_800.0,
        paused=True,
        fixed=True,
        anchor=0.0,
    )


def test_without_any_there_are_none(site: Path) -> None:
    assert loaded(site, "").schedules == ()
    assert loaded(site, "schedules = []").schedules == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ('"10 min"', 600.0), ('"1h30m"', 5400.0), ('"2 d"', 172_800.0), ('"1.5 s"', 1.5)],
)
def test_a_duration_is_seconds_or_a_text_with_units(site: Path, text: str, seconds: float) -> None:
    assert one(site, f"every = {text}").every == seconds


def test_a_time_is_taken_as_toml_has_it_and_as_a_text(site: Path) -> None:
    both = ("2027-01-31T08:00:00Z", '"2027-01-31T08:00:00Z"')
    assert {one(site, f"every = 60\nuntil = {text}").until for text in both} == {1_801_382_400.0}


def test_the_service_of_a_schedule_is_known_to_the_broker(site: Path) -> None:
    assert loaded(site, NIGHTLY + "every = 60").services == {"REPORT": ServiceOptions()}
    text = "[services.REPORT]\nretries = 9\n" + NIGHTLY + "every = 60"
    assert loaded(site, text).services["REPORT"].retries == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1: a schedule needs 'cron', such as"),
        ('cron = "@daily"\nevery = 60', "5: give 'cron' or 'every', not both"),
        ('cron = "0 25 * * *"', "4: cron is '0 25 * * *', but its hour cannot be '25'"),
        ('cron = "0 0 30 2 *"', "4: cron is '0 0 30 2 *', but there is no such day"),
        ('cron = "@daily"\nzone = "Berlin"', "5: zone is 'Berlin', but there is no"),
        ('cron = "@daily"\nzone = "Berlin"', "did you mean 'Europe/Berlin'?"),
        ("cron = 5", "4: 'cron' is 5, but must be a printable text"),
        ("every = 0", "4: 'every' is 0, but must be a number of seconds from 1"),
        ('every = "often"', "'every' is 'often', but must be a number of seconds, or a text such as"),
        ('every = "0.5 s"', "4: 'every' is 0.5, but must be"),
        ("every = 60\nuntil = 2027-01-31T08:00:00", "5: 'until' is '2027-01-31T08:00"),
        ("every = 60\nuntil = 2027-01-31", "but must be an ISO 8601 time with its zone"),
        ("every = 60\nparams = { day = 2027-01-31 }", "5: params['day'] is a datetime"),
        ("every = 60\nparams = { day = 2027-01-31 }", "which JSON cannot hold; write it as a text"),
        ("every = 60\noptions = { id = 2027-01-31 }", "which JSON cannot hold; write it as a text"),
        ("every = 60\n[schedules.options]\nretries = 1\nttr = 0", "7: option 'ttr' is 0"),
        ("every = 60\noptions = { id = 'a' }", "5: option 'id' is not for a schedule"),
        ("evry = 60", "4: 'evry' is no setting of a schedule; did you mean 'every'?"),
        ("every = 60\nmissed_max = 1001", "must be a whole number from 1 to 1000"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(site: Path, text: str, told: str) -> None:
    said = problem(site, NIGHTLY + text + "\n")
    assert told in said.replace("schedule 'nightly': ", "")
    assert re.match(r"FILE:\d: schedule 'nightly': ", said)


def test_what_is_no_table_in_an_array_is_told(site: Path) -> None:
    told = "'schedules' must be tables in an array: write [[schedules]], in double brackets"
    assert problem(site, '[schedules]\nname = "a"\n') == f"FILE:1: {told}"
    assert problem(site, "schedules = 5\n") == f"FILE:1: {told}"


def test_one_without_a_name_or_with_a_wrong_one_is_told(site: Path) -> None:
    text = '[[schedules]]\nservice = "A"\nevery = 60\n'
    assert problem(site, text) == "FILE:1: a schedule needs 'name'"
    assert "FILE:4: schedule 'a b': 'name' is 'a b'" in problem(site, text + 'name = "a b"\n')


def test_two_of_one_name_are_refused(site: Path) -> None:
    text = NIGHTLY + "every = 60\n" + NIGHTLY + "every = 90\n"
    assert problem(site, text) == "FILE:6: schedule name 'nightly' is used twice; give each its own name"


def test_all_that_is_wrong_is_told_in_one_go(site: Path) -> None:
    text = NIGHTLY + 'cron = "x"\nmissed = "x"\n[[schedules]]\nname = "b"\nevery = 60\n'
    lines = problems(site, text)
    assert [line.split(": ")[0] for line in lines] == ["FILE:4", "FILE:5", "FILE:6"]


def test_the_bounds_are_those_of_the_broker_section(site: Path) -> None:
    more = '[[schedules]]\nname = "b"\nservice = "B"\nevery = 60\n'
    text = "[broker]\nschedules_max = 1\nschedule_missed_max = 2\n" + NIGHTLY + "every = 60\n"
    assert loaded(site, text).schedules[0].missed_max == 2
    told = "FILE:4: there are 2 schedules, but at most 1 are taken; raise schedules_max of [broker]"
    assert problem(site, text + more) == told
    assert "from 1 to 2" in problem(site, text + "missed_max = 3\n")


def test_another_schedule_is_a_change_of_the_brokers_settings(site: Path) -> None:
    before, after = (loaded(site, NIGHTLY + f"every = {every}") for every in (60, 90))
    assert of_server("broker", before) != of_server("broker", after)
    assert of_server("gateway", before) == of_server("gateway", after)


def test_config_check_shows_them(site: Path) -> None:
    text = NIGHTLY + 'cron = "@daily"\nzone = "Europe/Berlin"\n'
    text += '[[schedules]]\nname = "often"\nservice = "X"\nevery = "10 min"\npaused = true\nparams = [1]\n'
    loaded(site, text)
    file = str(site / "etc" / "zmws.toml")
    shown = CliRunner().invoke(check, ["-c", file], standalone_mode=False).output
    assert "  schedule nightly: REPORT, @daily in Europe/Berlin\n" in shown
    assert "  schedule often: X, every 600 s, paused\n" in shown
    told = json.loads(CliRunner().invoke(check, ["-c", file, "--json"], standalone_mode=False).output)
    assert [(one["name"], one["params"], one["every"]) for one in told["schedules"]] == [
        ("nightly", None, None),
        ("often", [1], 600.0),
    ]
