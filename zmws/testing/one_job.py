"""One job of a worker class, in this thread, with no broker and no socket."""

from __future__ import annotations

import contextlib
import json
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zmws import ids
from zmws.client.answers import body_of
from zmws.wire.messages import WorkerRequest
from zmws.wire.values import JOBS_JSON, json_object, value_of
from zmws.work import JobInHand, WorkerBase
from zmws.work.attempt import Final
from zmws.work.command import flags_given
from zmws.work.declared import Declared, declared
from zmws.work.function import worker_of
from zmws.work.inline import Inline
from zmws.work.job import JobLine
from zmws.work.job_log import installed


@dataclass
class JobOutcome:
    """What one attempt came to, and what it said on the way."""

    state: str  # "complete" or "failed"
    result: Any = None  # of a complete one: as a caller gets it, None for none
    code: str | None = None  # of a failed one: as docs/errors.md has it, "job_failed" or "bad_params"
    message: str | None = None  # of a failed one: what went wrong
    type: str | None = None  # the exception's, None for a `work()` that returned False
    traceback: str | None = None  # the exception's, as text
    retried: bool = False  # of a failed one: whether the broker would try it again
    progress: list[tuple[float, str | None]] = field(default_factory=list)  # of each `job.progress`
    partials: list[Any] = field(default_factory=list)  # the value of each `job.partial`
    log: list[str] = field(default_factory=list)  # the text of each `job.log`
    extended: list[float] = field(default_factory=list)  # seconds, one for each `job.extend`
    saved: list[Any] = field(default_factory=list)  # what `job.save` was given
    enqueued: list[dict[str, Any]] = field(default_factory=list)  # of a complete one: `job.enqueue`, as items
    delay: float | None = None  # of a failed one: seconds to the next attempt, None: the job's backoff
    counted: bool = True  # of a failed one: whether it uses up one of the job's retries

    @property
    def ok(self) -> bool:
        """Whether the job completed."""
        return self.state == "complete"


class _Ear:
    """What a job says goes here instead of to a broker: it stands for the worker's connection."""

    def __init__(self, cancelled: bool) -> None:
        self.heard = JobOutcome("")
        self._cancelled = cancelled

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        kind, *rest = body
        if kind == b"PROGRESS":
            said = json_object(rest[0]) or {}
            self.heard.progress.append((said["done"], said["text"]))
        elif kind == b"CONT":
            self.heard.partials.append(value_of(tuple(rest)))
        elif kind == b"SAVE":
            self.heard.saved.append(json.loads(rest[0]))
        elif kind == b"LOG":
            self.heard.log.append(rest[0].decode())
        else:
            assert kind == b"TOUCH", kind
            self.heard.extended.append(float(rest[0]))

    def is_cancelled(self, token: bytes) -> bool:
        return self._cancelled

    def finish(self, final: Final) -> None:
        error = final.error
        if error is None:
            self.heard.state, self.heard.result = "complete", value_of(final.result)
            if final.jobs is not None:
                self.heard.enqueued = json.loads(final.jobs[len(JOBS_JSON) :])
            return
        self.heard.state, self.heard.code, self.heard.message = "failed", error["code"], error["error"]
        self.heard.type, self.heard.traceback = error.get("type"), error.get("traceback")
        self.heard.retried = error.get("retry") is not False
        self.heard.delay, self.heard.counted = error.get("delay"), error.get("count") is not False


def run_job(
    worker: type[WorkerBase] | WorkerBase | Callable[..., Any],
    params: Any = None,
    *,
    frames: Sequence[bytes] | None = None,
    job_id: str | None = None,
    attempt: int = 1,
    ttr: float = 3600.0,
    saved: Any = None,
    meta: dict[str, Any] | None = None,
    cancel: bool = False,
    client: Any = None,
    options: Mapping[str, Any] | None = None,
) -> JobOutcome:
    """Run one attempt at a job, as a worker would; what came of it.

    `worker`: a class or a function with @worker, with setup() before and teardown() after it; or an object
    made of a class, to run several jobs on: then both are for you to call. `params` go the way they have to a
    worker: through JSON, or as bytes; `frames` instead are the request's own frames, for what no client of
    ours sends. `attempt`, `ttr` (seconds), `saved`, `meta` and `cancel` are what `self.job` tells, `client`
    is `self.client`, `options` are values of the class's own `flags`. What `work()` raises is in the outcome;
    KeyboardInterrupt passes, and so does what setup() raises. An `async def work` needs a thread without a
    running event loop. What the code logs is in `log`. Raises BadWorker for a class that cannot be run, and
    BadValue for parameters that JSON cannot hold."""
    made = worker_of(worker)
    found = declared(made, None if made.service_name else "TESTED")
    job_id = job_id or ids.new_id()
    body = body_of(params) if frames is None else tuple(frames)
    told = {
        "id": job_id,
        "service": found.service,
        "attempt": attempt,
        "ttr": ttr,
        "saved": saved,
        "meta": meta,
    }
    token = f"{job_id}/{attempt}/{ids.nonce()}".encode()
    ear = _Ear(cancel)
    request = WorkerRequest(token, found.service, json.dumps(told).encode(), body)
    if made.flags or options is not None:
        made.options = {**flags_given([type(made)], ()), **(options or {})}
    if client is not None:
        made.client_of = lambda: client
    with contextlib.closing(Hand(made, made is not worker)) as hand:
        hand.attempt(found, ear, request, ear.finish)
    return ear.heard


@contextlib.contextmanager
def _at_info() -> Iterator[None]:
    """What is logged at info counts, as in a worker, unless the test has chosen a level."""
    root = logging.getLogger()
    unset = root.level == logging.WARNING
    if unset:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        if unset:
            root.setLevel(logging.WARNING)


class Hand:
    """A worker that does one attempt after another, as in its process: with one event loop for all of them,
    and for its setup() and teardown()."""

    def __init__(self, worker: WorkerBase, whole: bool) -> None:
        """`whole`: setup() is called now, and teardown() at the end. Raises what setup() raises."""
        self.worker = worker
        self._whole = whole
        self._executor = Inline((KeyboardInterrupt,))
        self._last = weakref.finalize(self, _let_go, self._executor)  # of a client that nobody closed
        if whole:
            with installed(), _at_info():
                self._executor.call(worker.setup)

    def attempt(
        self, found: Declared, line: JobLine, request: WorkerRequest, ended: Callable[[Final], None]
    ) -> None:
        """Run one: what the job says goes to `line`, its end to `ended`."""
        job = JobInHand(line, request, found.service)

        def over(final: Final | None) -> None:
            assert final is not None, request  # the inline kind gives nothing back
            ended(final)

        with installed(), _at_info():
            self._executor.start(self.worker, found, job, request, over)

    def close(self) -> None:
        """It does no more."""
        try:
            if self._whole:
                with installed(), _at_info():
                    self._executor.call(self.worker.teardown)
        finally:
            self._last.detach()
            self._executor.close()


def _let_go(executor: Inline) -> None:
    with contextlib.suppress(RuntimeError):  # a loop that runs just now
        executor.close()
