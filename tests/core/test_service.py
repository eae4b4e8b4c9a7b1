"""One service's waiting jobs and its limits."""

from __future__ import annotations

from zmws.core.job import Job
from zmws.core.options import ServiceOptions
from zmws.core.service import Service


def a_job(number: int, rank: float = 0.0, group: str | None = None) -> Job:
    job = Job(
        id=f"j{number}",
        service="S",
        kind="stored",
        body=(b"x",),
        created_at=0.0,
        ready_at=rank,
        rank=rank,
        group=group,
    )
    job.number = number
    return job


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
