"""The bars of one worker: which attempts share one, and how many there can be."""

from __future__ import annotations

import random

import pytest

from zmws.core.lane import BURST_S, NEITHER, SLACK_S, STEP_S, Lane
from zmws.core.states import COMPLETE, FAILED


def told(lane: Lane) -> list[tuple[float, float, int, str | None]]:
    """Start, end, jobs and id of each bar."""
    return [(round(one.start, 3), round(one.end, 3), one.jobs, one.job_id) for one in lane.bars]


def test_an_attempt_is_a_bar_with_its_service_and_id() -> None:
    lane = Lane(300.0)
    lane.ended(102.0, 2.0, "E", "a", COMPLETE)
    (bar,) = lane.bars
    assert (bar.start, bar.end, bar.service, bar.job_id) == (100.0, 102.0, "E", "a")
    assert (bar.jobs, bar.failed, bar.other) == (1, 0, 0)


def test_short_attempts_that_begin_within_the_step_share_a_bar_and_the_next_begins_another() -> None:
    lane = Lane(300.0)
    for n in range(6):
        lane.ended(100.1 + n * 0.1, 0.1, "E", f"j{n}", (COMPLETE, FAILED, NEITHER)[n % 3])
    assert told(lane) == [(100.0, 100.5, 5, None), (100.5, 100.6, 1, "j5")]
    first, second = lane.bars
    assert (first.failed, first.other, first.service) == (2, 1, "E")
    assert (second.failed, second.other) == (0, 1)


def test_an_attempt_that_took_less_than_nothing_begins_with_its_end() -> None:
    lane = Lane(300.0)
    lane.ended(100.0, -2.5, "E", "a", COMPLETE)  # the clock was set back meanwhile
    lane.ended(102.4, 0.1, "E", "b", COMPLETE)
    assert told(lane) == [(100.0, 100.0, 1, "a"), (102.3, 102.4, 1, "b")]


def test_what_takes_longer_than_the_step_is_a_bar_of_its_own_and_none_joins_it() -> None:
    lane = Lane(300.0)
    lane.ended(100.1, 0.1, "E", "short", COMPLETE)
    lane.ended(100.6, STEP_S, "E", "long", COMPLETE)
    lane.ended(100.65, 0.05, "E", "after", COMPLETE)
    assert [one[3] for one in told(lane)] == ["short", "long", "after"]


def test_a_bar_of_several_services_names_none_and_of_short_ones_the_first_to_begin_begins_it() -> None:
    lane = Lane(300.0)
    lane.ended(100.2, 0.1, "E", "a", COMPLETE)
    lane.ended(100.3, 0.3, "F", "b", COMPLETE)
    (bar,) = lane.bars
    assert (bar.service, bar.job_id, bar.jobs, bar.start, bar.end) == (None, None, 2, 100.0, 100.3)


@pytest.mark.parametrize("most_s", [0.001, 0.4, 3.0, 60.0])
def test_however_many_attempts_end_there_are_two_bars_a_second_and_none_is_left_out(most_s: float) -> None:
    chance, lane, at = random.Random(7), Lane(60.0), 1.7e9
    ends: list[float] = []
    for _ in range(100_000):
        at += 0.002
        lane.ended(at, chance.random() * most_s, "E", "j", FAILED)
        ends.append(at)
        assert len(lane.bars) <= (60.0 + BURST_S) / STEP_S + 2
    assert sum(one.jobs for one in lane.bars) == sum(one.failed for one in lane.bars)
    for ago_s in (0.0, 5.0, 30.0, 59.0):
        count = sum(one.jobs for one in lane.since(at - ago_s))
        least = sum(end >= at - ago_s for end in ends)
        assert least <= count <= sum(end >= at - ago_s - SLACK_S for end in ends)


def test_what_ended_too_long_ago_is_dropped_and_no_sooner() -> None:
    lane = Lane(10.0)
    for n in range(30):
        lane.ended(100.0 + n, 0.6, "E", f"j{n}", COMPLETE)
    assert [one.job_id for one in lane.bars] == [f"j{n}" for n in range(19, 30)]
    lane.forget(135.0)
    assert [one.job_id for one in lane.bars] == [f"j{n}" for n in range(25, 30)]
    lane.forget(1000.0)
    assert lane.since(0.0) == []


def test_what_was_asked_for_changes_no_more() -> None:
    lane = Lane(300.0)
    lane.ended(99.0, 0.1, "E", "old", COMPLETE)
    lane.ended(100.1, 0.1, "E", "a", COMPLETE)
    (bar,) = lane.since(99.5)
    lane.ended(100.2, 0.1, "E", "b", FAILED)
    assert (bar.jobs, bar.failed, bar.end, bar.job_id) == (1, 0, 100.1, "a")
    assert lane.bars[-1].jobs == 2
