"""A worker in a thread of the test's own process, so that `work()` sees what the test has set up."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from zmws.testing.broker import RunningBroker
from zmws.worker import WorkerBase, WorkerIO

_START_S = 10.0
_STOP_S = 15.0


@dataclass
class RunningWorker:
    """A worker that runs in this process. `worker`: the object whose `work()` is called."""

    worker: WorkerBase
    service: str
    thread: threading.Thread
    io: WorkerIO

    @property
    def id(self) -> str:
        """As `zmws.workers` shows it."""
        return self.io.dialog.worker_id

    def stop(self) -> None:
        """Let it finish the job in hand and leave, and wait for that. May be called again."""
        self.io.stop()
        self.thread.join(_STOP_S)
        assert not self.thread.is_alive(), (
            f"{type(self.worker).__name__} did not stop within {_STOP_S:g} s: its work() goes on"
        )


@contextlib.contextmanager
def worker_in_thread(
    worker: type[WorkerBase] | WorkerBase, broker: RunningBroker, service: str | None = None
) -> Iterator[RunningWorker]:
    """A worker that `broker` knows, until the block ends. `worker`: a class, or an object made of one;
    `service`: instead of its `service_name`.

    What it cannot start with is raised here. `work()` runs beside the test: what both touch has to bear
    that. A test of signals, or of a worker that dies, needs a process: `zmws worker FILE`.
    """
    made = worker() if isinstance(worker, type) else worker
    handed: queue.SimpleQueue[WorkerIO | BaseException] = queue.SimpleQueue()
    # `run` hands its connection to this just before it starts; a thread has no signals to handle.
    vars(made)["_handle_signals"] = handed.put

    def run() -> None:
        try:
            made.run([broker.worker], service)
        except BaseException as fault:
            handed.put(fault)

    thread = threading.Thread(target=run, name=f"zmws-test-{type(made).__name__}", daemon=True)
    thread.start()
    io = handed.get(timeout=_START_S)
    del vars(made)["_handle_signals"]  # nothing of the test's is left in it: it can be pickled
    if isinstance(io, BaseException):
        thread.join()
        raise io
    running = RunningWorker(made, service or made.service_name, thread, io)
    try:
        assert io.ready.wait(_START_S), f"the broker did not answer the worker within {_START_S:g} s"
        yield running
    finally:
        running.stop()
    if not handed.empty():
        raise AssertionError(f"{type(made).__name__} failed") from cast(BaseException, handed.get())
