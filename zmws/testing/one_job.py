"""One job of a worker class, in this thread, with no broker and no socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zmws import ids
from zmws.client.answers import body_of
from zmws.wire.messages import WorkerRequest
from zmws.wire.values import json_object, value_of
from zmws.worker import JobInHand, WorkerBase
from zmws.worker.attempt import Final
from zmws.worker.executor import Inline
from zmws.worker.job import JobLine


@dataclass
class JobOutcome:
    """What one attempt came to, and what it said on the way."""

    state: str  # "complete" or "failed"
    result: Any = None  # of a complete one: as a caller gets it, None for none
    code: str | None = None  # of a failed one: as docs/errors.md has it, "job_failed" or "bad_params"
    message: str | None = None
    type: str | None = None  # the exception's, None for a `work()` that returned False
    traceback: str | None = None
    retried: bool = False  # of a failed one: whether the broker would try it again
    progress: list[tuple[float, str | None]] = field(default_factory=list)
    partials: list[Any] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    extended: list[float] = field(default_factory=list)  # seconds, one for each `job.extend`

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
            return
        self.heard.state, self.heard.code, self.heard.message = "failed", error["code"], error["error"]
        self.heard.type, self.heard.traceback = error.get("type"), error.get("traceback")
        self.heard.retried = error.get("retry") is not False


def run_job(
    worker: type[WorkerBase] | WorkerBase,
    params: Any = None,
    *,
    frames: Sequence[bytes] | None = None,
    job_id: str | None = None,
    attempt: int = 1,
    ttr: float = 3600.0,
    cancelled: bool = False,
) -> JobOutcome:
    """Run `work()` once, as a worker would; what came of it.

    `worker`: a class, or an object made of one, to run several jobs on. `params` go the way they have to
    a worker: through JSON, or as bytes; `frames` instead are the request's own frames, for what no client
    of ours sends. `attempt`, `ttr` (seconds) and `cancelled` are what `self.job` tells. What `work()`
    raises is in the outcome; KeyboardInterrupt passes. An `async def work` needs a thread without a
    running event loop. Raises TypeError or ValueError for parameters that JSON cannot hold.
    """
    made = worker() if isinstance(worker, type) else worker
    job_id = job_id or ids.new_id()
    body = body_of(params) if frames is None else tuple(frames)
    told = json.dumps({"id": job_id, "attempt": attempt, "ttr": ttr}).encode()
    token = f"{job_id}/{attempt}/{ids.nonce()}".encode()
    ear = _Ear(cancelled)
    run_attempt(made, ear, WorkerRequest(token, made.service_name, told, body), ear.finish)
    return ear.heard


def run_attempt(
    worker: WorkerBase, line: JobLine, request: WorkerRequest, ended: Callable[[Final], None]
) -> None:
    """Run `work()` once, as a worker would: what the job says goes to `line`, its end to `ended`."""
    executor = Inline(worker, (KeyboardInterrupt,))
    try:
        executor.start(JobInHand(line, request), request.body, ended)
    finally:
        executor.close()
