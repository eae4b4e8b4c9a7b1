"""The inline kind of executor: it runs each attempt where it is started (executor.py)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import attempt
from zmws.work.author import Worker
from zmws.work.declared import Declared
from zmws.work.executor import Ended
from zmws.work.fault import marked
from zmws.work.forks import ChildEndsHere
from zmws.work.job import JobInHand
from zmws.work.job_log import in_hand
from zmws.work.traced import traced

_HERE = f"{Path(__file__).parent}{os.sep}"
_FRAMES_MAX = 200


class Inline:
    """Runs each attempt in the thread that starts it, before `start` returns; one job at a time."""

    def __init__(self, let_through: tuple[type[BaseException], ...] = ()) -> None:
        """`let_through`: what an author's code may raise past it."""
        self._let_through = let_through
        self._loop: asyncio.Runner | None = None  # once something was a coroutine
        self._running: tuple[JobInHand, int] | None = None  # the job, and its thread

    def start(
        self, worker: Worker, declared: Declared, job: JobInHand, request: WorkerRequest, ended: Ended
    ) -> None:
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
                # In a context of its own: what it sets is gone with it.
                run = contextvars.copy_context().run
                tried = traced(job, attempt)
                final = run(tried, work, request.body, self._let_through, read, declared.rules)
        finally:
            self._running = None
        ended(final)

    def call(self, what: Callable[[], Any]) -> None:
        with ChildEndsHere():
            self._done(what())

    def cancel(self, job: JobInHand) -> None:
        """A thread cannot be ended: the job is told, no more."""

    def tell_stack(self, job: JobInHand, tell: Callable[[str], None]) -> None:
        running = self._running
        frame = sys._current_frames().get(running[1]) if running is not None and running[0] is job else None
        if frame is None:
            return
        frames = traceback.extract_stack(frame)
        # What is above work() is the worker's own.
        own = [n for n, one in enumerate(frames) if (one.filename, one.name) == (__file__, "_work")]
        told = traceback.format_list(frames[own[-1] + 1 :] if own else frames)
        if self._loop is not None:
            # The stack of the thread shows but the event loop of the coroutines.
            with contextlib.suppress(RuntimeError):  # a task begins or ends just now
                told += [stack_of(task) for task in asyncio.all_tasks(self._loop.get_loop())]
        tell(marked("".join(told)))

    def tend(self) -> None:
        """All is done in `start`."""

    def kill(self) -> None:
        """It has started nothing."""

    def close(self, within_s: float = 0.0) -> None:
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
            return result if inspect.isawaitable(result) else at_hand(result)
        return self._done(result)

    def _done(self, result: Any) -> Any:
        """The value of a coroutine, also of one that it returns unawaited; any other as it is."""
        while inspect.iscoroutine(result):
            if self._loop is None:
                self._loop = asyncio.Runner()
            try:
                # The runner's own context is from its first use: it would say that this is that job's.
                result = self._loop.run(result, context=contextvars.copy_context())
            except Exception:
                raise
            except BaseException:
                # A signal's handler has raised this out of the loop: what was running in it must not go on
                # beside the next job.
                self._cancel_all(self._loop.get_loop())
                raise
        return result

    @staticmethod
    def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


async def at_hand(result: Any) -> Any:
    """For an `async def around` whose work() is a plain one."""
    return result


def stack_of(task: asyncio.Task[Any]) -> str:
    """Where a coroutine waits: along what it awaits, for the task itself tells of its own frame alone."""
    frames: list[tuple[FrameType, int]] = []
    at: Any = task.get_coro()
    while at is not None and len(frames) < _FRAMES_MAX:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(at, f"{kind}_frame")), None)
        if kind is None:
            break  # a future, or what somebody else has made awaitable
        if (frame := getattr(at, f"{kind}_frame")) is not None:
            frames.append((frame, frame.f_lineno))
        at = getattr(at, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    told = traceback.StackSummary.extract(iter(frames))
    own = [n for n, one in enumerate(told) if one.filename.startswith(_HERE)]
    return "".join(traceback.StackSummary.from_list(told[own[-1] + 1 :] if own else told).format())
