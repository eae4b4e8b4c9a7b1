"""WorkerBase: what a worker's author subclasses.

    class Reverse(WorkerBase):
        service_name = "STR-REV"

        def work(self, job_id, params):
            return params["str"][::-1]

A worker does one job at a time; False or an exception is a failed attempt, any other value is the result.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from zmws.dialog.worker import DialogSettings
from zmws.wire import names
from zmws.worker.job import JobInHand
from zmws.worker.run import Run


class WorkerBase:
    """Subclass it, name a service, write `work()`."""

    service_name: ClassVar[str] = ""
    job: JobInHand

    def work(self, job_id: str, params: Any) -> Any:
        """Do one job. `params` is what the client sent: JSON decoded, raw bytes, or {} for none.

        Return the result (JSON, or bytes), None for success without one, False for a failed attempt; an
        exception is a failed attempt too. A result that JSON cannot hold fails the job for good
        (`bad_result`): work() has done what it does. May be `async def`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no work()")

    def idle(self) -> None:
        """Called once after three heartbeat intervals without a job: close files, let go of things."""

    def run(
        self,
        brokers: Sequence[str],
        service: str | None = None,
        dialog_settings: DialogSettings | None = None,
        handle_signals: bool = True,
    ) -> int:
        """Serve jobs until told to stop; the exit code.

        `brokers`: worker endpoints, tried in turn. `service`: instead of `service_name`. Raises ValueError
        for a service's name that cannot be, and for a class without a `work()` of its own.
        """
        return run_of(self, brokers, service, dialog_settings, handle_signals).run()

    @classmethod
    def main(cls, args: Sequence[str] | None = None) -> None:
        """The worker's own command line: `if __name__ == "__main__": MyWorker.main()`."""
        from zmws.worker.command import (
            main_of,  # not at the top: a worker that is run otherwise needs no click
        )

        sys.exit(main_of(cls, args))


def run_of(
    worker: WorkerBase,
    brokers: Sequence[str],
    service: str | None = None,
    settings: DialogSettings | None = None,
    handle_signals: bool = True,
) -> Run:
    """What serves the jobs, once it is told to run. Arguments and errors as of `WorkerBase.run`."""
    name = service or worker.service_name
    fault = names.service_name_fault(name)
    if fault is None and names.is_reserved(name):
        fault = f"the service name '{name}' is reserved"
    if fault is not None:
        raise ValueError(f"{type(worker).__name__}.service_name: {fault}")
    if (fault := work_fault(worker)) is not None:
        raise ValueError(fault)
    return Run(worker, brokers, name, settings, handle_signals)


def work_fault(worker: WorkerBase | type[WorkerBase]) -> str | None:
    """What keeps `work` from being called, with what to write; or None."""
    cls = worker if isinstance(worker, type) else type(worker)
    work: Any = worker.work
    write = "write 'def work(self, job_id, params):' in it"
    if getattr(work, "__func__", work) is WorkerBase.work:
        return f"{cls.__name__} has no work(); {write}"
    if not callable(work):
        return f"{cls.__name__}.work is no method, but {type(work).__name__}; {write}"
    return None
