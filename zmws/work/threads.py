"""The kind of executor that runs `concurrency` jobs at once, each in a thread (executor.py).

Rule: a thread cannot be ended from outside. A job that does not return keeps its slot.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from zmws.wire.messages import WorkerRequest
from zmws.work.author import Worker
from zmws.work.declared import Declared
from zmws.work.executor import Ended
from zmws.work.inline import Inline
from zmws.work.job import JobInHand

_Attempt = tuple[Worker, Declared, JobInHand, WorkerRequest, Ended]


class Threads:
    """Runs jobs in threads, which are started when they are needed first. They keep no process from its
    end."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count = name, count
        self._here = Inline()  # setup(), idle() and teardown() are the main thread's
        self._threads: list[Inline] = []
        self._free = 0  # threads that wait; counted by whoever starts, and by the threads
        self._counting = threading.Lock()
        self._attempts: queue.SimpleQueue[_Attempt | None] = queue.SimpleQueue()

    def start(
        self, worker: Worker, declared: Declared, job: JobInHand, request: WorkerRequest, ended: Ended
    ) -> None:
        with self._counting:
            wanted = self._free <= 0 and len(self._threads) < self._count
        if wanted:
            inline = Inline()
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._run, args=(inline,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has none left: then one of those there are
                if not self._threads:
                    raise
                wanted = False
            else:
                self._threads.append(inline)
        with self._counting:
            self._free -= not wanted
        self._attempts.put((worker, declared, job, request, ended))

    def _run(self, inline: Inline) -> None:
        while (attempt := self._attempts.get()) is not None:
            worker, declared, job, request, ended = attempt

            def over(final: Any, ended: Ended = ended) -> None:
                with self._counting:
                    self._free += 1  # before the end is told: that may bring the next job
                ended(final)

            inline.start(worker, declared, job, request, over)
            del attempt, worker, job, request, ended, over  # nothing of it is kept while it waits
        inline.close()

    def call(self, what: Callable[[], Any]) -> None:
        self._here.call(what)

    def cancel(self, job: JobInHand) -> None:
        """A thread cannot be ended: the job is told, no more."""

    def tell_stack(self, job: JobInHand, tell: Callable[[str], None]) -> None:
        for inline in list(self._threads):
            inline.tell_stack(job, tell)

    def tend(self) -> None:
        """The threads do all by themselves."""

    def kill(self) -> None:
        """Threads end with their process."""

    def close(self, within_s: float) -> None:
        for _ in self._threads:
            self._attempts.put(None)
        self._here.close()
