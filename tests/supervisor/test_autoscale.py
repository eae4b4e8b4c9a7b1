"""How many copies there are to be: up fast, down slowly, never past what is allowed."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from zmws.settings import ScaleSettings
from zmws.supervisor.autoscale import Autoscale, Seen

MIB = 1 << 20
GIVEN = ScaleSettings(min=0, max=8, target_wait=2.0, down_after=30.0)
LATE = Seen(have=1, starting=0, idle=(), waiting=100, oldest_s=3.0)


def test_what_waits_while_none_runs_gets_one_at_once() -> None:
    scale = Autoscale(GIVEN)
    assert scale.count(Seen(0, 0, (), waiting=0, oldest_s=0), 0) == 0
    assert scale.count(Seen(0, 0, (), waiting=1, oldest_s=0.01), 1) == 1


def test_they_double_while_the_oldest_waits_for_too_long_and_not_before_those_are_ready() -> None:
    scale, have, counts = Autoscale(GIVEN), 1, []
    for second in range(5):
        assert scale.count(replace(LATE, have=have, starting=1), second) == have
        have = scale.count(replace(LATE, have=have), second)
        counts.append(have)
    assert counts == [2, 4, 8, 8, 8] and scale.why.startswith("no more, by max: the oldest of 100 waiting")
    assert scale.count(replace(LATE, oldest_s=2.0), 9) == 1, "not for longer than target_wait"


def test_no_more_are_added_than_there_are_jobs() -> None:
    assert Autoscale(GIVEN).count(replace(LATE, have=4, waiting=1), 0) == 5
    assert Autoscale(GIVEN).count(replace(LATE, have=4, waiting=7, slots=4), 0) == 6


@pytest.mark.parametrize(
    ("given", "seen", "why"),
    [
        ({}, {"is_paused": True}, None),
        ({}, {"max_running": 2, "slots": 1}, "by max_running = 2"),
        ({}, {"max_running": 7, "slots": 4}, "by max_running = 7"),
        ({"memory_max": 500 * MIB}, {"memory_bytes": 500 * MIB}, "by memory_max: they have 500 MiB"),
        ({"cpu_max": 80}, {"cpu_percent": 80.0}, "by cpu_max: 80 %"),
        ({"max": 2}, {}, "by max"),
        ({}, {"fatal": 1}, "no more: 1 of 2 do not come up"),
    ],
)
def test_none_is_added_that_could_do_nothing(given: dict, seen: dict, why: str | None) -> None:
    scale = Autoscale(replace(GIVEN, **given))
    assert scale.count(replace(LATE, have=2, **seen), 0) == 2
    assert why is None or why in scale.why, scale.why
    if why is not None and ("memory" in why or "cpu" in why):
        assert scale.count(replace(LATE, have=0, **seen), 1) == 1, "one is to run, whatever it takes"


def test_one_at_a_time_goes_when_it_was_not_needed_for_long_and_is_idle() -> None:
    scale = Autoscale(GIVEN)
    idle = ("c", "b", "a")
    counts = {}
    have, at = 3, 0.0
    while have and at < 100:
        now_idle = idle[len(idle) - have :]
        have = scale.count(Seen(have, 0, now_idle, 0, 0.0), at)
        counts.setdefault(have, at)
        at += 1.0
    assert counts[2] >= 27 and counts[1] - counts[2] >= 3 and counts[0] - counts[1] >= 3, counts
    assert "no job has needed it for 30 s" in scale.why


def test_who_was_needed_a_moment_ago_stays_and_so_do_the_busy() -> None:
    scale = Autoscale(GIVEN)
    for second in range(60):
        idle = () if second % 20 == 0 else ("a",)  # needed each 20 seconds
        assert scale.count(Seen(1, 0, idle, 0, 0.0), second) == 1
    busy = Autoscale(GIVEN)
    for second in range(100):
        assert busy.count(Seen(2, 0, (), 0, 0.0), second) == 2


def test_the_bounds_hold_whatever_was_before() -> None:
    scale = Autoscale(replace(GIVEN, min=2, max=4))
    assert scale.count(Seen(0, 0, (), 0, 0.0), 0) == 2
    assert scale.count(Seen(9, 0, (), 0, 0.0), 1) == 4
    for second in range(100):
        assert scale.count(Seen(2, 0, ("b", "a"), 0, 0.0), second) == 2


def test_a_service_that_the_broker_does_not_know_gets_one_that_tells_it() -> None:
    assert Autoscale(GIVEN).count(Seen(0, 0, (), 0, 0.0, is_known=False), 0) == 1
    assert Autoscale(GIVEN).count(Seen(1, 1, (), 0, 0.0, is_known=False), 0) == 1


@pytest.mark.parametrize("seed", range(50))
def test_whatever_comes_it_stays_within_bounds_works_off_all_and_comes_down(seed: int) -> None:
    draw = random.Random(seed)
    given = ScaleSettings(min=draw.randrange(3), max=draw.randrange(3, 12), target_wait=1.0, down_after=10.0)
    scale, have, waiting, oldest_s, peak = Autoscale(given), given.min, 0.0, 0.0, 0
    for second in range(600):
        if second < 60:
            waiting += draw.randrange(0, 20)
        done = min(waiting, 2.0 * have)
        waiting -= done
        oldest_s = oldest_s + 1.0 if waiting else 0.0
        idle = [str(n) for n in range(have - math.ceil(done / 2.0))]
        have = scale.count(Seen(have, 0, idle, math.ceil(waiting), oldest_s), float(second))
        peak = max(peak, have)
        assert given.min <= have <= given.max
    assert waiting == 0 and have == given.min and peak > given.min
