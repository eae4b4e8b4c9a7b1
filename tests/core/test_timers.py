"""Reminders, and that those of what is over do not stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stage import Stage
from zmws.core.options import service_options
from zmws.core.timers import KEPT_MIN, Reminder, Timers
from zmws.wire import mdp, values

MANY = 5 * KEPT_MIN


def test_reminders_come_by_their_time_and_then_in_the_order_they_were_made() -> None:
    timers, reminder = Timers(), Reminder[str](lambda whom: None)
    for at, whom in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (9.0, "d")):
        timers.add(at, reminder, whom)
    assert timers.next() == 1.0
    assert [whom for _, whom in timers.due(1.0, most=1)] == ["a"]
    assert [whom for _, whom in timers.due(2.0)] == ["b", "c"]
    assert timers.next() == 9.0 and len(timers) == 1


def test_what_is_due_comes_in_the_order_of_its_times_and_not_more_than_is_asked_for() -> None:
    timers, reminder = Timers(), Reminder[int](lambda whom: None)
    assert timers.next() is None and timers.due(9.0) == [] and KEPT_MIN == timers.kept_min == 1_000
    for n in range(10_001):
        timers.add(1.0, reminder, n)
    assert timers.due(0.999) == [] and len(timers.due(1.0)) == 10_000
    assert [whom for _, whom in timers.due(1.0)] == [10_000] and len(timers) == 0


def test_what_nobody_wants_is_thrown_out_and_what_is_wanted_stays() -> None:
    timers, reminder = Timers(), Reminder[int](lambda whom: None, lambda whom, at: whom % 100 == 0)
    for n in range(100 * KEPT_MIN):
        timers.add(float(n), reminder, n)
        assert len(timers) <= KEPT_MIN + 1 + 2 * (n // 100 + 1)
    found = timers.due(float("inf"), most=1 << 30)
    assert [n for _, n in found if n % 100 == 0] == list(range(0, 100 * KEPT_MIN, 100))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    stage.reminders_kept_min = KEPT_MIN
    stage.services["E"] = service_options({})
    yield stage


def _ask(stage: Stage, service: str, asked: Any = None, options: dict[str, Any] | None = None) -> None:
    frames = [mdp.MDPC02, b"\x01", service.encode()]
    frames += [values.OPTS_JSON + json.dumps(options).encode()] if options else []
    stage.receive("client", "C", frames + ([] if asked is None else [json.dumps(asked).encode()]))


def _reminders(stage: Stage) -> int:
    turn = stage.core.turn
    return len(turn.timers) + len(turn.wall_timers) + len(turn.steady_timers)


@pytest.mark.parametrize(
    "options",
    [{"delay": 1e6}, {"at": "2030-01-01T00:00:00Z"}, {"delay": 1e6, "durability": "memory"}],
    ids=["delay", "at", "memory"],
)
def test_cancelled_scheduled_jobs_leave_no_reminders(stage: Stage, options: dict[str, Any]) -> None:
    for n in range(MANY):
        _ask(stage, "E", options={**options, "id": f"j{n}"})
        _ask(stage, "zmws.cancel", {"id": f"j{n}"})
    assert _reminders(stage) < 2 * KEPT_MIN


def test_jobs_that_expire_sooner_and_sooner_and_are_cancelled_leave_no_reminders(stage: Stage) -> None:
    for n in range(MANY):
        _ask(stage, "SYNC-E", options={"id": f"j{n}", "expires": 1e6 - n})
        _ask(stage, "zmws.cancel", {"id": f"j{n}"})
    assert _reminders(stage) < 2 * KEPT_MIN


def test_answered_waits_and_watches_leave_no_reminders(stage: Stage) -> None:
    for n in range(MANY):
        _ask(stage, "E", options={"id": f"j{n}"})
        _ask(stage, "zmws.wait", {"id": f"j{n}", "timeout": 3600})
        _ask(stage, "zmws.events", {"id": f"j{n}", "timeout": 3600, "after": 1})
        _ask(stage, "zmws.cancel", {"id": f"j{n}"})
    assert _reminders(stage) < 2 * KEPT_MIN


def test_leases_that_were_reported_and_extended_leave_no_reminders(stage: Stage) -> None:
    for n in range(MANY):
        _ask(stage, "E", options={"id": f"j{n}"})
        _ask(stage, "zmws.lease", {"service": "E", "lease": f"l{n}", "ttr": 1e6, "wait": 3600})
        job = json.loads(stage.sent["C"][-1][-1])
        _ask(stage, "zmws.extend", {"token": job["token"], "seconds": 1e6 + n})
        _ask(stage, "zmws.report", {"token": job["token"], "kind": "complete"})
    assert _reminders(stage) < 2 * KEPT_MIN


def test_a_worker_that_extends_without_end_leaves_no_reminders(stage: Stage) -> None:
    stage.receive("worker", "W", [mdp.MDPW02, b"\x01", b"E", b'{"zmws": 1, "id": "w"}'])
    _ask(stage, "E", options={"id": "j"})
    token = stage.sent["W"][-1][2]
    for n in range(MANY):
        for seconds in (1e6 - n, 1e6 + n):
            touch = [mdp.MDPW02, b"\x03", token, b"", b"TOUCH", b"%f" % seconds]
            stage.receive("worker", "W", touch)
    assert _reminders(stage) < 2 * KEPT_MIN


def test_workers_that_come_and_go_leave_no_reminders(stage: Stage) -> None:
    for n in range(MANY):
        stage.receive("worker", f"W{n}", [mdp.MDPW02, b"\x01", b"E", b'{"zmws": 1, "id": "w%d"}' % n])
        stage.receive("worker", f"W{n}", [mdp.MDPW02, b"\x06"])
    assert _reminders(stage) < 2 * KEPT_MIN


def test_the_next_to_expire_is_reminded_of_though_the_first_has_gone(stage: Stage) -> None:
    _ask(stage, "SYNC-E", options={"id": "first", "expires": 10})
    _ask(stage, "zmws.cancel", {"id": "first"})
    for n in range(KEPT_MIN + 1):
        _ask(stage, "SYNC-E", options={"id": f"j{n}", "expires": 100})
    for n in range(KEPT_MIN + 5):
        _ask(stage, "E", options={"id": f"d{n}", "delay": 1e6})
    stage.sent.clear()
    stage.pass_time(101.0)
    assert len(stage.sent["C"]) == KEPT_MIN + 1


def test_what_is_not_over_is_reminded_of_however_much_is_thrown_out(stage: Stage) -> None:
    _ask(stage, "E", options={"id": "leased", "retries": 0})
    _ask(stage, "zmws.lease", {"service": "E", "lease": "l", "ttr": 50})
    _ask(stage, "E", options={"id": "waits", "delay": 1e6})
    _ask(stage, "E", options={"id": "due", "delay": 50})
    stage.sent.clear()
    for name, service, asked in (
        ("waits", "zmws.wait", {"id": "waits", "timeout": 50}),
        ("watches", "zmws.events", {"id": "waits", "timeout": 50, "after": 9}),
        ("leases", "zmws.lease", {"service": "E", "lease": "m", "wait": 40}),
    ):
        stage.receive("client", name, [mdp.MDPC02, b"\x01", service.encode(), json.dumps(asked).encode()])
    for n in range(3 * KEPT_MIN):
        _ask(stage, "E", options={"id": f"j{n}", "delay": 1e6})
        _ask(stage, "zmws.cancel", {"id": f"j{n}"})
        _ask(stage, "zmws.wait", {"id": f"j{n}", "timeout": 3600})
    stage.pass_time(51.0)
    told = {name: messages[-1][-2:] for name, messages in stage.sent.items() if name != "C"}
    assert told["waits"][0] == b"202" and told["watches"] == [b"200", b"[]"] and told["leases"][0] == b"202"
    stage.sent.clear()
    for job_id in ("leased", "due"):
        _ask(stage, "zmws.job", {"id": job_id})
    assert [json.loads(frames[-1])["state"] for frames in stage.sent["C"]] == ["failed", "waiting"]
