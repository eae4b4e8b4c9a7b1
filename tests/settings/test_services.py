"""`[services.NAME]`, and the names that services can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.site import problem, problems
from zmws.settings.services import service_name_problem


def test_options_of_a_service_that_contradict_each_other_are_told_with_their_line(site: Path) -> None:
    told = problem(site, "[services.DE]\ndelay = 100\nexpires = 50\n")
    assert told.startswith("FILE:3: service 'DE'") and "can only expire" in told


@pytest.mark.parametrize("option", ["on_complete", "on_failed"])
def test_a_service_is_not_told_of_its_own_ends(site: Path, option: str) -> None:
    text = f'[services.A]\n{option} = "B"\n[services.B]\n{option} = "B"\n'
    why = f"option '{option}' is itself: its own end would be told to itself, without end"
    assert problem(site, text) == f"FILE:4: service 'B': {why}"


def test_a_service_option_is_refused_with_service_and_line(site: Path) -> None:
    told = problems(site, "[services.EMAIL]\nretries = 5\nretrys = 1\nttr = 0\n[services.X]\npaused = 1")
    assert [line.partition(":")[2].partition(":")[0] for line in told] == ["3", "4", "6"]
    assert "service 'EMAIL': 'retrys' is no option of a service; did you mean 'retries'?" in told[0]
    assert "service 'EMAIL': option 'ttr' is 0, but must be " in told[1]
    assert "service 'X': option 'paused' is 1" in told[2]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("a b", "holds a space"),
        ("a/b", "holds a space"),
        ("a[0]", "holds a space"),
        ("tab\t", "printable"),
        ("\u00e9" * 128, "longer than 255 bytes"),
        ("SYNC-SLEEP", "begins with a prefix"),
        ("JOB:X", "begins with a prefix"),
        ("SERVER-JOBS", "reserved"),
        ("mmi.service", "reserved"),
        ("zmws.job", "reserved"),
    ],
)
def test_a_name_that_no_service_can_have_is_refused(site: Path, name: str, why: str) -> None:
    assert why in (service_name_problem(name) or "")
    quoted = name.replace("\t", "\\t")
    assert f"FILE:2: {service_name_problem(name)}" == problem(site, f'\n[services."{quoted}"]\n')
    text = f'[[workers]]\nfile = "workers/sleep.py"\nservice = "{quoted}"'
    assert f"FILE:3: {service_name_problem(name)}" == problem(site, text)


@pytest.mark.parametrize(
    "name", ["STR-REV", "sync-x", "a.b:c_d", "\u00e9", "x" * 255, "SERVER", "titanic.request"]
)
def test_other_names_are_names_of_services(name: str) -> None:
    assert service_name_problem(name) is None
