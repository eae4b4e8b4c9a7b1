"""WorkerBase: what a worker's author subclasses.

    class Reverse(WorkerBase):
        service_name = "STR-REV"

        def work(self, job_id, params):
            return params["str"][::-1]

A worker does one job at a time; False or an exception is a failed attempt, any other value is the result.
docs/writing-a-worker.md tells all of it, with examples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from zmws.dialog.worker import DialogSettings
from zmws.errors import ZmwsError
from zmws.work.author import Exceptions, to_be_written
from zmws.work.job import JobInHand
from zmws.work.job_log import current
from zmws.work.run import Run

if TYPE_CHECKING:
    import click

    from zmws.client import Client


class WorkerBase:
    """Subclass it, name a service, write `work()`.

    What a class may declare; all but the name may be left out:
    """

    service_name: ClassVar[str] = ""
    """The service whose jobs it does."""

    retries: ClassVar[int | None] = None
    """How many failures its jobs may survive. This and the next five are defaults of its jobs
    (docs/options.md): the configuration of the service goes before them, and what was given with the job
    before that."""
    ttr: ClassVar[float | None] = None
    """Time to run, seconds an attempt."""
    backoff: ClassVar[float | None] = None
    """Seconds before retry n (from 0): `backoff * 2**n`."""
    expires: ClassVar[float | None] = None
    """Seconds in which a job must have started."""
    keep: ClassVar[float | None] = None
    """Seconds that record and result are kept after the end."""
    priority: ClassVar[int | None] = None
    """-1000 to 1000; higher runs sooner."""

    retry_on: ClassVar[Mapping[type[BaseException], float | None] | Exceptions] = {}
    """Seconds to the next attempt after these exceptions, instead of the backoff; None: the backoff."""
    fail_on: ClassVar[Exceptions] = ()
    """Exceptions after which a job is not tried again."""

    max_jobs: ClassVar[int | None] = None
    """After so many jobs the worker leaves, to be started anew. All three limits are a little lower in each
    process (up to a tenth), so that not all leave at once."""
    max_memory: ClassVar[int | str | None] = None
    """The same when the process uses more memory than this after a job: bytes, or a text such as "512
    MiB"."""
    max_age: ClassVar[float | None] = None
    """The same after so many seconds."""

    idle_after: ClassVar[float | None] = None
    """After how many seconds without a job `idle()` is called; None: three heartbeat intervals."""
    stop_timeout: ClassVar[float] = 30.0
    """Seconds that a job may take to end when the worker is stopped; then it is given back, no failure."""
    on_hung: ClassVar[Literal["leave", "stay"]] = "leave"
    """What a worker does whose job was cancelled, or ran past its `ttr`, and does not return: leave, to be
    started anew, or stay and wait."""
    log_output: ClassVar[bool] = False
    """Whether what a job prints goes into its log, as what it logs does."""
    flags: ClassVar[Sequence[click.Option]] = ()
    """Options of the worker's own command line, as `click.Option(["--path"], default="x.log")`. What they
    were given is in `self.options` under their names."""

    isolate: ClassVar[bool] = False
    """Whether each job runs in a child process, which is kept warm for the next one: it can be killed, and
    what kills it costs this one attempt."""
    concurrency: ClassVar[int] = 1
    """Jobs at once in this process: children where `isolate` is set, coroutines of one event loop where
    work() is `async def`, else threads."""
    prefetch: ClassVar[int | None] = None
    """How many jobs may be sent ahead, before they can begin. None: 128 for a class that does one job at a
    time in the main thread, else none."""
    kill_grace: ClassVar[float] = 5.0
    """Seconds that a cancelled job with `isolate` has to end after SIGTERM; then its child is killed."""

    options: Mapping[str, Any] = {}
    """What the class's own `flags` were given."""

    client_of: Callable[[], Client] | None = None  # what makes `client`, while the worker runs

    @property
    def client(self) -> Client:
        """A client of the broker that this worker is connected to: `self.client.submit("REPORT", ...)`.

        Raises ZmwsError where there is none: outside of a running worker, or at a broker that is too old to
        tell where it takes clients.
        """
        if self.client_of is None:
            raise ZmwsError("self.client is there while the worker runs; in a test give run_job a client")
        return self.client_of()

    @property
    def job(self) -> JobInHand:
        """The job at hand, inside `work()`, and in threads that it starts while there is but one job in hand.
        Raises ZmwsError elsewhere."""
        job = current() or self._job_of_copy
        if job is None:
            raise ZmwsError(
                "self.job is there inside work(); a thread of your own that runs beside several jobs is to "
                "be given the job, or started with contextvars.copy_context().run"
            )
        return job

    _job_of_copy: JobInHand | None = None  # in a process that its work() has pickled this object for

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name != "client_of"}
        return kept | {"_job_of_copy": current() or self._job_of_copy}

    def setup(self) -> None:
        """Called once in the process, before the worker registers: open connections, load models. What it
        raises ends the process. May be `async def`."""

    def teardown(self) -> None:
        """Called once, when the worker has left. Not after a kill, nor when a job had to be given back:
        then the process ends at once. May be `async def`."""

    def validate(self, params: Any) -> None:
        """Called before `work()` with the same parameters. `raise Fail(...)` here, and the job has failed for
        good (`bad_params`) without `work()` having run."""

    def around(self, work: Callable[[], Any]) -> Any:
        """Called for each attempt instead of `work()`, which it calls, and whose result it returns: for
        transactions, timing, error trackers. `async def` and `await work()` where work() is `async def`."""
        return work()

    @to_be_written
    def work(self, job_id: str, params: Any) -> Any:
        """Do one job. `params` is what the client sent: JSON decoded, raw bytes, or {} for none; with an
        annotation (a dataclass, a TypedDict, a model, `list[int]`, ...) it is checked and made into that.

        Return the result (JSON, bytes, and what docs/writing-a-worker.md lists), None for success without
        one, False for a failed attempt; an exception is a failed attempt too: `Retry` and `Fail` say how it
        is to go on. A result that cannot be sent fails the job for good (`bad_result`): work() has done what
        it does. May be `async def`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no work()")

    def idle(self) -> None:
        """Called once after `idle_after` without a job: close files, let go of things. May be `async def`."""

    def run(
        self,
        brokers: Sequence[str],
        service: str | None = None,
        dialog_settings: DialogSettings | None = None,
        handle_signals: bool = True,
    ) -> int:
        """Serve jobs until told to stop; the exit code (docs/writing-a-worker.md, "How a worker ends").

        `brokers`: worker endpoints, tried in turn. `service`: instead of `service_name`. Raises BadWorker (a
        ValueError) for a class that cannot be run, and what `setup()` raises.
        """
        return Run([(self, service)], brokers, dialog_settings, handle_signals).run()

    @classmethod
    def main(cls, args: Sequence[str] | None = None) -> None:
        """The worker's own command line: `if __name__ == "__main__": MyWorker.main()`."""
        from zmws.work.command import (
            main_of,  # not at the top: a worker that is run otherwise needs no click
        )

        sys.exit(main_of(cls, args))
