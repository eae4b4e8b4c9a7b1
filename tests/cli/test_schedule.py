"""`zmws schedule`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.cli.acting import Run, runner
from tests.client.workers import WORKERS
from zmws.testing import FakeClient


@pytest.fixture
def client() -> Iterator[FakeClient]:
    with FakeClient(workers=WORKERS, services={"NOBODY": {}}) as fake:
        yield fake


@pytest.fixture
def run(client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(client, monkeypatch, capsys)


def test_a_schedule_is_added_listed_and_shown(run: Run) -> None:
    flags = ("--cron", "30 8 * * MON-FRI", "--zone", "Europe/Berlin", "--missed", "all", "--missed-max", "3")
    more = ("--overlap", "skip", "--jitter", "1m", "--until", "2040-01-31T08:00:00Z", "--on-failed", "NOBODY")
    ended = run("schedule", "add", "report", "ECHO", "month:=3", *flags, *more, "--retries", "2", "--json")
    row = ended.json()
    assert ended.code == 0 and row["params"] == {"month": 3}
    assert row["options"] == {"retries": 2, "on_failed": "NOBODY"}
    assert (row["cron"], row["zone"], row["missed"], row["missed_max"]) == (
        "30 8 * * MON-FRI",
        "Europe/Berlin",
        "all",
        3,
    )
    assert (row["overlap"], row["jitter"], row["until"][:10]) == ("skip", 60, "2040-01-31")
    assert run("schedule", "add", "often", "ECHO", "--every", "10m").out.startswith("added: often, due in ")
    lines = run("schedule", "list").lines
    assert [line.split()[:2] for line in lines[1:]] == [["often", "ECHO"], ["report", "ECHO"]]
    assert "every 10 min" in lines[1] and "30 8 * * MON-FRI Europe/Berlin" in lines[2]
    assert len(run("schedule", "list", "--json").json()["schedules"]) == 2
    assert "cron: 30 8 * * MON-FRI" in run("schedule", "show", "report").lines


def test_a_schedule_is_paused_run_and_removed(run: Run, client: FakeClient) -> None:
    client.add_schedule("s", "SHAKY", {"fails": 9}, every=60, retries=0)
    job_id = run("schedule", "run", "s").out.strip()
    assert client.job(job_id).wait()["state"] == "failed"
    client.pass_time(61)
    assert any(
        "failed, job_failed: RuntimeError: attempt 1" in line for line in run("schedule", "show", "s").lines
    )
    assert run("schedule", "pause", "s").out == "paused: s\n"
    assert "paused" in run("schedule", "list").lines[1]
    assert run("schedule", "resume", "s").out == "resumed: s\n"
    assert run("schedule", "remove", "s", "--json").json() == {}
    for verb in ("show", "pause", "run", "remove", "next"):
        assert run("schedule", verb, "s").code == 4, verb


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "one of them"),
        (("--cron", "@daily", "--every", "5"), "one of them"),
        (("--cron", "30 25 * * *"), "its hour cannot be '25'"),
        (("--cron", "@daily", "--zone", "Berlin"), "did you mean 'Europe/Berlin'"),
        (("--every", "0.5"), "every"),
        (("--every", "5", "--missed", "maybe"), "missed"),
        (("--every", "5", "--until", "tomorrow"), "until"),
        (("--every", "5", "--retries", "-1"), "retries"),
    ],
)
def test_what_is_wrong_is_told_without_a_broker(run: Run, words: tuple[str, ...], text: str) -> None:
    ended = run("schedule", "add", "s", "ECHO", *words)
    assert ended.code == 2 and text in ended.err


def test_one_of_the_same_name_is_replaced_if_asked(run: Run) -> None:
    assert run("schedule", "add", "s", "ECHO", "--every", "5m").code == 0
    assert run("schedule", "add", "s", "ECHO", "--every", "6m").code == 4
    assert run("schedule", "add", "s", "ECHO", "--every", "6m", "--replace").code == 0
    assert run("schedule", "show", "s", "--json").json()["every"] == 360
    assert run("schedule", "add", "t", "NONE", "--every", "6m").code == 4


def test_when_an_expression_is_due_is_shown_without_a_broker(run: Run) -> None:
    ended = run("schedule", "next", "--cron", "0 9 * * MON#1", "--zone", "America/New_York", "-n", "3")
    times = [datetime.fromisoformat(line.split()[0]) for line in ended.lines]
    assert len(times) == 3 and all(at.weekday() == 0 and at.hour == 9 and at.day <= 7 for at in times)
    assert all(at.utcoffset() is not None and at.utcoffset() for at in times) and times == sorted(set(times))
    told = run("schedule", "next", "--cron", "0 0 * * *", "-n", "2", "--json").json()["next"]
    assert len(told) == 2 and all(at.endswith("T00:00:00Z") for at in told)
    assert run("schedule", "next", "--cron", "0 0 30 2 *").code == 2
    for words in ((), ("s", "--cron", "@daily"), ("s", "--zone", "UTC"), ("--zone", "UTC")):
        assert run("schedule", "next", *words).code == 2, words


def test_when_a_schedule_is_due_is_shown_until_its_end(run: Run, client: FakeClient) -> None:
    client.add_schedule("c", "ECHO", cron="0 * * * *", zone="Asia/Kolkata", jitter=30)
    ended = run("schedule", "next", "c")
    assert len(ended.lines) == 5 and all("+05:30" in line and ":00:00" in line for line in ended.lines)
    assert "late by up to 30 s" in ended.err
    made = client.add_schedule("e", "ECHO", every=600)
    first = datetime.fromisoformat(made.status()["next_at"])
    told = [
        datetime.fromisoformat(at) for at in run("schedule", "next", "e", "-n", "3", "--json").json()["next"]
    ]
    assert [round((at - first).total_seconds() / 600) for at in told] == [0, 1, 2]
    client.add_schedule("u", "ECHO", every=600, until=told[1], replace=True)
    ended = run("schedule", "next", "u")
    assert len(ended.lines) < 5 and "there are no more" in ended.err
    client.schedule("c").pause()
    ended = run("schedule", "next", "c")
    assert len(ended.lines) == 5 and "c is paused" in ended.err
    client.schedule("e").pause()
    ended = run("schedule", "next", "e")
    assert ended.lines == [] and "e is paused" in ended.err and "no more" not in ended.err
