"""zmws.work.recycling: when a worker has done enough."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from zmws import WorkerBase
from zmws.work import recycling
from zmws.work.declared import Declared, declared
from zmws.work.recycling import Recycling, resident_bytes


class Import(WorkerBase):
    service_name = "IMPORT"

    def work(self, job_id: str, params: Any) -> Any: ...


def limits(**given: Any) -> Declared:
    return dataclasses.replace(declared(Import()), **given)


def jobs_until(made: Recycling, at_most: int = 10_000) -> int:
    while made.why(0.0) is None:
        assert made.jobs < at_most, "it never ends"
        made.jobs += 1
    return made.jobs


def test_without_a_limit_it_goes_on() -> None:
    made = Recycling([limits()], 0.5, 0.0)
    made.jobs = 10**9
    assert made.due_at is None and made.why(1e9) is None


@pytest.mark.parametrize("max_jobs", [1, 2, 5, 9, 10, 19, 1000])
@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999999])
def test_a_limit_of_jobs_is_lowered_by_up_to_a_tenth_and_never_passed(max_jobs: int, jitter: float) -> None:
    jobs = jobs_until(Recycling([limits(max_jobs=max_jobs)], jitter, 0.0))
    assert 0.9 * max_jobs <= jobs <= max_jobs
    assert jitter or jobs == max_jobs


def test_workers_that_were_started_together_do_not_all_leave_together() -> None:
    assert {
        jobs_until(Recycling([limits(max_jobs=100)], n / 10, 0.0)) for n in range(10)
    } == {*range(91, 101)}  # fmt: skip


def test_age_counts_from_the_start_and_is_lowered_too() -> None:
    made = Recycling([limits(max_age=100.0)], 0.5, 1000.0)
    assert made.due_at == 1095.0
    assert made.why(1094.9) is None and made.why(1095.0) == "max_age is reached"


def test_memory_is_looked_at_after_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int | None] = [0]
    monkeypatch.setattr(recycling, "resident_bytes", lambda: used[0])
    made = Recycling([limits(max_memory=100 * 2**20)], 0.5, 0.0)
    assert made.why(0.0) is None
    used[0] = 95 * 2**20
    assert made.why(0.0) is None
    used[0] = 96 * 2**20
    assert made.why(0.0) == "max_memory: 96 MiB are in use"
    used[0] = None  # a system that does not tell
    assert made.why(0.0) is None


def test_of_several_classes_the_lowest_limit_holds() -> None:
    made = Recycling(
        [limits(), limits(max_jobs=50, max_age=10.0), limits(max_jobs=7, max_age=20.0)], 0.0, 0.0
    )
    assert jobs_until(made) == 7 and made.due_at == 10.0


def test_the_memory_of_this_process_is_told() -> None:
    used = resident_bytes()
    assert used is not None and 2**20 < used < 2**40
