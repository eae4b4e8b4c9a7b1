"""zmws.work.executor: the inline kind runs an attempt where it is started."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from zmws import WorkerBase
from zmws.wire.messages import WorkerRequest
from zmws.work import Fail, JobInHand
from zmws.work.attempt import Final
from zmws.work.declared import declared
from zmws.work.executor import Executor
from zmws.work.inline import Inline
from zmws.work.job import JobLine
from zmws.work.job_log import current, in_hand


class Nobody:
    """Where nothing is heard."""

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None: ...

    def is_cancelled(self, token: bytes) -> bool:
        return False


class Tells(WorkerBase):
    """Tells of what it is given, and where it runs."""

    service_name = "TELLS"

    def work(self, job_id: str, params: Any) -> Any:
        if params == "raise":
            raise KeyboardInterrupt
        return [job_id, self.job.attempt, params, threading.get_ident()]


class Awaits(WorkerBase):
    """Tells which event loop it runs in."""

    service_name = "AWAITS"
    loop: asyncio.AbstractEventLoop

    async def work(self, job_id: str, params: Any) -> Any:
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()
        return id(self.loop)


class Forks(WorkerBase):
    """Leaves work() and idle() in a child, too."""

    service_name = "FORKS"
    code: int | None = None

    def work(self, job_id: str, params: Any) -> Any:
        if (pid := os.fork()) == 0:
            return "from the child"
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def idle(self) -> None:
        if (pid := os.fork()) == 0:
            raise SystemExit(7)
        self.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(executor: Executor, worker: WorkerBase, *body: bytes, attempt: int = 1) -> list[Final]:
    """Every end that an attempt has had, when `start` has returned."""
    finals: list[Final] = []
    line: JobLine = Nobody()
    request = WorkerRequest(b"i/1/a", "", b'{"id": "i", "attempt": %d}' % attempt, body)
    executor.start(worker, declared(worker), JobInHand(line, request), request, finals.append)
    return finals


def test_an_attempt_ends_once_before_start_returns_and_in_its_thread() -> None:
    executor = Inline()
    (final,) = run(executor, Tells(), b"PARAM-JSON: 5", attempt=3)
    assert final.error is None
    assert final.result == (b'PARAM-JSON: ["i", 3, 5, %d]' % threading.get_ident(),)
    (again,) = run(executor, Tells(), b"PARAM-JSON: 6")
    assert again.result[0].startswith(b'PARAM-JSON: ["i", 1, 6, ')
    executor.close()


def test_what_is_let_through_passes_and_is_no_end() -> None:
    (final,) = run(Inline(), Tells(), b'PARAM-JSON: "raise"')
    assert final.error is not None and final.error["type"] == "KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        run(Inline((KeyboardInterrupt,)), Tells(), b'PARAM-JSON: "raise"')


def test_coroutines_run_in_one_event_loop_until_the_executor_is_closed() -> None:
    worker = Awaits()
    executor = Inline()
    (first,), (second,) = run(executor, worker), run(executor, worker)
    assert first == second and first.error is None
    assert not worker.loop.is_closed()
    executor.close()
    assert worker.loop.is_closed()


def test_a_child_that_was_forked_never_comes_out() -> None:
    worker = Forks()
    executor = Inline()
    (final,) = run(executor, worker)
    assert final.result == (b"PARAM-JSON: 0",), "one end, and that is the parent's"
    executor.call(worker.idle)
    assert worker.code == 7


# ---------------------------------------------------------------- coroutines or not


class Base(WorkerBase):
    """Says what was called around its work()."""

    service_name = "BASE"

    def __init__(self) -> None:
        self.calls: list[str] = []


class Plain(Base):
    def setup(self) -> None:
        self.calls.append("setup")

    def validate(self, params: Any) -> None:
        self.calls.append("validate")
        if params == "bad":
            raise Fail("no such thing")

    def work(self, job_id: str, params: Any) -> Any:
        self.calls.append("work")
        return params

    def around(self, work: Any) -> Any:
        self.calls.append("before")
        result = work()
        self.calls.append("after")
        return [result]


class Async(Base):
    async def setup(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.calls.append("setup")

    async def validate(self, params: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.calls.append("validate")
        if params == "bad":
            raise Fail("no such thing")

    async def work(self, job_id: str, params: Any) -> Any:
        await asyncio.sleep(0)
        self.calls.append("work")
        return params

    async def around(self, work: Any) -> Any:
        self.calls.append("before")
        result = await work()
        self.calls.append("after")
        return [result]


class Unawaited(Async):
    async def around(self, work: Any) -> Any:
        self.calls.append("before")
        return work()


def hidden(method: Any) -> Any:
    """A decorator of no use, behind which nobody sees that it is a coroutine function."""

    def wrapped(self: Any, *args: Any) -> Any:
        return method(self, *args)

    return wrapped


WAYS = [Plain.around, Async.around, hidden(Async.around)]


@pytest.mark.parametrize("around", WAYS, ids=range(3))
@pytest.mark.parametrize("work", [Plain.work, Async.work, hidden(Async.work)], ids=range(3))
@pytest.mark.parametrize("before", [Plain, Async])
def test_each_method_may_be_a_coroutine_whatever_the_others_are(work: Any, around: Any, before: Any) -> None:
    made = type("Made", (before,), {"work": work, "around": around})()
    executor = Inline()
    executor.call(made.setup)
    assert run(executor, made, b"PARAM-JSON: 5") == [Final((b"PARAM-JSON: [5]",))]
    assert made.calls == ["setup", "validate", "before", "work", "after"]
    (final,) = run(executor, made, b'PARAM-JSON: "bad"')
    assert final.error == {"code": "bad_params", "error": "no such thing", "retry": False}
    assert made.calls[5:] == ["validate"]
    executor.close()


def test_what_an_around_has_not_awaited_is_awaited() -> None:
    executor = Inline()
    for cls in (Unawaited, type("Made", (Unawaited,), {"work": Plain.work})):
        assert run(executor, cls(), b"PARAM-JSON: 5") == [Final((b"PARAM-JSON: 5",))]
    executor.close()


def test_a_plain_worker_runs_within_an_event_loop_of_somebody_elses() -> None:
    async def whole() -> list[Final]:
        return run(Inline(), Plain(), b"PARAM-JSON: 5")

    assert asyncio.run(whole()) == [Final((b"PARAM-JSON: [5]",))]


def test_each_coroutine_belongs_to_its_own_job() -> None:
    jobs: list[Any] = []

    class Tells(Async):
        async def work(self, job_id: str, params: Any) -> Any:
            jobs.append((self.job, current()))

    executor, other = Inline(), JobInHand(Nobody(), WorkerRequest(b"o", "", b"{}", ()))
    worker = Tells()
    with in_hand(other, False):  # of a second worker in this process
        run(executor, worker, attempt=1)
        run(executor, worker, attempt=2)
    executor.close()
    assert [job.attempt for job, _ in jobs] == [1, 2]
    assert all(told is job for job, told in jobs)


def test_parameters_are_decoded_and_rules_applied_as_declared() -> None:
    class Strict(WorkerBase):
        service_name = "STRICT"
        retry_on = {ZeroDivisionError: 7}

        def work(self, job_id: str, params: list[int]) -> Any:
            return params[0] // params[1]

    (bad,) = run(Inline(), Strict(), b'PARAM-JSON: [1, "x"]')
    assert bad.error is not None and bad.error["error"] == "'[1]': expected a whole number, got a text"
    (later,) = run(Inline(), Strict(), b"PARAM-JSON: [1, 0]")
    assert later.error is not None and later.error["delay"] == 7.0


def test_the_stack_of_a_job_is_told_while_it_runs_and_of_no_other() -> None:
    executor = Inline()
    told: list[str] = []
    jobs: list[JobInHand] = []

    class Looks(WorkerBase):
        service_name = "LOOKS"

        def work(self, job_id: str, params: Any) -> None:
            jobs.append(self.job)
            thread = threading.Thread(target=lambda: executor.tell_stack(self.job, told.append))
            thread.start()
            thread.join()
            executor.tell_stack(JobInHand(Nobody(), WorkerRequest(b"x", "", b"{}", ())), told.append)

    run(executor, Looks())
    executor.tell_stack(jobs[0], told.append)
    (stack,) = told
    assert "in work\n    thread." in stack


def test_a_job_that_let_an_exception_through_is_not_running_any_more() -> None:
    executor, jobs, told = Inline((KeyboardInterrupt,)), list[JobInHand](), list[str]()

    class Raises(WorkerBase):
        service_name = "RAISES"

        def work(self, job_id: str, params: Any) -> None:
            jobs.append(self.job)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(executor, Raises())
    executor.tell_stack(jobs[0], told.append)
    assert not told and current() is None
