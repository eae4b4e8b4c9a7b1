"""Which jobs memory holds: windows, pages, agendas, the look each second."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.backlog import AHEAD_S, LOOK_ROWS_MAX, PAGE_ROWS_MAX, PAGE_ROWS_MIN
from zmws.core.reads import ReadExpired, ReadScheduled, ReadWaiting


class Reading(Scene):
    """A scene with words for what is here and what is read."""

    def of(self, kind: type) -> list[Any]:
        """What was read of this kind since this was asked last."""
        found = [read for read in self.reads if isinstance(read, kind)]
        self.reads = []
        return found

    @property
    def here(self) -> int:
        return len(self.core.held.stored)


@pytest.mark.parametrize(("jobs", "here"), [(9, 9), (10, 10), (11, 10), (30, 10)])
def test_of_the_waiting_jobs_a_window_is_here(jobs: int, here: int) -> None:
    scene = Reading(limits={"window_jobs_max": 10})
    for n in range(jobs):
        scene.submit(f"j{n}")
    service = scene.service()
    assert (scene.here, service.held, service.beyond) == (here, here, jobs - here)
    assert scene.row()["waiting"] == jobs
    assert not scene.of(ReadWaiting), "there is enough here"


def test_the_window_is_bounded_in_bytes_too() -> None:
    scene = Reading(limits={"window_bytes_max": 1_000})
    for n in range(10):
        scene.submit(f"j{n}", body=b"x" * 100)
    service = scene.service()
    assert (service.held, service.held_bytes, service.beyond) == (10, 1_000, 0)
    assert not scene.of(ReadWaiting), "it is not full yet"
    for n in range(10, 30):
        scene.submit(f"j{n}", body=b"x" * 100)
        assert service.held_bytes <= 1_000 + 500, "at most a page more"
        assert n > 10 or service.beyond == 1
    assert service.held + service.beyond == 30 and service.beyond > 10


@pytest.mark.parametrize(("window", "rows"), [(2_000, 500), (200, 100), (11, 5), (6, 4), (1, 4)])
def test_a_page_is_half_a_window_but_neither_very_small_nor_very_large(window: int, rows: int) -> None:
    assert (PAGE_ROWS_MIN, PAGE_ROWS_MAX) == (4, 500)
    scene = Reading(limits={"window_jobs_max": window, "window_bytes_max": 10_000})
    scene.submit("j")
    scene.restart()
    (page,) = scene.of(ReadWaiting)
    assert (page.limit, page.bytes_max) == (rows, 5_000)
    assert (page.service, page.group, page.asker) == ("E", None, ("E", None))


def test_the_next_page_is_asked_for_when_half_a_page_is_left() -> None:
    scene = Reading(limits={"window_jobs_max": 13})
    for n in range(30):
        scene.submit(f"j{n}")
    scene.ready("W")
    scene.reads.clear()
    for left in range(11, 2, -1):
        scene.final("W", scene.token("W"))
        assert scene.service().held == (left if left > 3 else 3 + 6)
        assert len(scene.of(ReadWaiting)) == (left == 3)


def test_what_is_in_the_store_alone_starts_in_its_turn_and_all_of_it() -> None:
    scene = Reading(limits={"window_jobs_max": 6})
    for n in range(40):
        scene.submit(f"j{n:02}", group="ab"[n % 2] if n < 20 else None)
    scene.ready("W")
    order = []
    for _ in range(40):
        request = scene.requests("W")[-1]
        order.append(request[4].split(b'"')[3].decode())
        assert scene.here < 25
        scene.final("W", request[2])
    assert len(set(order)) == 40
    for group in ("a", "b", None):
        of_group = [f"j{n:02}" for n in range(40) if ("ab"[n % 2] if n < 20 else None) == group]
        assert [job_id for job_id in order if job_id in of_group] == of_group
    service = scene.service()
    assert (service.held, service.beyond, service.groups, service.held_bytes) == (0, 0, {}, 0)
    assert scene.row()["complete"] == 40


def test_a_page_is_shared_out_among_the_groups() -> None:
    scene = Reading(limits={"window_jobs_max": 100, "window_bytes_max": 100_000})
    for n in range(240):
        scene.submit(f"j{n}", group=f"g{n % 2}")
    scene.restart()
    pages = scene.of(ReadWaiting)
    assert {page.group for page in pages} == {"g0", "g1"}
    assert {page.limit for page in pages} == {100 // 4} and {page.bytes_max for page in pages} == {25_000}
    assert scene.row()["waiting"] == 240


def test_a_job_of_a_higher_priority_comes_before_what_is_in_the_store_alone() -> None:
    scene = Reading(limits={"window_jobs_max": 4})
    for n in range(10):
        scene.submit(f"j{n}")
    scene.submit("first", priority=10)
    scene.ready("W")
    assert b'"id": "first"' in scene.requests("W")[0][4]


def test_a_cancelled_job_makes_room_for_the_next_page() -> None:
    scene = Reading(limits={"window_jobs_max": 8})
    for n in range(20):
        scene.submit(f"j{n}")
    scene.reads.clear()
    for n in range(6):
        assert not scene.of(ReadWaiting)
        scene.ask("zmws.cancel", id=f"j{n}")
        scene.reads = [read for read in scene.reads if isinstance(read, ReadWaiting)]
    (page,) = scene.of(ReadWaiting)
    assert page.limit == 4 and scene.service().held == 2 + 4
    assert scene.row()["waiting"] == 14


# ---------------------------------------------------------------- scheduled jobs


@pytest.mark.parametrize("by_wall", [False, True])
def test_of_the_scheduled_jobs_those_that_are_due_first_are_here(by_wall: bool) -> None:
    scene = Reading(limits={"window_scheduled_max": 4})

    def when(seconds: int) -> dict[str, Any]:
        return (
            {"at": f"2023-11-14T22:{13 + seconds // 60:02}:{20 + seconds % 60:02}Z"}
            if by_wall
            else {"delay": seconds}
        )

    for n in range(4):
        scene.submit(f"j{n}", **when(20 + n))
    assert (scene.here, scene.service().scheduled_beyond) == (4, 0)
    scene.submit("late", **when(30))
    assert (scene.here, scene.service().scheduled_beyond) == (4, 1)
    scene.submit("early", **when(10))
    assert (scene.here, scene.service().scheduled_beyond) == (4, 2), "the horizon is lower now"
    assert scene.row()["scheduled"] == 6
    scene.reads.clear()
    assert AHEAD_S == 5.0
    scene.pass_time(10 - AHEAD_S - 1.1)
    assert not scene.of(ReadScheduled)
    scene.pass_time(1.2)
    pages = scene.of(ReadScheduled)
    assert {(page.by_wall, page.limit) for page in pages} == {(by_wall, 2)}
    assert "early" in scene.core.held.stored
    scene.pass_time(4.9)
    assert scene.state("early") == "waiting"
    scene.pass_time(25)
    assert scene.row()["scheduled"] == 0 and scene.row()["waiting"] == 6
    assert scene.service().scheduled_beyond == 0


def test_a_page_of_scheduled_jobs_is_half_a_window_and_no_more_than_a_page() -> None:
    for window, rows in ((2_000, PAGE_ROWS_MAX), (600, 300), (1, 1)):
        scene = Reading(limits={"window_scheduled_max": window, "window_bytes_max": 3_000})
        scene.submit("a", delay=100)
        scene.submit("b", delay=200)
        scene.restart()
        pages = scene.of(ReadScheduled)
        assert {page.limit for page in pages} == {rows} and {page.bytes_max for page in pages} == {1_500}
        assert scene.row()["scheduled"] == 2


def test_a_scheduled_job_that_is_cancelled_makes_room_for_the_next() -> None:
    scene = Reading(limits={"window_scheduled_max": 4})
    for n in range(8):
        scene.submit(f"j{n}", delay=100 + n)
    for n in range(3):
        scene.ask("zmws.cancel", id=f"j{n}")
    assert scene.service().scheduled_count == 5
    assert "j4" in scene.core.held.stored and scene.service().scheduled_beyond == 2


def test_a_scheduled_job_that_is_let_go_is_here_again_before_it_is_due() -> None:
    scene = Reading(limits={"window_scheduled_max": 4})
    scene.ready("W")
    scene.alive.add("W")
    for n in range(4):
        scene.submit(f"j{n}", delay=100)
    scene.submit("soon", delay=0.5)
    scene.pass_time(0.5)
    assert scene.state("soon") == "running"


def test_a_failed_job_that_finds_its_agenda_full_waits_in_the_store_alone() -> None:
    scene = Reading(limits={"window_scheduled_max": 1}, backoff=30)
    scene.alive.add("W")
    scene.submit("first", delay=20)
    scene.ready("W")
    scene.submit("j")
    scene.final("W", scene.token("W"), b"FAIL")
    assert scene.here == 1 and scene.service().scheduled_beyond == 1
    scene.pass_time(29)
    assert scene.requests("W") and scene.row()["scheduled"] == 1
    scene.final("W", scene.core.held.stored["first"].token or b"")
    scene.pass_time(1.1)
    assert b'"id": "j"' in scene.requests("W")[-1][4]


# ---------------------------------------------------------------- what expires in the store


def test_what_expires_in_the_store_alone_ends_within_a_second() -> None:
    scene = Reading(limits={"window_jobs_max": 2})
    for n in range(LOOK_ROWS_MAX + 50):
        scene.submit(f"j{n}", expires=10 if n else 10_000)
    scene.submit("later", expires=20)
    scene.pass_time(9)
    scene.reads.clear()
    here = scene.here
    assert scene.row()["waiting"] == LOOK_ROWS_MAX + 51
    scene.pass_time(2)
    looks = scene.of(ReadExpired)
    assert looks[-1].at == pytest.approx(WALL_AT_START + 11, abs=1.01)
    assert LOOK_ROWS_MAX == 200 and looks[0].limit == 200 + here
    assert scene.row()["waiting"] == 2 and scene.counted("jobs_expired") == LOOK_ROWS_MAX + 49
    assert scene.state("j5") == "expired"
    scene.pass_time(10)
    assert scene.state("later") == "expired" and scene.row()["waiting"] == 1


def test_the_store_is_looked_at_each_second_while_something_is_there_alone() -> None:
    scene = Reading(limits={"window_jobs_max": 2})
    for n in range(3):
        scene.submit(f"j{n}")
    scene.pass_time(0.9)
    assert not scene.of(ReadExpired)
    scene.pass_time(0.1)
    assert len(scene.of(ReadExpired)) == 1
    scene.pass_time(3)
    assert len(scene.of(ReadExpired)) == 3
    scene.ask("zmws.cancel", id="j2")
    scene.pass_time(1)
    scene.reads.clear()
    scene.pass_time(5)
    assert not scene.of(ReadExpired)


def test_a_cancelled_job_out_of_the_store_counts_no_more() -> None:
    scene = Reading(limits={"window_jobs_max": 4, "window_scheduled_max": 2})
    for n in range(2):
        scene.submit(f"v{n}")
    for n in range(4):
        scene.submit(f"w{n}")
        scene.submit(f"s{n}", delay=100)
    assert (scene.service().beyond, scene.service().scheduled_beyond) == (2, 2)
    for job_id in ("w3", "s3"):
        assert scene.ask("zmws.cancel", id=job_id) == (200, {"count": 1})
        assert scene.state(job_id) == "cancelled"
    assert (scene.service().beyond, scene.service().scheduled_beyond) == (1, 1)
    assert (scene.row()["waiting"], scene.row()["scheduled"]) == (5, 3)


def test_after_a_restart_without_scheduled_jobs_nothing_is_asked_for() -> None:
    scene = Reading()
    scene.restart()
    scene.pass_time(5)
    assert not scene.of(ReadScheduled) and not scene.of(ReadExpired)
    scene.submit("j", delay=3)
    scene.restart()
    assert {read.by_wall for read in scene.of(ReadScheduled)} == {False, True}
    scene.pass_time(3)
    assert scene.state("j") == "waiting"


def test_after_a_restart_what_expires_in_the_store_alone_ends_too() -> None:
    scene = Reading(limits={"window_jobs_max": 4})
    for n in range(12):
        scene.submit(f"j{n}", expires=20)
    scene.restart()
    assert scene.service().beyond > 0
    scene.pass_time(21)
    assert scene.row()["waiting"] == 0 and scene.counted("jobs_expired") == 12


def test_the_store_is_asked_for_what_has_expired_one_page_at_a_time() -> None:
    scene = Reading(limits={"window_jobs_max": 4})
    for n in range(LOOK_ROWS_MAX + 50):
        scene.submit(f"j{n}", expires=10)
    scene.pass_time(9.5)
    scene.reads.clear()
    scene.hold = True
    scene.pass_time(4)
    scene.commit()
    looks = scene.of(ReadExpired)
    assert len(looks) == 1 and scene.counted("jobs_expired") >= LOOK_ROWS_MAX
    scene.pass_time(3)
    scene.hold = False
    scene.settle()
    assert len(scene.of(ReadExpired)) == 1, "the rest, asked for when the first page was in"
    assert scene.row()["waiting"] == 0 and scene.counted("jobs_expired") == LOOK_ROWS_MAX + 50
    scene.pass_time(3)
    assert not scene.of(ReadExpired)


def test_what_is_due_later_than_something_in_the_store_alone_goes_there_too() -> None:
    scene = Reading(limits={"window_scheduled_max": 4})
    for n in range(5):
        scene.submit(f"j{n}", delay=20 + n)
    for n in (0, 1):
        scene.ask("zmws.cancel", id=f"j{n}")
    assert scene.service().scheduled_beyond == 1 and scene.here == 2, "there is room, and no page is due"
    scene.submit("late", delay=50)
    scene.submit("early", delay=5)
    assert set(scene.core.held.stored) == {"j2", "j3", "early"} and scene.service().scheduled_beyond == 2
    scene.pass_time(50)
    assert scene.row()["scheduled"] == 0 and scene.row()["waiting"] == 5


def test_what_expires_in_the_store_alone_is_looked_for_after_a_restart_too() -> None:
    scene = Scene(limits={"window_jobs_max": 1})
    for n in range(9):
        scene.submit(f"j{n}", expires=20)
    scene.restart()
    assert len(scene.core.held.stored) < 9, "some of them stand in the store alone"
    scene.pass_time(25)
    assert {scene.state(f"j{n}") for n in range(9)} == {"expired"}
