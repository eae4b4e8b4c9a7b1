"""What runs the attempts of a worker: one interface, four kinds.

    inline      one job at a time, in the main thread                       (of a class that says nothing)
    threads     `concurrency` jobs, each in a thread of its own
    coroutines  `concurrency` jobs of an `async def work`, in one event loop
    children    `concurrency` jobs (`isolate`), each in a child process, which can be killed

Rule 1: whatever a job's own code does, its attempt ends with one FINAL, and the executor goes on.
Rule 2: `start`, `tend` and `close` are for the main thread, all else is for any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import Final
from zmws.work.author import Worker
from zmws.work.declared import Declared
from zmws.work.job import JobInHand

Ended = Callable[[Final | None], None]  # None: it has not begun, and goes back


class Executor(Protocol):
    """Runs attempts, of as many jobs at once as its class has declared."""

    def start(
        self, worker: Worker, declared: Declared, job: JobInHand, request: WorkerRequest, ended: Ended
    ) -> None:
        """Run an attempt. `ended` is called once, from any thread; it may be before this returns."""

    def cancel(self, job: JobInHand) -> None:
        """Its result is not wanted any more: end it, where this kind can. `self.job.cancelled` tells, too."""

    def tell_stack(self, job: JobInHand, tell: Callable[[str], None]) -> None:
        """`tell`, now or in a moment, where the code of a job is; nothing if it does not run."""

    def tend(self) -> None:
        """Do what only the main thread can; it has been woken for that."""

    def kill(self) -> None:
        """The process ends at once: nothing that was started here is to go on."""

    def close(self, within_s: float) -> None:
        """No attempt will be started. What still runs gets so long."""


class Local(Executor, Protocol):
    """A kind that runs jobs in this process, where the object of the class is."""

    def call(self, what: Callable[[], Any]) -> None:
        """Run setup(), idle() or teardown(). Raises what that raises."""
