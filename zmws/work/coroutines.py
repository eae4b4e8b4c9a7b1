"""The kind of executor that runs `concurrency` jobs of an `async def work` in one event loop (executor.py).

Rule 1: the loop has a thread of its own, for as long as the worker runs: what setup() opens in it is there
        for each job.
Rule 2: nothing that a job raises in the loop (SystemExit of a task of its own, say), or does to it, ends it.
Rule 3: a job that is cancelled is told the way that asyncio has: CancelledError is raised where it waits.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import Final, attempt_of_coroutine
from zmws.work.author import Worker
from zmws.work.declared import Declared
from zmws.work.executor import Ended
from zmws.work.fault import encode_fault, marked
from zmws.work.forks import ChildEndsHere
from zmws.work.inline import at_hand, stack_of
from zmws.work.job import JobInHand
from zmws.work.job_log import in_hand
from zmws.work.traced import traced_coroutine

log = logging.getLogger("zmws.worker")


class Coroutines:
    """Runs each job as a task."""

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # once it is needed
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._tasks: dict[JobInHand, asyncio.Task[Final]] = {}
        self._over = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._over:
            try:
                self._there().run_forever()
            except BaseException as fault:
                # asyncio lets SystemExit and KeyboardInterrupt of any task through.
                told = encode_fault(fault)["traceback"]
                log.error("out of the event loop of the jobs, which goes on\n%s", told)

    def _there(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread.start()
        return self._loop

    def start(
        self, worker: Worker, declared: Declared, job: JobInHand, request: WorkerRequest, ended: Ended
    ) -> None:
        loop = self._there()

        def over(task: asyncio.Task[Final]) -> None:
            # Not in the coroutine itself: one that is cancelled before its first step never takes it.
            del self._tasks[job]
            try:
                final = task.result()
            except BaseException as fault:
                final = Final(error=encode_fault(fault))
            ended(final)

        def begin() -> None:
            self._tasks[job] = task = loop.create_task(self._attempt(worker, declared, job, request))
            task.add_done_callback(over)

        loop.call_soon_threadsafe(begin)

    async def _attempt(
        self, worker: Worker, declared: Declared, job: JobInHand, request: WorkerRequest
    ) -> Final:
        async def read(value: Any) -> Any:
            params = declared.parameters.decode(value)
            with ChildEndsHere():
                await _done(worker.validate(params))
            return params

        def work(params: Any) -> Any:
            result = worker.work(job.id, params)
            return result if inspect.isawaitable(result) else at_hand(result)

        async def around(params: Any) -> Any:
            with ChildEndsHere():
                return await _done(worker.around(lambda: work(params)))

        with in_hand(job, declared.log_output):
            tried = traced_coroutine(job, attempt_of_coroutine)
            return await tried(around, request.body, read, declared.rules)

    async def _end(self, within_s: float) -> None:
        """What the author's code has left in the loop is cancelled, and awaited for so long."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=within_s)
        asyncio.get_running_loop().stop()

    def call(self, what: Callable[[], Any]) -> None:
        with ChildEndsHere():
            result = what()
            if inspect.iscoroutine(result):
                asyncio.run_coroutine_threadsafe(_done(result), self._there()).result()

    def cancel(self, job: JobInHand) -> None:
        def cancel() -> None:
            if (task := self._tasks.get(job)) is not None:
                task.cancel()

        self._there().call_soon_threadsafe(cancel)

    def tell_stack(self, job: JobInHand, tell: Callable[[str], None]) -> None:
        if (task := self._tasks.get(job)) is not None:
            tell(marked(stack_of(task)))

    def tend(self) -> None:
        """The loop does all by itself."""

    def kill(self) -> None:
        """A thread ends with its process."""

    def close(self, within_s: float) -> None:
        loop, self._over = self._loop, True
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(within_s), loop)
        self._thread.join(within_s + _STOP_S)
        if not self._thread.is_alive():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


_STOP_S = 1.0  # for the loop to end when its tasks have


async def _done(result: Any) -> Any:
    """The value of a coroutine, also of one that it returns unawaited; any other as it is."""
    while inspect.isawaitable(result):
        result = await result
    return result
