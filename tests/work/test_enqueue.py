"""What is enqueued when an attempt is over is refused, whatever kind of executor it ran on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.peers import wait_until
from tests.work.executing import Bench
from tests.work.kinds import Late
from tests.work.test_children import Open, opened
from zmws import WorkerBase, ZmwsError
from zmws.wire.values import JOBS_JSON, value_of
from zmws.work.coroutines import Coroutines
from zmws.work.inline import Inline
from zmws.work.threads import Threads

__all__ = ["opened"]


@contextmanager
def bench_of(kind: str, opened: Open) -> Iterator[Bench]:
    if kind == "children":
        yield opened(Late)
        return
    executor = Inline() if kind == "inline" else Threads("t", 2)
    yield Bench(executor, Late())
    executor.close(1.0)


@pytest.mark.parametrize("how", ["return", "fail"])
@pytest.mark.parametrize("kind", ["inline", "threads", "children"])
def test_a_thread_that_is_left_behind_is_told_that_the_attempt_is_over(
    kind: str, how: str, opened: Open
) -> None:
    with bench_of(kind, opened) as bench:
        bench.start(how, "first")
        first = bench.end_of("first")
        if how == "return":
            assert first.jobs is not None
            assert json.loads(first.jobs.removeprefix(JOBS_JSON)) == [{"service": "IN-TIME"}]
        else:
            assert first.error is not None and first.jobs is None
        bench.start("last", "second")
        assert value_of(bench.end_of("second").result) == ["attempt 1 at job first is over"] * 2


class LateTask(WorkerBase):
    """The same with a task."""

    service_name = "LATE-TASK"
    concurrency = 2
    left: asyncio.Task[None]

    async def work(self, job_id: str, params: Any) -> Any:
        if params == "last":
            self.go_on.set()
            with pytest.raises(ZmwsError) as refused:
                await self.left
            return str(refused.value)
        self.go_on = asyncio.Event()
        self.left = asyncio.create_task(self.late())
        self.job.enqueue("IN-TIME")
        if params == "wait":
            await asyncio.sleep(60)
        return None

    async def late(self) -> None:
        await self.go_on.wait()
        self.job.enqueue("LATE")


@pytest.mark.parametrize("how", ["return", "wait"])
def test_so_is_a_task(how: str) -> None:
    executor = Coroutines("t")
    bench = Bench(executor, LateTask())
    job = bench.start(how, "first")
    if how == "wait":
        wait_until(lambda: hasattr(bench.worker, "left"), 20, "the job to begin")
        executor.cancel(job)
    assert (bench.end_of("first").jobs is None) == (how == "wait")
    bench.start("last", "second")
    assert value_of(bench.end_of("second").result).startswith("attempt 1 at job first is over")
    executor.close(1.0)
