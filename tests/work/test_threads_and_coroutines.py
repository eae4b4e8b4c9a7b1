"""zmws.work.threads and zmws.work.coroutines: several jobs at once in one process."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers import wait_until
from tests.work.executing import Bench
from tests.work.kinds import Waits
from zmws import WorkerBase
from zmws.wire.values import value_of
from zmws.work.coroutines import Coroutines
from zmws.work.declared import declared
from zmws.work.job_log import installed
from zmws.work.threads import Threads


class Meets(WorkerBase):
    """Jobs that wait until all of them are here."""

    service_name = "MEETS"
    concurrency = 3

    def __init__(self) -> None:
        self.barrier = threading.Barrier(3)

    def work(self, job_id: str, params: Any) -> Any:
        if params == "raise":
            raise LookupError("nothing there")
        if params == "alone":
            return threading.get_ident()
        self.barrier.wait(20)
        return [self.job.id == job_id, threading.get_ident()]


class Holds(WorkerBase):
    """Waits in an event loop until it is told, or cancelled."""

    service_name = "HOLDS"
    concurrency = 5

    async def work(self, job_id: str, params: Any) -> Any:
        try:
            self.job.log("here")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.job.log("cancelled")
            if params == "ignore":
                return "went on"
            raise


class Around(Waits):
    """What is around a coroutine, and what checks its parameters."""

    service_name = "AROUND"

    async def validate(self, params: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        if params == "bad":
            raise LookupError("not that")

    async def around(self, work: Any) -> Any:
        return ["around", await work()]

    async def work(self, job_id: str, params: Any) -> Any:
        await asyncio.sleep(0)
        return params


@pytest.fixture
def threads() -> Iterator[Bench]:
    bench = Bench(Threads("t", 3), Meets())
    yield bench
    bench.executor.close(1.0)


@pytest.fixture
def coroutines() -> Iterator[Coroutines]:
    made = Coroutines("c")
    yield made
    made.close(5.0)


# ---------------------------------------------------------------- threads


def test_threads_run_as_many_at_once_as_is_declared_each_with_its_own_job(threads: Bench) -> None:
    for name in "abc":
        threads.start(None, name)
    results = [value_of(threads.end_of(name).result) for name in "abc"]
    assert all(right for right, _ in results)
    assert len({thread for _, thread in results}) == 3
    assert threading.get_ident() not in {thread for _, thread in results}


def test_a_thread_is_started_when_no_other_is_free(threads: Bench) -> None:
    assert threads.run("alone") == threads.run("alone")


def test_a_job_that_fails_in_a_thread_costs_nothing_else(threads: Bench) -> None:
    assert threads.fails("raise")["type"] == "LookupError"
    assert threads.run("alone")


def test_where_the_code_of_one_thread_is_is_told(threads: Bench) -> None:
    job = threads.start(None, "a")
    other = threads.start(None, "b")
    told: list[str] = []
    wait_until(lambda: threads.executor.tell_stack(job, told.append) or told)  # type: ignore[func-returns-value]
    assert "in work" in told[0] and "barrier.wait" in told[0]
    threads.executor.cancel(job)  # it can but be told
    threads.start(None, "c")
    for name in "abc":
        threads.end_of(name)
    told.clear()
    threads.executor.tell_stack(other, told.append)
    assert not told, "it does not run any more"


def test_setup_and_idle_are_the_main_threads(threads: Bench) -> None:
    ran: list[int] = []
    threads.executor.call(lambda: ran.append(threading.get_ident()))  # type: ignore[attr-defined]
    assert ran == [threading.get_ident()]


class Prints(Meets):
    """What it prints goes into its log."""

    service_name = "PRINTS"
    log_output = True

    def work(self, job_id: str, params: Any) -> Any:
        for _ in range(3):
            self.barrier.wait(20)
            sys.stdout.write(f"of {job_id}")
            self.barrier.wait(20)
            sys.stdout.write(" alone\n")
        sys.stdout.write(f"end of {job_id}")


def test_what_jobs_print_at_once_goes_into_the_log_of_each() -> None:
    bench, before = Bench(Threads("t", 3), Prints()), sys.stdout
    with installed():
        for name in "abc":
            bench.start(None, name)
        for name in "abc":
            bench.end_of(name)
    for name in b"abc":
        of_it = [line for token, line in bench.ear.logged if token[:1] == bytes([name])]
        lines = [b"stdout: of %c alone" % name] * 3 + [b"stdout: end of %c" % name]
        assert of_it == lines
    assert sys.stdout is before
    bench.executor.close(1.0)


# ---------------------------------------------------------------- coroutines


def test_coroutines_run_at_once_in_the_loop_that_setup_ran_in(coroutines: Coroutines) -> None:
    bench = Bench(coroutines, Waits())
    coroutines.call(bench.worker.setup)
    for n in range(5):
        bench.start(5, str(n))
    for n in range(5):
        right, _ = value_of(bench.end_of(str(n)).result)
        assert right, "self.job is its own"


def test_what_is_around_a_coroutine_is_awaited(coroutines: Coroutines) -> None:
    bench = Bench(coroutines, Around())
    assert bench.run(5) == ["around", 5]
    assert bench.fails("bad")["type"] == "LookupError"


def test_a_coroutine_that_is_cancelled_is_told_where_it_waits(coroutines: Coroutines) -> None:
    bench = Bench(coroutines, Holds())
    job, other = bench.start(None, "a"), bench.start("ignore", "b")
    wait_until(lambda: len(bench.ear.words(b"LOG")) == 2)
    coroutines.cancel(job)
    coroutines.cancel(job)
    error = bench.end_of("a").error
    assert error is not None and error["type"] == "CancelledError"
    assert "b" not in bench.finals
    coroutines.cancel(other)
    assert value_of(bench.end_of("b").result) == "went on", "it may take no notice"


def test_where_a_coroutine_waits_is_told(coroutines: Coroutines) -> None:
    bench = Bench(coroutines, Holds())
    job = bench.start(None, "a")
    wait_until(lambda: bench.ear.words(b"LOG"))
    told: list[str] = []
    coroutines.tell_stack(job, told.append)
    assert "in work" in told[0] and "asyncio.sleep(60)" in told[0]
    coroutines.cancel(job)
    bench.end_of("a")
    coroutines.tell_stack(job, told.append)
    assert len(told) == 1


def test_what_setup_raises_reaches_who_has_called_it(coroutines: Coroutines) -> None:
    async def fails() -> None:
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        coroutines.call(fails)


def test_a_loop_that_was_never_used_is_closed_too() -> None:
    Coroutines("c").close(1.0)


class Ends(Holds):
    """Ends the event loop, or tries to."""

    service_name = "ENDS"

    async def work(self, job_id: str, params: Any) -> Any:
        if params == "stop":
            asyncio.get_running_loop().stop()
        elif params == "block":
            self.job.log("blocks")
            time.sleep(0.3)
        elif params in ("exit", "interrupt"):
            await asyncio.gather(self.sub(params))
        return params

    async def sub(self, how: str) -> None:
        raise SystemExit(3) if how == "exit" else KeyboardInterrupt


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_what_a_task_of_a_jobs_raises_ends_the_job_and_not_the_loop(coroutines: Coroutines, how: str) -> None:
    bench = Bench(coroutines, Ends())
    assert bench.fails(how)["type"] in ("SystemExit", "KeyboardInterrupt")
    assert bench.run("after it") == "after it"


def test_a_job_that_stops_the_loop_does_not(coroutines: Coroutines) -> None:
    bench = Bench(coroutines, Ends())
    assert bench.run("stop") == "stop" and bench.run("after it") == "after it"


def test_a_coroutine_that_is_cancelled_before_its_first_step_has_an_end(coroutines: Coroutines) -> None:
    bench = Bench(coroutines, Ends())
    bench.start("block", "a")
    wait_until(lambda: bench.ear.words(b"LOG"))
    job = bench.start("never", "b")
    coroutines.cancel(job)
    assert bench.end_of("a").error is None
    final = bench.end_of("b")
    assert final.error is None or final.error["type"] == "CancelledError"
    assert bench.run("after it") == "after it"


def test_a_thread_that_cannot_be_started_costs_nothing(
    threads: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads.run("alone")
    started: list[str] = []

    def none_left(thread: threading.Thread) -> None:
        started.append(thread.name)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        threads.start("alone", "a")
        threads.start("alone", "b")
        threads.end_of("a")
        threads.end_of("b")
    for name in "cde":
        threads.start(None, name)
    for name in "cde":
        threads.end_of(name)


def test_where_no_thread_can_be_started_at_all_that_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Bench(Threads("t", 3), Meets()).start("alone")


def test_work_behind_a_decorator_is_a_coroutine_still() -> None:
    def decorated(work: Any) -> Any:
        @functools.wraps(work)
        def around(*args: Any) -> Any:
            return work(*args)

        return around

    class Decorated(Holds):
        work = decorated(Holds.work)

    assert declared(Decorated()).kind == "coroutines"
