"""zmws.core.schedules: when recurring jobs are made, over restarts of the broker and steps of the clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.reads import Read
from zmws.core.rows import Rows, ScheduleRow
from zmws.core.schedules import Firing, utc

DAY = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def scene_at(text: str, **limits: Any) -> Scene:
    """A broker whose wall shows this time."""
    scene = Scene(limits=limits)
    scene.stepped = at(text) - WALL_AT_START
    scene.restart()
    return scene


def add(scene: Scene, name: str = "s", **given: Any) -> dict[str, Any]:
    status, row = scene.ask("zmws.schedule", do="add", name=name, service="E", **given)
    assert status == 200, row
    told: dict[str, Any] = row
    return told


def made(scene: Scene, name: str = "s") -> list[str]:
    """The times of the jobs that this schedule has made, in the order in which it made them."""
    jobs = scene.ask("zmws.jobs", limit=1000)[1]["jobs"]
    prefix = f"cron:{name}:"
    return [job["id"].removeprefix(prefix) for job in reversed(jobs) if job["id"].startswith(prefix)]


def off(scene: Scene, seconds: float) -> None:
    """The broker is down for so long."""
    scene.now += seconds
    scene.restart()
    scene.pass_time(0.0)


def row(scene: Scene, name: str = "s") -> dict[str, Any]:
    (found,) = scene.ask("zmws.schedules", name=name)[1]["schedules"]
    told: dict[str, Any] = found
    return told


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("zone", "night", "expected"),
    [
        # 02:30 is left out on the last Sunday of March, and comes twice on that of October.
        ("Europe/Berlin", "2026-03-28", ["28T01:30", "29T01:00", "30T00:30"]),
        ("Europe/Berlin", "2026-10-24", ["24T00:30", "25T00:30", "26T01:30"]),
        ("America/New_York", "2026-03-07", ["07T07:30", "08T07:00", "09T06:30"]),
        ("America/New_York", "2026-10-31", ["31T06:30", "01T07:30", "02T07:30"]),
        ("Australia/Lord_Howe", "2026-04-03", ["03T15:30", "04T16:00", "05T16:00"]),
        ("Australia/Lord_Howe", "2026-10-02", ["02T16:00", "03T15:30", "04T15:30"]),
    ],
)
def test_each_night_has_its_one_job_over_both_changes_of_the_clock(
    zone: str, night: str, expected: list[str]
) -> None:
    scene = scene_at(night)
    add(scene, cron="30 2 * * *", zone=zone)
    scene.pass_time(3 * DAY)
    assert [time[len("2026-01-") : -len(":00Z")] for time in made(scene)] == expected


def test_a_leap_day_comes_every_fourth_year() -> None:
    scene = scene_at("2027-12-31T00:00:00")
    assert add(scene, cron="0 0 29 2 *")["next_at"] == "2028-02-29T00:00:00.000Z"
    scene.suspended += 60 * DAY
    scene.pass_time(1)
    assert made(scene) == ["2028-02-29T00:00:00Z"] and row(scene)["next_at"] == "2032-02-29T00:00:00.000Z"


def test_what_comes_every_so_often_counts_from_when_it_was_added() -> None:
    scene = scene_at("2026-01-01T00:00:07")
    assert add(scene, every=90)["next_at"] == "2026-01-01T00:01:37.000Z"
    scene.pass_time(200)
    assert made(scene) == ["2026-01-01T00:01:37Z", "2026-01-01T00:03:07Z"]
    off(scene, 20)  # and goes on so over a restart
    scene.pass_time(90)
    assert made(scene)[2:] == ["2026-01-01T00:04:37Z"]


def test_nothing_comes_after_its_last_time() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60, until="2026-01-01T00:02:00Z")
    scene.pass_time(600)
    assert len(made(scene)) == 2 and row(scene)["next_at"] is None


def test_jitter_puts_off_the_start_and_not_the_time_that_it_counts_for() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60, jitter=20)
    scene.pass_time(60)
    assert made(scene) == ["2026-01-01T00:01:00Z"]
    job = scene.record("cron:s:2026-01-01T00:01:00Z")
    assert (job["state"], job["ready_at"]) == ("scheduled", "2026-01-01T00:01:10.000Z")


# ---------------------------------------------------------------- what was missed


@pytest.mark.parametrize(
    ("missed", "most", "expected"),
    [
        ("none", {}, []),
        ("once", {}, [24]),
        ("all", {}, list(range(1, 25))),
        ("all", {"missed_max": 3}, [22, 23, 24]),
    ],
)
def test_a_broker_that_was_off_for_a_day_makes_up_as_the_schedule_says(
    missed: str, most: dict[str, int], expected: list[int]
) -> None:
    scene = scene_at("2026-01-01T00:30:00")
    add(scene, cron="0 * * * *", missed=missed, **most)
    off(scene, DAY + 600)  # until 00:40
    began = at("2026-01-01T00:00:00")
    assert made(scene) == [utc(began + hour * 3600) for hour in expected]
    scene.pass_time(1200)  # and then it goes on
    assert made(scene)[len(expected) :] == ["2026-01-02T01:00:00Z"]
    off(scene, 1)
    assert len(made(scene)) == len(expected) + 1


@pytest.mark.parametrize("missed", ["none", "once", "all"])
def test_a_time_that_has_just_passed_is_late_and_not_missed(missed: str) -> None:
    scene = scene_at("2026-01-01T00:30:00", schedule_grace_s=60.0)
    add(scene, cron="0 * * * *", missed=missed)
    off(scene, 1800 + 59)
    assert made(scene) == ["2026-01-01T01:00:00Z"]


def test_a_time_past_the_grace_is_missed() -> None:
    scene = scene_at("2026-01-01T00:30:00", schedule_grace_s=60.0)
    add(scene, cron="0 * * * *", missed="none")
    off(scene, 1800 + 61)
    assert made(scene) == [] and scene.core.turn.counters["schedules_missed"] == 1
    assert any("schedule s has missed 2026-01-01T01:00:00Z" in text for _, text in scene.log), scene.log


def test_a_machine_that_slept_is_a_broker_that_was_off() -> None:
    scene = scene_at("2026-01-01T00:30:00")
    add(scene, cron="0 * * * *", missed="all")
    scene.suspended += 4 * 3600
    scene.pass_time(1)
    assert len(made(scene)) == 4


def test_a_year_that_was_missed_minute_by_minute_costs_no_more_than_what_is_made_up() -> None:
    scene = scene_at("2026-01-01T00:00:30")
    add(scene, cron="* * * * *", missed="all", missed_max=5)
    calls = 0
    calendar = scene.core.turn.suppliers.calendar

    class Counting:
        def next_time(self, cron: str, zone: str, after: float) -> float | None:
            nonlocal calls
            calls += 1
            return calendar.next_time(cron, zone, after)

        def fault_of(self, cron: str, zone: str) -> str | None:
            return calendar.fault_of(cron, zone)

    object.__setattr__(scene._suppliers, "calendar", Counting())
    off(scene, 365 * DAY)
    assert len(made(scene)) == 5 and calls < 200


# ---------------------------------------------------------------- steps of the clock


def test_after_a_step_back_no_time_comes_again() -> None:
    scene = scene_at("2026-01-01T00:30:00")
    add(scene, cron="0 * * * *")
    scene.pass_time(3600)
    assert len(made(scene)) == 1
    scene.stepped -= 3600
    scene.pass_time(3600)
    assert len(made(scene)) == 1
    scene.pass_time(3600)
    assert made(scene)[1:] == ["2026-01-01T02:00:00Z"]


def test_after_a_clock_that_was_far_ahead_it_goes_on_from_now() -> None:
    scene = scene_at("2027-06-01T00:30:00")
    add(scene, cron="0 * * * *")
    scene.pass_time(3600)
    assert made(scene) == ["2027-06-01T01:00:00Z"]
    scene.stepped -= 365 * DAY
    scene.pass_time(2 * 3600)
    assert made(scene)[1:] == ["2026-06-01T02:00:00Z", "2026-06-01T03:00:00Z"]
    off(scene, 60)
    scene.pass_time(3600)
    assert made(scene)[3:] == ["2026-06-01T04:00:00Z"]


def test_a_step_ahead_is_time_that_was_missed() -> None:
    scene = scene_at("2026-01-01T00:30:00")
    add(scene, cron="0 * * * *", missed="once")
    scene.stepped += 10 * 3600
    scene.pass_time(1)
    assert made(scene) == ["2026-01-01T10:00:00Z"]


# ---------------------------------------------------------------- overlap


def test_with_overlap_cancel_the_one_before_is_cancelled_wherever_it_is() -> None:
    scene = scene_at("2026-01-01T00:00:00", window_jobs_max=1)
    add(scene, every=60, overlap="cancel")
    scene.pass_time(60)
    scene.ready("W")
    scene.token("W")
    scene.pass_time(60)  # running
    states = [scene.state(f"cron:s:{time}") for time in made(scene)]
    assert states == ["cancelled", "waiting"] and b"CANCEL" in b"".join(scene.sent["W"][0])
    off(scene, 30)
    scene.pass_time(30)  # in the store alone, after a restart
    assert [scene.state(f"cron:s:{time}") for time in made(scene)] == ["cancelled", "cancelled", "waiting"]


def test_with_overlap_cancel_only_the_last_of_those_missed_is_made() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60, overlap="cancel", missed="all")
    off(scene, 300)
    assert made(scene) == ["2026-01-01T00:05:00Z"]


def test_with_overlap_skip_the_next_is_made_when_the_one_before_has_ended() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60, overlap="skip")
    scene.pass_time(120)
    assert len(made(scene)) == 1
    scene.ask("zmws.cancel", id="cron:s:2026-01-01T00:01:00Z")
    scene.pass_time(60)
    assert made(scene)[1:] == ["2026-01-01T00:03:00Z"]


# ---------------------------------------------------------------- what must not happen


def test_a_record_that_was_deleted_lets_nothing_fire_twice() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60)
    scene.pass_time(60)
    scene.ask("zmws.cancel", id="cron:s:2026-01-01T00:01:00Z")
    scene.ask("zmws.delete", id="cron:s:2026-01-01T00:01:00Z")
    off(scene, 1)
    assert made(scene) == []


def test_the_job_and_the_time_of_a_firing_are_one_commit() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60)
    scene.hold = True
    scene.pass_time(60)
    scene.hold = False  # the commit under way is lost with the broker
    off(scene, 1)
    assert made(scene) == ["2026-01-01T00:01:00Z"]
    scene.hold = True
    scene.pass_time(59)
    scene.commit()
    scene.hold = False
    off(scene, 1)
    assert made(scene) == ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]
    assert row(scene)["fired"] == 2


def test_one_that_was_removed_or_paused_does_not_fire() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60)
    scene.ask("zmws.schedule", do="pause", name="s")
    scene.pass_time(120)
    off(scene, 120)
    assert made(scene) == [] and row(scene)["paused"]
    scene.ask("zmws.schedule", do="resume", name="s")
    scene.pass_time(0)
    assert made(scene) == []  # what passed meanwhile was not missed
    off(scene, 1)
    assert made(scene) == []
    scene.ask("zmws.schedule", do="remove", name="s")
    scene.pass_time(120)
    off(scene, 120)
    assert made(scene) == [] and scene.ask("zmws.schedules")[1] == {"schedules": []}


def test_no_limit_of_its_service_keeps_a_schedule_from_firing() -> None:
    scene = Scene(max_waiting=1)
    scene.restart()
    scene.submit("j")
    add(scene, every=60)
    scene.pass_time(60)
    assert len(made(scene)) == 1


# ---------------------------------------------------------------- the settings


def fixed(name: str = "s", **given: Any) -> ScheduleRow:
    return ScheduleRow(name=name, service="E", anchor=0.0, fixed=True, **{"every": 60.0, **given})


def test_a_schedule_of_the_settings_goes_on_where_it_was_and_is_changed_there_alone() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    scene.schedules = [fixed()]
    scene.restart()
    scene.pass_time(60)
    assert made(scene) == ["2026-01-01T00:01:00Z"] and row(scene)["fixed"]
    off(scene, 30)
    scene.pass_time(30)
    assert len(made(scene)) == 2
    for verb, more in (("remove", {}), ("add", {"service": "E", "every": 5, "replace": True})):
        status, why = scene.ask("zmws.schedule", do=verb, name="s", **more)
        assert (status, why["code"]) == (409, "not_possible")
    scene.ask("zmws.schedule", do="pause", name="s")
    off(scene, 60)
    assert len(made(scene)) == 2 and row(scene)["paused"]
    scene.schedules = []
    off(scene, 1)
    assert scene.ask("zmws.schedules")[1] == {"schedules": []}
    assert any("schedule s is no more" in text for _, text in scene.log)


def test_the_settings_go_before_one_of_that_name_that_was_added() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60)
    scene.pass_time(60)
    scene.schedules = [fixed(every=3600.0)]
    off(scene, 1)
    assert (row(scene)["fixed"], row(scene)["every"], row(scene)["fired"]) == (True, 3600.0, 1)


def test_there_may_be_so_many_and_no_more() -> None:
    scene = scene_at("2026-01-01T00:00:00", schedules_max=1)
    add(scene, every=60)
    status, why = scene.ask("zmws.schedule", do="add", name="t", service="E", every=60)
    assert (status, why["code"]) == (429, "too_many_schedules")
    assert add(scene, every=90, replace=True)["every"] == 90.0


def test_new_times_in_the_settings_have_missed_nothing() -> None:
    scene = scene_at("2026-01-01T12:00:00")
    scene.schedules = [fixed(every=None, cron="0 13 * * *")]
    scene.restart()
    scene.pass_time(3600)
    assert made(scene) == ["2026-01-01T13:00:00Z"]
    scene.schedules = [fixed(every=None, cron="0 9 * * *")]
    off(scene, DAY)  # 09:00 has passed, but nobody had said so then
    assert made(scene) == ["2026-01-01T13:00:00Z"] and row(scene)["next_at"] == "2026-01-03T09:00:00.000Z"


def test_one_that_is_said_anew_is_as_it_is_said() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60)
    scene.pass_time(60)
    assert add(scene, every=60, paused=True, replace=True)["paused"]
    assert not add(scene, every=60, replace=True)["paused"] and row(scene)["fired"] == 1
    scene.pass_time(59)
    assert len(made(scene)) == 1


def test_a_job_by_hand_is_told_when_it_is_on_disk_also_where_another_is_cancelled_first() -> None:
    scene = scene_at("2026-01-01T00:00:00", window_jobs_max=1)
    add(scene, every=60, overlap="cancel")
    scene.pass_time(60)
    off(scene, 1)  # it stands in the store alone, and has to be read
    scene.hold = True
    assert scene.ask("zmws.schedule", do="run", name="s") is None
    scene.hold = False
    scene.commit()
    status, told = scene.answer()
    assert status == 200 and scene.stored(told["id"])["state"] == "waiting"
    assert scene.state("cron:s:2026-01-01T00:01:00Z") == "cancelled"


@pytest.mark.parametrize("begin", ["2026-01-01T00:00:07", "2039-06-01T12:00:00"])
def test_times_by_count_go_on_whatever_a_float_can_hold(begin: str) -> None:
    scene = scene_at(begin)
    chance = random.Random(7)
    for n in range(200):
        every = chance.choice((1.1, 2.2, 90.1, 3600.1, 600.0, chance.uniform(1.0, 1e6)))
        anchor = at(begin) - chance.choice((0.0, chance.uniform(0.0, 1e7)))
        row = ScheduleRow(name=f"s{n}", service="E", every=every, anchor=anchor)
        time = at(begin)
        for _ in range(20):
            later = scene.core.schedules.next_after(row, time)
            assert later is not None and time < later <= time + every * 1.000001 + 1e-6
            time = later
    add(scene, every=1.1)
    scene.pass_time(30)
    assert len(made(scene)) == 27


def test_a_clock_that_was_far_ahead_between_two_looks_silences_nothing() -> None:
    scene = scene_at("2026-01-01T00:00:30")
    add(scene, cron="* * * * *")
    scene.stepped += 400 * DAY
    scene.pass_time(3)
    scene.stepped -= 400 * DAY
    scene.pass_time(180)
    assert len(made(scene)) >= 3 and made(scene)[-1].startswith("2026-01-01T00:03")


def test_by_hand_where_one_goes_on_that_one_is_told() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    add(scene, every=60, overlap="skip")
    scene.pass_time(60)
    told = {"id": "cron:s:2026-01-01T00:01:00Z", "existing": True}
    assert scene.ask("zmws.schedule", do="run", name="s") == (200, told)
    assert row(scene)["fired"] == 1


def test_what_the_settings_say_of_a_pause_holds_until_somebody_says_otherwise() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    for paused in (False, True, False):
        scene.schedules = [fixed(paused=paused)]
        off(scene, 1)
        assert row(scene)["paused"] is paused
    scene.ask("zmws.schedule", do="pause", name="s")
    off(scene, 1)
    assert row(scene)["paused"] and any("was paused by hand" in text for _, text in scene.log)


def test_one_that_would_never_make_a_job_is_refused() -> None:
    scene = scene_at("2026-01-01T00:00:00")
    for given in (
        {"until": "2025-01-01T00:00:00Z"},
        {"params": "x" * 70_000},
        {"options": {"on_failed": "NO"}},
    ):
        status, _ = scene.ask("zmws.schedule", do="add", name="s", service="E", every=60, **given)
        assert status in (400, 404)


@pytest.mark.parametrize("how", ["pause", "remove"])
def test_one_that_is_stopped_while_the_job_before_is_read_does_not_fire(how: str) -> None:
    scene = scene_at("2026-01-01T00:00:00", window_jobs_max=1)
    for n in range(300):  # these have the places in memory, so the one before has to be read
        scene.submit(f"first-{n}")
    add(scene, every=60, overlap="cancel")
    scene.pass_time(60)
    off(scene, 1)
    stopped, read_now = [], scene._read

    def reading(read: Read) -> Rows:
        if isinstance(read.asker, Firing):
            schedules = scene.core.schedules
            stopped.append(schedules.pause("s", True) if how == "pause" else schedules.remove("s"))
        return read_now(read)

    scene._read = reading  # type: ignore[method-assign]
    scene.pass_time(60)
    assert len(stopped) == 1
    assert made(scene) == ["2026-01-01T00:01:00Z"]
    assert scene.state("cron:s:2026-01-01T00:01:00Z") == "waiting"
