"""zmws.work.executor: the inline kind runs an attempt where it is started."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from zmws import WorkerBase
from zmws.wire.messages import WorkerRequest
from zmws.work import JobInHand
from zmws.work.attempt import Final
from zmws.work.declared import declared
from zmws.work.executor import Executor, Inline
from zmws.work.job import JobLine


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
    executor.start(worker, declared(worker), JobInHand(line, request), body, finals.append)
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
