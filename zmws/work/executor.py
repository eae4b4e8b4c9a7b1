"""What runs the attempts of a worker: one interface, and the kind that a worker has.

Rule: whatever a job's own code does, its attempt ends with one FINAL, and the executor goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import io
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from zmws.work.attempt import Final, attempt
from zmws.work.author import Worker
from zmws.work.declared import Declared
from zmws.work.fault import marked
from zmws.work.forks import ChildEndsHere
from zmws.work.job import JobInHand
from zmws.work.job_log import in_hand


class Executor(Protocol):
    """Runs attempts, of as many jobs at once as its kind can."""

    def start(
        self,
        worker: Worker,
        declared: Declared,
        job: JobInHand,
        body: tuple[bytes, ...],
        ended: Callable[[Final], None],
    ) -> None:
        """Run an attempt. `ended` is called once, from any thread; it may be before this returns."""

    def call(self, what: Callable[[], Any]) -> None:
        """Run setup(), idle() or teardown() of a worker. Raises what that raises."""

    def stack(self, job: JobInHand) -> str | None:
        """Where the code of a job is now; None if it is not running. From any thread."""

    def close(self) -> None:
        """No attempt runs, and none will be started."""


class Inline:
    """Runs each attempt in the thread that starts it, before `start` returns; one job at a time."""

    def __init__(self, let_through: tuple[type[BaseException], ...] = ()) -> None:
        """`let_through`: what an author's code may raise past it."""
        self._let_through = let_through
        self._loop: asyncio.Runner | None = None  # once something was a coroutine
        self._running: tuple[JobInHand, int] | None = None  # the job, and its thread

    def start(
        self,
        worker: Worker,
        declared: Declared,
        job: JobInHand,
        body: tuple[bytes, ...],
        ended: Callable[[Final], None],
    ) -> None:
        worker.job = job
        around_us = asyncio._get_running_loop()  # of whoever runs us, if anybody

        def read(value: Any) -> Any:
            params = declared.parameters.decode(value)
            with ChildEndsHere():
                self._done(worker.validate(params))
            return params

        def work(params: Any) -> Any:
            with ChildEndsHere():
                return self._done(worker.around(lambda: self._work(worker, job, params, around_us)))

        self._running = (job, threading.get_ident())
        try:
            with in_hand(job, declared.log_output):
                final = attempt(work, body, self._let_through, read, declared.rules)
        finally:
            self._running = None
        ended(final)

    def call(self, what: Callable[[], Any]) -> None:
        with ChildEndsHere():
            self._done(what())

    def stack(self, job: JobInHand) -> str | None:
        running = self._running
        if running is None or running[0] is not job:
            return None
        frame = sys._current_frames().get(running[1])
        if frame is None:
            return None
        frames = traceback.extract_stack(frame)
        # What is above work() is the worker's own.
        own = [n for n, one in enumerate(frames) if (one.filename, one.name) == (__file__, "_work")]
        told = traceback.format_list(frames[own[-1] + 1 :] if own else frames)
        with contextlib.suppress(RuntimeError):  # a task begins or ends just now
            told += self._tasks()
        return marked("".join(told))

    def _tasks(self) -> list[str]:
        """Where the coroutines are that wait: the stack of the thread shows but their event loop."""
        if self._loop is None:
            return []
        told = []
        for task in asyncio.all_tasks(self._loop.get_loop()):
            text = io.StringIO()
            task.print_stack(file=text)
            told.append(text.getvalue())
        return told

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()

    def _work(
        self,
        worker: Worker,
        job: JobInHand,
        params: Any,
        around_us: asyncio.AbstractEventLoop | None,
    ) -> Any:
        result = worker.work(job.id, params)
        if asyncio._get_running_loop() is not around_us:  # around() is a coroutine, and awaits it itself
            return result if inspect.isawaitable(result) else _at_hand(result)
        return self._done(result)

    def _done(self, result: Any) -> Any:
        """The value of a coroutine, also of one that it returns unawaited; any other as it is."""
        while inspect.iscoroutine(result):
            if self._loop is None:
                self._loop = asyncio.Runner()
            # The runner's own context is from its first use: it would say that this is that job's.
            result = self._loop.run(result, context=contextvars.copy_context())
        return result


async def _at_hand(result: Any) -> Any:
    """For an `async def around` whose work() is a plain one."""
    return result
