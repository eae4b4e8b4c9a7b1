"""The job at hand, as `work()` sees it: what it is told of it, and what it may say of it on the way."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from zmws import tracing
from zmws.client.items import Step, chain_of, item_of
from zmws.errors import BadJson, BadResult, BadValue, ZmwsError
from zmws.wire.messages import WorkerRequest
from zmws.wire.values import DEPTH_MAX, JOBS_JSON, PARAM_JSON, json_in, json_object
from zmws.wire.words import SAVE_BYTES_MAX, SECONDS_MAX
from zmws.work.results import encode_result


class JobLine(Protocol):
    """Where what a job says goes: a worker's connection, or a test's ear."""

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None: ...

    def is_cancelled(self, token: bytes) -> bool: ...


def service_of(request: WorkerRequest, alone: str) -> str:
    """The service of a request; `alone`: where it names none, for there is but one."""
    return str((json_object(request.job) or {}).get("service") or alone)


# One for all jobs, for a job can be pickled and copied; the thread that has it may be interrupted by a signal
# whose handler enqueues.
_following = threading.RLock()


def follow_ups_of(job: JobInHand | None) -> bytes | None:
    """What the job has asked for, as FINAL has it; None if nothing. From now on it can ask for none."""
    items = None if job is None else end_follow_ups(job)
    return JOBS_JSON + json.dumps(items).encode() if items else None


def end_follow_ups(job: JobInHand) -> list[dict[str, Any]]:
    """The attempt is over: what it has asked for, once. What it asks for later is refused."""
    with _following:
        items, job._follow_ups = job._follow_ups, None
    return items or []


def relay(job: JobInHand, body: tuple[bytes, ...]) -> None:
    """Say for a job what its child has said. Raises what `JobLine.say` raises."""
    job._line.say(job._token, body)


class JobInHand:
    """The job that `work()` runs: `self.job`.

    `id` (str), `service` (str), `attempt` (int, from 1), `deadline` (float, `time.monotonic()` seconds at
    which its `ttr` passes), `saved` (what an earlier attempt saved last, None if none did), `meta` (the
    object that the caller gave with the option of that name, else None); `parent`, `batch` and `chain` (ids,
    None where it has none), `step` (int, of a chain, from 1), `concludes` (of the job that follows a batch:
    what became of that, docs/workflows.md). All else is for the worker's own process: in a forked child it
    raises ZmwsError.
    """

    def __init__(self, line: JobLine, request: WorkerRequest, service: str = "") -> None:
        """`service`: where the request names none, for there is but one."""
        told = json_object(request.job) or {}
        self.id: str = str(told.get("id", ""))
        self.service: str = str(told.get("service") or service)
        self.saved: Any = told.get("saved")
        self.meta: dict[str, Any] | None = told.get("meta")
        self.parent: str | None = told.get("parent")
        self.batch: str | None = told.get("batch")
        self.chain: str | None = told.get("chain")
        self.step: int | None = told.get("step")
        self.concludes: dict[str, Any] | None = told.get("concludes")
        self.attempt: int = int(told.get("attempt", 1))
        self._follow_ups: list[dict[str, Any]] | None = []  # None: the attempt is over
        self.deadline: float = time.monotonic() + float(told.get("ttr", 3600.0))
        self._line = line
        self._token = request.token
        self._pid = os.getpid()

    def progress(self, done: float, text: str | None = None) -> None:
        """Say how far it is: `done` from 0 to 1. Raises ValueError outside."""
        if not 0 <= done <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {done!r}")
        said = json.dumps({"done": float(done), "text": text}).encode()
        self._say("progress()", (b"PROGRESS", said))

    def partial(self, value: Any) -> None:
        """A partial result (JSON, or bytes): a synchronous caller gets it at once. Raises BadValue."""
        self._say("partial()", (b"CONT", *encode_result(value, "the partial result")))

    def log(self, text: str) -> None:
        """A line for the job's record."""
        self._say("log()", (b"LOG", text.encode("utf-8", "replace")))

    def extend(self, seconds: float) -> None:
        """Move the `ttr` deadline to `seconds` from now. Raises ValueError if not above 0, or above a
        year."""
        if not 0 < seconds <= SECONDS_MAX:
            raise ValueError(
                f"extend needs a number of seconds above 0, up to {SECONDS_MAX:.0f}, not {seconds!r}"
            )
        self._say("extend()", (b"TOUCH", str(float(seconds)).encode()))
        self.deadline = time.monotonic() + seconds

    def save(self, value: Any) -> None:
        """Keep this for the next attempt, wherever it runs: its `self.job.saved`. The last one counts, and
        all are dropped when the job completes. At most 64 KiB as JSON, and no bytes. Raises BadValue."""
        try:
            frames = encode_result(value, "what is saved")
        except BadResult as wrong:
            raise BadValue(str(wrong)) from None  # it is no result
        if frames and not frames[0].startswith(PARAM_JSON):
            raise BadValue("what is saved is bytes, which JSON cannot hold; save where they are")
        said = frames[0][len(PARAM_JSON) :] if frames else b"null"
        if len(said) > SAVE_BYTES_MAX:
            raise BadValue(f"what is saved has {len(said)} bytes of JSON; at most {SAVE_BYTES_MAX} are kept")
        try:
            saved = json_in(said, DEPTH_MAX - 1)  # it will stand in other JSON, one level deeper
        except BadJson as wrong:
            raise BadValue(f"what is saved is {wrong}") from None
        self._say("save()", (b"SAVE", said))
        self.saved = saved  # as the next attempt has it, and not what work() goes on to change

    def enqueue(self, service: str, params: Any = None, **options: Any) -> None:
        """A job that follows: it is submitted by what ends this attempt, if that completes, and then exactly
        once. A failed attempt leaves none. `options` as those of `Client.submit`. What the broker does not
        take (an unknown service, say) fails the attempt. Raises BadValue, OptionError, Refused, and ZmwsError
        once `work()` has returned: in a thread or a task that it has left behind."""
        self._follow(item_of(service, params, options))

    def enqueue_chain(self, steps: Sequence[Step], *, id: Any = None, batch: Any = None) -> None:
        """The same with a chain of jobs; `steps` as those of `Client.chain`."""
        self._follow(chain_of(steps, id, batch))

    def _follow(self, item: dict[str, Any]) -> None:
        self._refuse_in_child("enqueue()")
        if tracing.on is not None:
            for job in item.get("chain", [item]):
                meta = tracing.on.linked(job.get("meta"))
                job |= {} if meta is None else {"meta": meta}
        with _following:
            if self._follow_ups is not None:
                return self._follow_ups.append(item)
        raise ZmwsError(
            f"attempt {self.attempt} at job {self.id} is over, and what follows it is settled; enqueue "
            "before work() returns, and let it wait for the threads and tasks that do"
        )

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was cancelled, or its `ttr` passed: its result will be refused."""
        self._refuse_in_child("cancelled")
        return self._line.is_cancelled(self._token)

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process tells what it knows; it has no connection, and says so.
        return {name: value for name, value in vars(self).items() if name != "_line"}

    def _say(self, by: str, body: tuple[bytes, ...]) -> None:
        self._refuse_in_child(by)
        self._line.say(self._token, body)

    def _refuse_in_child(self, what: str) -> None:
        # The I/O thread is not in a forked child: nothing said there would ever leave, nothing be heard.
        if os.getpid() != self._pid:
            raise ZmwsError(
                f"self.job.{what} works in the worker's own process alone, and this is a child of it; "
                "let the child tell the worker, through a pipe, a queue or its result, and use it there"
            )
