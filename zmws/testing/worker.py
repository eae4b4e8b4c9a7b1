"""A worker in a thread of the test's own process, so that `work()` sees what the test has set up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from zmws.key_file import KeyFile
from zmws.testing.broker import RunningBroker
from zmws.work import WorkerBase
from zmws.work.function import worker_of
from zmws.work.line import WorkerLine
from zmws.work.run import Run

_START_S = 10.0
_STOP_S = 15.0


@dataclass
class RunningWorker:
    """A worker that runs in this process. `worker`: the object whose `work()` is called; `service`: what it
    serves; `thread`: the one that calls `work()`; `line`: its connection, for the tests of zmws itself."""

    worker: WorkerBase
    service: str
    thread: threading.Thread
    line: WorkerLine

    @property
    def id(self) -> str:
        """As `zmws.workers` shows it."""
        return self.line.dialog.worker_id

    def stop(self) -> None:
        """Let it finish the job in hand and leave, and wait for that. May be called again."""
        self.line.stop()
        self.thread.join(_STOP_S)
        assert not self.thread.is_alive(), (
            f"{type(self.worker).__name__} did not stop within {_STOP_S:g} s: its work() goes on"
        )


@contextlib.contextmanager
def worker_in_thread(
    worker: type[WorkerBase] | WorkerBase | Callable[..., Any],
    broker: RunningBroker,
    service: str | None = None,
    key: KeyFile | None = None,
) -> Iterator[RunningWorker]:
    """A worker that `broker` knows, until the block ends. `worker`: a class, an object made of one, or a
    function with @worker; `service`: instead of its `service_name`; `key`: who it is for a broker that asks.

    What it cannot start with is raised here. `work()` runs beside the test: what both touch has to bear
    that. A test of signals, or of a worker that dies, needs a process: `zmws worker FILE`.
    """
    made = worker_of(worker)
    run = Run(
        [(made, service)], [broker.worker], handle_signals=False, key=key
    )  # a thread has none to handle
    faults: list[BaseException] = []

    def serve() -> None:
        try:
            run.run()
        except BaseException as fault:
            faults.append(fault)
        finally:
            run.line.registered.set()  # nobody is to wait for what will not come

    thread = threading.Thread(target=serve, name=f"zmws-test-{type(made).__name__}", daemon=True)
    thread.start()
    running = RunningWorker(made, service or made.service_name, thread, run.line)
    try:
        assert run.line.registered.wait(_START_S), (
            f"the broker did not answer the worker within {_START_S:g} s"
        )
        if faults:
            raise faults[0]
        yield running
    finally:
        running.stop()
    if faults:
        raise AssertionError(f"{type(made).__name__} failed") from faults[0]
