"""What the parts share within one turn: clocks, reminders, output, lines for the log."""

from __future__ import annotations

import pytest

from tests.core.jobs import a_job
from zmws import cron, ids
from zmws.core.limits import Limits
from zmws.core.timers import Reminder
from zmws.core.turn import NEWS_PEER, NOTE_GAP_S, NOTES_KEPT, Turn
from zmws.core.writes import DeleteJob, UpdateJob


def a_turn() -> Turn:
    turn = Turn(Limits(), ids.suppliers(cron))
    turn.now, turn.wall, turn.steady = 100.0, 5_000.0, 5_000.0
    return turn


@pytest.mark.parametrize(("wall", "lead"), [(5_001.0, 0.0), (5_001.5, 1.5), (4_999.0, 0.0), (4_998.0, -2.0)])
def test_the_wall_leads_where_it_is_more_than_a_second_off(wall: float, lead: float) -> None:
    turn = a_turn()
    turn.wall = wall
    assert turn.lead == lead


def test_the_next_deadline_is_the_first_of_three_clocks() -> None:
    turn, called = a_turn(), []
    reminder = Reminder[str](called.append)
    assert turn.next_deadline() is None
    for timers, at, due in (
        (turn.timers, 150.0, 150.0),
        (turn.steady_timers, 5_040.0, 140.0),
        (turn.wall_timers, 5_045.0, 140.0),
        (turn.wall_timers, 5_030.0, 130.0),
        (turn.timers, 120.0, 120.0),
    ):
        timers.add(at, reminder, f"{at:g}")
        assert turn.next_deadline() == due
    only = a_turn()
    only.wall_timers.add(5_010.0, reminder, "x")
    assert only.next_deadline() == 110.0
    turn.now, turn.steady, turn.wall = 120.0, 5_040.0, 5_029.0
    turn.remind()
    assert called == ["120", "5040"]
    turn.wall = 5_030.0
    turn.remind()
    assert called[2:] == ["5030"]


def test_a_line_for_the_log_is_said_once_in_ten_minutes() -> None:
    assert NOTE_GAP_S == 600.0
    turn = a_turn()
    for now, lines in ((100.0, 1), (699.9, 1), (700.0, 2), (1_299.0, 2), (1_300.0, 3)):
        turn.now = now
        turn.note_rarely("key", "warning", "text")
        assert turn.log == [("warning", "text")] * lines
    turn.note_rarely("other", "info", "more")
    assert turn.log[-1] == ("info", "more")


def test_only_so_many_keys_are_known_the_latest() -> None:
    assert NOTES_KEPT == 1_000
    turn = a_turn()
    turn.note_rarely("a", "info", "x")
    for n in range(NOTES_KEPT - 1):
        turn.note_rarely(str(n), "info", "x")
    turn.note_rarely("a", "info", "x")
    assert len(turn.log) == NOTES_KEPT
    turn.note_rarely("one too many", "info", "x")
    turn.note_rarely("0", "info", "x")
    assert len(turn.log) == NOTES_KEPT + 1
    turn.note_rarely("a", "info", "x")
    assert len(turn.log) == NOTES_KEPT + 2, "the oldest was forgotten"


def test_a_memory_job_touches_no_store() -> None:
    turn = a_turn()
    for kind in ("stored", "memory"):
        job = a_job(kind=kind)
        write = UpdateJob("j", {})
        turn.write(write, job)
        assert job.last_write is (write if kind == "stored" else None)
        assert write.job is (job if kind == "stored" else None)
    assert len(turn.writes) == 1


def test_what_has_come_out_is_taken_once() -> None:
    turn = a_turn()
    write = DeleteJob("j")
    turn.write_for(write, None)
    turn.send(("client", b"c", ""), "hello", write)
    turn.news("t", {"a": 1}, write)
    writes, reads, sends = turn.take()
    assert (writes, reads, len(sends)) == ([write], [], 2) and sends[0].after is write
    assert sends[1].peer == NEWS_PEER and sends[1].message.body == {"a": 1} and sends[1].after is write
    assert turn.take() == ([], [], [])
    turn.news_wanted = False
    turn.news("t", {})
    assert turn.take() == ([], [], [])


def test_what_is_noted_again_is_forgotten_last() -> None:
    turn = a_turn()
    for n in range(NOTES_KEPT):
        turn.note_rarely(str(n), "info", "x")
    turn.now += NOTE_GAP_S
    turn.note_rarely("0", "info", "again")
    turn.note_rarely("new", "info", "x")  # one is too many: "1" is the oldest now
    told = len(turn.log)
    turn.note_rarely("0", "info", "x")
    assert len(turn.log) == told
