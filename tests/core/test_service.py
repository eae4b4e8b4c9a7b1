"""One service's waiting jobs and its limits."""

from __future__ import annotations

import pytest

from tests.core.jobs import a_job
from zmws.core.options import ServiceOptions, service_options
from zmws.core.service import Service
from zmws.errors import OptionError


def test_jobs_go_by_rank_and_then_in_the_order_they_came() -> None:
    service = Service("S")
    for number, rank in enumerate((5.0, 1.0, 5.0, 3.0, 0.0), 1):
        service.push(a_job(number, rank))
    assert [service.pop().number for _ in range(5)] == [5, 2, 4, 1, 3]
    assert service.pop() is None and service.waiting_count == 0


def test_groups_take_turns() -> None:
    service = Service("S")
    for number in range(1, 7):
        service.push(a_job(number, group="many"))
    service.push(a_job(7, group="few"))
    assert [service.pop().number for _ in range(4)] == [1, 7, 2, 3]


def test_jobs_that_left_are_skipped_and_let_go_of() -> None:
    service = Service("S")
    jobs = [a_job(number) for number in range(1, 1_001)]
    for job in jobs:
        service.push(job)
    for job in jobs[:-1]:
        job.move("cancel", 0.0)
        service.left(job)
    assert service.waiting_count == 1 and len(list(service.waiting())) == 1
    assert len(service.groups[None].stored._line) <= 66, "stale entries hold on to their jobs"
    assert service.pop() is jobs[-1]


def test_a_group_whose_jobs_have_all_left_counts_no_more() -> None:
    service = Service("S")
    job = a_job(1, group="g")
    service.push(job)
    job.move("cancel", 0.0)
    service.left(job)
    assert not service.groups and not service.knows_group("g") and service.oldest_s(10.0) is None


def test_max_running_paused_and_rate_hold_jobs_back() -> None:
    service = Service("S", ServiceOptions(max_running=1, rate=2.0))
    service.push(a_job(1))
    assert service.may_start_at(0.0) == 0.0
    running = a_job(2)
    for now in (0.0, 0.0):
        service.started(running, now)
    assert service.may_start_at(0.0) is None, "max_running"
    service.running.clear()
    assert service.may_start_at(0.0) > 0.0, "rate"
    assert service.may_start_at(2.0) == 2.0
    service.paused = True
    assert service.may_start_at(2.0) is None


def test_a_job_may_wait_anew_beside_its_own_stale_entry() -> None:
    # As one that was adopted after a crash of the broker, and then given back: the same rank and number.
    in_the_line, in_the_heap = (1, 2), (9, 1, 2, 3)
    for numbers in (in_the_line, in_the_heap):
        service, jobs = Service("S"), {number: a_job(number) for number in numbers}
        for job in jobs.values():
            service.push(job)
        jobs[2].move("cancel", 0.0)
        service.left(jobs[2])
        again = a_job(2)
        service.push(again)
        assert [service.pop() for _ in numbers] == [jobs[1], again, *(jobs[n] for n in sorted(numbers)[2:])]
        assert service.pop() is None


@pytest.mark.parametrize(
    ("ageing", "priority", "rank"),
    [
        (60.0, 0, 1000.0),
        (60.0, 3, 820.0),
        (10.0, -2, 1020.0),
        (None, 1, 1000.0 - 1e10),
        (None, -1, 1000.0 + 1e10),
    ],
)
def test_a_point_of_priority_is_a_head_start_and_without_ageing_beats_all_times(
    ageing: float | None, priority: int, rank: float
) -> None:
    assert Service("S", ServiceOptions(ageing=ageing)).rank(1000.0, priority) == rank


@pytest.mark.parametrize(
    ("rate", "at_once", "then"),
    [(0.5, 1, 2.0), (1.0, 1, 1.0), (4.0, 4, 0.25)],
)
def test_the_rate_saves_up_a_seconds_worth_and_never_less_than_one_start(
    rate: float, at_once: int, then: float
) -> None:
    service = Service("S", ServiceOptions(rate=rate))
    service.push(a_job(1))
    service.started(a_job(2), 0.0)  # a new service has saved up one
    assert service.may_start_at(0.0) == pytest.approx(1 / rate)
    for n in range(at_once):
        assert service.may_start_at(1_000.0) == 1_000.0
        service.started(a_job(10 + n), 1_000.0)
    assert service.may_start_at(1_000.0) == pytest.approx(1_000.0 + then)
    assert service.may_start_at(1_000.0 + then / 2) == pytest.approx(1_000.0 + then)
    assert service.may_start_at(1_000.0 + then) == 1_000.0 + then


def test_a_start_that_was_taken_back_uses_up_nothing_of_the_rate_and_saves_up_no_more() -> None:
    service = Service("S", ServiceOptions(rate=0.5))
    service.push(a_job(1))
    service.started(a_job(2), 10.0)
    service.not_started()
    assert service.may_start_at(10.0) == 10.0
    service.not_started()
    service.started(a_job(2), 10.0)
    assert service.may_start_at(10.0) == 12.0
    service.not_started()
    service.started(a_job(2), 11.0)
    assert service.may_start_at(11.0) == pytest.approx(13.0), "at most one is saved up"


@pytest.mark.parametrize(
    ("running", "limit", "starts"), [(0, 1, True), (1, 1, False), (1, 2, True), (2, 2, False)]
)
def test_max_running_is_how_many_run_at_once(running: int, limit: int, starts: bool) -> None:
    service = Service("S", ServiceOptions(max_running=limit))
    service.push(a_job(1))
    for n in range(running):
        service.started(a_job(10 + n), 0.0)
    assert service.may_start_at(5.0) == (5.0 if starts else None)


def test_without_a_waiting_job_nothing_starts_and_a_parked_one_waits_too() -> None:
    service = Service("S")
    assert service.may_start_at(0.0) is None
    service.push(a_job(1))
    job = service.pop()
    assert job is not None
    service.park(job)
    assert service.may_start_at(3.0) == 3.0 and service.waiting_count == 1


def test_what_waits_is_counted_and_weighed_as_it_moves() -> None:
    service = Service("S")
    jobs = [a_job(n) for n in (1, 2, 3)]
    for job in jobs:
        job.body_bytes = 10
        service.push(job)
    memory = a_job(4)
    memory.kind, memory.body_bytes = "memory", 1_000
    service.push(memory)
    assert (service.held, service.held_bytes, service.waiting_memory, service.waiting_count) == (3, 30, 1, 4)
    assert {job.id for job in service.waiting()} == {"j1", "j2", "j3", "j4"}
    service.park(service.pop() or jobs[0])
    assert (service.held, service.held_bytes) == (3, 30)
    assert {job.id for job in service.waiting()} == {"j1", "j2", "j3", "j4"}
    assert service.unpark() is jobs[0] and not service.parked
    assert (service.held, service.held_bytes, service.waiting_memory) == (2, 20, 1)
    assert service.let_go_last(None) is jobs[2]
    assert (service.held, service.held_bytes, service.beyond, service.waiting_count) == (1, 10, 1, 3)
    service.left(memory)
    assert (service.held, service.waiting_memory) == (1, 0)


def test_parked_jobs_go_in_the_order_in_which_they_were_parked_and_may_leave() -> None:
    service = Service("S")
    jobs = [a_job(n) for n in (1, 2, 3)]
    for job in jobs:
        service.push(job)
    for _ in jobs:
        service.park(service.pop() or jobs[0])
    service.left(jobs[0])
    assert service.waiting_count == 2 and service.groups == {}
    assert service.unpark() is jobs[1] and service.waiting_count == 1


def test_what_has_not_ended_is_counted_wherever_it_is() -> None:
    service = Service("S")
    assert service.forgotten and service.unfinished_count == 0
    for change in ("inserting", "scheduled_beyond", "waiting_memory", "held", "beyond"):
        setattr(service, change, 2)
        assert service.unfinished_count == 2 and not service.forgotten, change
        assert service.scheduled_count == (2 if change == "scheduled_beyond" else 0)
        setattr(service, change, 0)
    service.scheduled["j1"] = a_job(1)
    assert (service.scheduled_count, service.unfinished_count) == (1, 1)
    service.scheduled.clear()
    service.running["j1"] = a_job(1)
    assert service.unfinished_count == 1
    service.running.clear()
    service.registered = True
    assert not service.forgotten


def test_the_oldest_is_the_one_at_the_head_of_a_group_or_parked_that_has_waited_longest() -> None:
    service = Service("S")
    assert service.oldest_s(100.0) is None
    service.push(a_job(1, rank=90.0, group="a"))
    service.push(a_job(2, rank=80.0, group="b"))
    service.push(a_job(3, rank=70.0, group="b"))
    assert service.oldest_s(100.0) == 30.0
    assert service.oldest_s(60.0) == 0.0
    service.groups["b"].lower((0.0, 0))
    service.ready.pop("b")
    assert service.oldest_s(100.0) == 10.0, "a group whose page is being read is passed over"
    parked = a_job(4, rank=50.0)
    service.park(parked)
    assert service.oldest_s(100.0) == 50.0


def test_a_group_with_one_job_left_gives_up_its_turn_and_a_new_one_goes_to_the_tail() -> None:
    service = Service("S")
    for number, group in enumerate(("a", "a", "b", "b", "c"), 1):
        service.push(a_job(number, group=group))
    assert service.pop().group == "a"
    service.push(a_job(6, group="d"))
    assert [service.pop().group for _ in range(5)] == ["b", "c", "a", "d", "b"]
    assert service.groups == {} and not service.ready


def test_a_group_keeps_its_turn_while_its_page_is_read() -> None:
    service = Service("S")
    service.push(a_job(1, rank=5.0, group="a"))
    service.push(a_job(2, rank=6.0, group="b"))
    low = a_job(3, rank=1.0, group="a")
    service.let_go(low)
    assert list(service.ready) == ["b"] and service.beyond == 1
    service.beyond -= 1
    service.push(low)
    assert list(service.ready) == ["b"], "its page has not come in"
    service.came_in("a", None)
    assert list(service.ready) == ["a", "b"]
    assert [service.pop().number for _ in range(3)] == [3, 2, 1]


def test_a_group_of_which_a_page_brought_nothing_is_dropped_and_one_that_is_read_is_not() -> None:
    service = Service("S")
    service.let_go(a_job(1, group="a"))
    group = service.groups["a"]
    group.loading = True
    service._drop_if_empty("a", group)
    assert service.knows_group("a")
    service.came_in("a", None)
    assert not service.knows_group("a") and "a" not in service.ready


def test_a_group_of_one_priority_job_that_left_lets_the_others_go_on() -> None:
    service = Service("S")
    first, second = a_job(1, group="a"), a_job(2, group="a")
    for job in (first, second):
        service.push(job)
    first.move("cancel", 0.0)
    service.left(first)
    assert "a" in service.ready and service.knows_group("a")
    service.let_go(a_job(3, rank=-1.0, group="a"))
    assert "a" not in service.ready
    second.move("cancel", 0.0)
    service.left(second)
    assert service.knows_group("a"), "what stands in the store alone is of it"


def test_a_service_that_is_paused_by_its_options_is_paused() -> None:
    assert Service("S", ServiceOptions(paused=True)).paused and not Service("S").paused


def test_where_an_option_comes_from_is_known() -> None:
    service = Service("S", service_options({"ttr": 3600}))
    service.take_defaults({"ttr": 1.0, "retries": 0})
    assert (service.options.ttr, service.options.retries) == (3600.0, 0)
    assert [service.origin(name) for name in ("ttr", "retries", "keep")] == [
        "configuration",
        "worker",
        "default",
    ]
    service.take_defaults({})
    assert service.options.retries == 3 and service.origin("retries") == "default"


def test_what_no_job_could_start_by_changes_nothing() -> None:
    service = Service("S", service_options({"delay": 5}))
    service.take_defaults({"retries": 7})
    with pytest.raises(OptionError):
        service.take_defaults({"expires": 1.0})
    assert service.defaults == {"retries": 7} and service.options.retries == 7
