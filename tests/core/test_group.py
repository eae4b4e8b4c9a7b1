"""The waiting jobs of one group: their order, and how far they are here."""

from __future__ import annotations

import random

import pytest

from tests.core.jobs import a_job
from zmws.core.group import ALL_IN_STORE, LOOK_BACK, Group, Queue
from zmws.core.rows import Key


def order(queue: Queue) -> list[int]:
    found = []
    while (entry := queue.head()) is not None:
        queue.pop()
        found.append(entry[3].number)
    return found


def test_whatever_order_jobs_come_in_they_go_by_rank_and_number() -> None:
    chance = random.Random(5)
    queue, jobs = Queue(), [a_job(n, float(n % 7)) for n in range(1, 60)]
    chance.shuffle(jobs)
    for job in jobs:
        queue.push(job)
    for job in jobs[::3]:
        job.move("cancel", 0.0)
        queue.left()
    rest = sorted((job for job in jobs if job.state == "waiting"), key=lambda job: (job.rank, job.number))
    assert queue.live == len(rest) and {job.number for job in queue} == {job.number for job in rest}
    assert order(queue) == [job.number for job in rest]
    assert queue.live == 0


def test_the_last_of_the_line_goes_but_not_the_head_and_nothing_that_is_written() -> None:
    queue, jobs = Queue(), [a_job(n) for n in range(1, 5)]
    assert queue.pop_last() is None
    for job in jobs:
        queue.push(job)
    jobs[3].last_write = object()
    assert queue.pop_last() is jobs[2] and queue.live == 3, "the one before it goes"
    jobs[3].move("cancel", 0.0)
    queue.left()
    assert queue.pop_last() is jobs[1] and queue.live == 1
    assert queue.pop_last() is None and queue.head() is not None


def test_only_the_last_few_of_the_line_are_looked_at() -> None:
    queue, jobs = Queue(), [a_job(n) for n in range(LOOK_BACK + 3)]
    for job in jobs:
        queue.push(job)
    for job in jobs[-LOOK_BACK:]:
        job.last_write = object()
    assert queue.pop_last() is None
    jobs[-LOOK_BACK].last_write = None
    assert queue.pop_last() is jobs[-LOOK_BACK]


def test_where_most_came_out_of_order_the_last_of_them_go_too() -> None:
    queue, jobs = Queue(), [a_job(n, float(-n)) for n in range(6)]
    for job in jobs:
        queue.push(job)
    assert [queue.pop_last() for _ in range(6)] == [*jobs[:5], None]
    assert order(queue) == [5]


def test_the_last_of_the_line_may_go_where_the_head_is_in_the_heap() -> None:
    queue = Queue()
    queue.push(a_job(2, 5.0))
    queue.push(a_job(1, 1.0))
    last = queue.pop_last()
    assert last is not None and last.number == 2 and order(queue) == [1]


def test_stale_entries_are_few() -> None:
    queue, jobs = Queue(), [a_job(n, float(-n)) for n in range(1, 201)]
    for job in jobs:
        queue.push(job)
    for n, job in enumerate(jobs[1:], 1):
        job.move("cancel", 0.0)
        queue.left()
        assert len(queue._line) + len(queue._heap) <= 2 * (200 - n) + 64
    assert order(queue) == [1]


def test_memory_and_stored_jobs_of_a_group_go_by_one_order() -> None:
    group = Group()
    for job in (a_job(1, 1.0), a_job(2, 2.0, kind="memory"), a_job(3, 3.0), a_job(4, 0.0, kind="memory")):
        group.queue_of(job).push(job)
    assert (group.stored.live, group.memory.live) == (2, 2)
    found = []
    while (entry := group.next()) is not None:
        found.append(entry[3].number)
        group.queue_of(entry[3]).pop()
    assert found == [4, 1, 2, 3] and group.empty


def test_a_job_from_the_horizon_on_is_not_given_out() -> None:
    group = Group((5.0, 3))
    for job, given in ((a_job(4, 5.0), False), (a_job(3, 5.0), False), (a_job(2, 5.0), True)):
        group.queue_of(job).push(job)
        assert (group.next() is not None) is given, job.number
    assert not Group(ALL_IN_STORE).empty and Group(ALL_IN_STORE).next() is None


@pytest.mark.parametrize(
    ("loading", "horizon", "key", "then", "after"),
    [
        (False, None, (5.0, 1), (5.0, 1), None),
        (False, (5.0, 1), (4.0, 9), (4.0, 9), None),
        (False, (5.0, 1), (5.0, 2), (5.0, 1), None),
        (True, (5.0, 1), (6.0, 1), (5.0, 1), (6.0, 1)),
    ],
)
def test_what_goes_to_the_store_lowers_the_horizon(
    loading: bool, horizon: Key | None, key: Key, then: Key, after: Key | None
) -> None:
    group = Group(horizon)
    group.loading = loading
    group.lower(key)
    assert (group.horizon, group.lowered) == (then, after)


@pytest.mark.parametrize(
    ("more", "lowered", "horizon"),
    [
        (None, [], None),
        ((7.0, 1), [], (7.0, 1)),
        (None, [(6.0, 1), (5.0, 2), (5.0, 3)], (5.0, 2)),
        ((7.0, 1), [(8.0, 1)], (7.0, 1)),
        ((7.0, 1), [(6.0, 1)], (6.0, 1)),
    ],
)
def test_after_a_page_the_horizon_is_the_lowest_of_what_is_left_in_the_store(
    more: Key | None, lowered: list[Key], horizon: Key | None
) -> None:
    group = Group((1.0, 1))
    group.loading = True
    for key in lowered:
        group.lower(key)
    group.came_in(more)
    assert (group.horizon, group.loading, group.lowered) == (horizon, False, None)
