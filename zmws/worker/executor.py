"""What runs the attempts of a worker: one interface, and the kind that a worker has.

Rule: whatever a job's own code does, its attempt ends with one FINAL, and the executor goes on.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Protocol

from zmws.worker.attempt import Final, attempt
from zmws.worker.forks import ChildEndsHere
from zmws.worker.job import JobInHand


class Worker(Protocol):
    """What an executor needs of its author's class."""

    job: JobInHand

    def work(self, job_id: str, params: Any) -> Any: ...

    def idle(self) -> None: ...


class Executor(Protocol):
    """Runs attempts, of as many jobs at once as its kind can."""

    def start(self, job: JobInHand, body: tuple[bytes, ...], ended: Callable[[Final], None]) -> None:
        """Run an attempt. `ended` is called once, from any thread; it may be before this returns."""

    def idle(self) -> None:
        """Nothing has been started for a while. Raises what the author's code raises."""

    def close(self) -> None:
        """No attempt runs, and none will be started."""


class Inline:
    """Runs each attempt in the thread that starts it, before `start` returns; one job at a time."""

    def __init__(self, worker: Worker, let_through: tuple[type[BaseException], ...] = ()) -> None:
        """`let_through`: what an author's code may raise past it."""
        self._worker = worker
        self._let_through = let_through
        self._loop: asyncio.Runner | None = None  # once a `work()` was a coroutine

    def start(self, job: JobInHand, body: tuple[bytes, ...], ended: Callable[[Final], None]) -> None:
        self._worker.job = job
        ended(attempt(self._work, body, self._let_through))

    def idle(self) -> None:
        with ChildEndsHere():
            self._worker.idle()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()

    def _work(self, params: Any) -> Any:
        with ChildEndsHere():
            result = self._worker.work(self._worker.job.id, params)
            if inspect.iscoroutine(result):
                if self._loop is None:
                    self._loop = asyncio.Runner()
                result = self._loop.run(result)
        return result
